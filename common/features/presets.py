"""Presets: the settings with which others have extracted the features that people have.

Each says what it aims at, and where its rows differ from those; the numbers are the originals'.
"""

import dataclasses
from collections.abc import Mapping

from common.io import listing


@dataclasses.dataclass(frozen=True)
class Preset:
    """Settings of an extraction, under a name.

    Attributes:
        aims: Whose features it reproduces, with which weights.
        differs: Where it does not.
        settings: Fields of an `Extraction`.
        streams: What is looked at; two are put side by side.
        spans: Each labelled span of the annotations is an item of its own.
    """

    aims: str
    differs: str
    settings: Mapping[str, object]
    streams: tuple[str, ...] = ("rgb",)
    spans: bool = False


# Both ResNet-50 extractors resize to it, and do not keep the shape of the picture.
_SIZE = (340, 256)

PRESETS: Mapping[str, Preset] = {
    "pytorch_i3d": Preset(
        aims="extract_features.py of piergiaj/pytorch-i3d: the dense map of InceptionI3D over the "
        "whole video, [T', 1024], as the Charades features are.",
        differs="The original keeps axes of size 1, [T', 1, 1, 1024], reads frames that ffmpeg has "
        "written as jpgs, at 24 a second for Charades, and has seams in videos of more than 1600 "
        "frames: here a video in parts is as one in one piece.",
        settings={"mode": "dense", "fps": 0.0, "least_side": 226, "crop": 224},
    ),
    "video_features": Preset(
        aims="The i3d of v-iashin/video_features: windows of 64 frames, one after the other, the "
        "pooled features averaged over time, [N, 1024]; frames at the video's own rate.",
        differs="The original resizes with PIL, which blurs before it shrinks, and its flow is "
        "RAFT's or PWC's, on which these weights were not trained; here it is TV-L1.",
        settings={
            "mode": "segment", "window": 64, "rate": 1, "stride": 64, "fps": 0.0, "resize": 256,
            "crop": 224,
        },
    ),
    "resnet50_16": Preset(
        aims="GowthamGottimukkala/I3D_Feature_Extraction_resnet: chunks of 16 frames of I3D-R50 "
        "(i3d_resnet50_32x2, weights of facebookresearch/video-nonlocal-net), ten crops as an "
        "axis, [N, 10, 2048]. RGB is fed in [-1, 1], as there, which is not what these weights "
        "were trained on.",
        differs="The original reads jpgs that ffmpeg has written, and resizes them with PIL.",
        settings={
            "mode": "segment", "window": 16, "rate": 1, "stride": 16, "fps": 0.0, "size": _SIZE,
            "crop": 224, "crops": "ten", "values": (-1.0, 1.0), "short": "error",
        },
    ),
    "resnet50_8": Preset(
        aims="elkoz's version of the same with --pad: chunks of 8 frames around each frame, the "
        "mean of ten crops, [frames, 2048]; with tracking one array an individual.",
        differs="The original pads an individual's rows the same way, but cuts the box of one "
        "frame out of another where a tracklet does not begin with the video.",
        settings={
            "mode": "framewise", "window": 8, "rate": 1, "frequency": 1, "pad": "rows",
            "fps": 0.0, "size": _SIZE, "crop": 224, "crops": "ten", "average_crops": True,
            "values": (-1.0, 1.0), "short": "error",
        },
    ),
    "ms_tcn": Preset(
        aims="The features of MS-TCN (Abu Farha and Gall, CVPR 2019) and what builds on it: a "
        "window of 21 frames around each frame, RGB and flow side by side, [frames, 2048].",
        differs="The authors have published the features, not how they resized, cropped and "
        "computed the flow; here it is the release's way. Theirs are [2048, frames].",
        settings={
            "mode": "framewise", "window": 21, "rate": 1, "frequency": 1, "pad": "frames",
            "fps": 15.0,
        },
        streams=("rgb", "flow"),
    ),
    "vidor_segments": Preset(
        aims="ddl-donglin/I3D_pytorch on VidOR: the dense map of InceptionI3D over each annotated "
        "action, [T', 1024], a file an action.",
        differs="The original keeps but the first action of a video, axes of size 1, and cuts long "
        "ones into parts of 200 frames; frames there begin one too early.",
        settings={"mode": "dense", "fps": 0.0, "least_side": 226, "crop": 224},
        spans=True,
    ),
}  # fmt: skip


def get(name: str) -> Preset:
    """The preset of a name.

    Raises:
        ValueError: There is none.
    """
    if name not in PRESETS:
        raise ValueError(f"no such preset. Expected one of {listing(PRESETS)}. Received: {name!r}.")
    return PRESETS[name]


def text() -> str:
    """All presets, for people."""
    return "\n".join(
        f"{name}\n  aims at: {preset.aims}\n  differs: {preset.differs}"
        for name, preset in PRESETS.items()
    )
