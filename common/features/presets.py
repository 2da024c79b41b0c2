"""Presets: the flags that reproduce features which others have published.

Each says what it aims at and where its rows differ; the numbers are those of the originals.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Preset(NamedTuple):
    """Flags of `extract_features` under a name.

    Attributes:
        aims: Whose features it reproduces, with which weights.
        differs: Where it does not.
        flags: As on a command line.
    """

    aims: str
    differs: str
    flags: str


# Both ResNet-50 extractors resize to this, whatever the shape of the picture.
_RESNET = "--fps=0 --frame_size=340,256 --crop_size=224 --rgb_range=-1,1 --crops=ten --short=error"

PRESETS: Mapping[str, Preset] = {
    "pytorch_i3d": Preset(
        aims="extract_features.py of piergiaj/pytorch-i3d: the dense map of InceptionI3D over the "
        "whole video, [T', 1024], as the Charades features are.",
        differs="The original keeps axes of size 1, [T', 1, 1, 1024], reads JPEGs that ffmpeg "
        "wrote, at 24 frames per second for Charades, and has seams in videos of more than 1600 "
        "frames; here a video in chunks has the rows of the whole.",
        flags="--mode=dense --fps=0 --least_side=226 --crop_size=224",
    ),
    "video_features": Preset(
        aims="The i3d of v-iashin/video_features: windows of 64 frames, one after the other, the "
        "pooled features averaged over time, [N, 1024]; frames at the video's own rate.",
        differs="The original resizes with PIL, which blurs before it shrinks, and its flow is "
        "RAFT's or PWC's, on which these weights were not trained; here it is TV-L1.",
        flags="--window=64 --rate=1 --fps=0 --short_side=256 --crop_size=224",
    ),
    "resnet50_16": Preset(
        aims="GowthamGottimukkala/I3D_Feature_Extraction_resnet: chunks of 16 frames of I3D-R50 "
        "(i3d_resnet50_32x2, weights of facebookresearch/video-nonlocal-net), ten crops as an "
        "axis, [N, 10, 2048]. RGB is fed in [-1, 1], as there, which is not what these weights "
        "were trained on.",
        differs="The original reads JPEGs that ffmpeg wrote, and resizes them with PIL.",
        flags=f"--window=16 --rate=1 {_RESNET}",
    ),
    "resnet50_8": Preset(
        aims="elkoz's version of the same with --pad: chunks of 8 frames around each frame, the "
        "mean of ten crops, [frames, 2048]; with tracking one array for each individual.",
        differs="The original pads an individual's rows the same way, but cuts the box of one "
        "frame out of another where a tracklet does not begin with the video.",
        flags=f"--mode=framewise --window=8 --rate=1 --pad=rows {_RESNET} --average_crops",
    ),
    "ms_tcn": Preset(
        aims="The features of MS-TCN (Abu Farha and Gall, CVPR 2019) and what builds on it: a "
        "window of 21 frames around each frame, RGB and flow side by side, [frames, 2048].",
        differs="The authors published the features, not how they resized, cropped and computed "
        "the flow; here it is the release's way. Theirs are [2048, frames].",
        flags="--streams=rgb,flow --join --mode=framewise --window=21 --rate=1 --fps=15",
    ),
    "vidor_segments": Preset(
        aims="ddl-donglin/I3D_pytorch on VidOR: the dense map of InceptionI3D over each annotated "
        "action, [T', 1024], a file for each action.",
        differs="The original keeps only the first action of a video and axes of size 1, and cuts "
        "long actions into parts of 200 frames; its frames begin one too early.",
        flags="--spans --mode=dense --fps=0 --least_side=226 --crop_size=224",
    ),
}

# The flags of a preset that one of the user's replaces, its own name aside.
_REPLACED = {
    "short_side": ("least_side", "frame_size"),
    "tracking_folder": ("crops", "fps", "short_side", "least_side", "frame_size"),
}


def expand(arguments: Sequence[str]) -> list[str]:
    """Puts the flags of `--preset`, if there is one, before the others, which override them."""
    name = ""
    for argument, following in itertools.pairwise([*arguments, ""]):
        if _flag(argument) == "preset":
            name = argument.partition("=")[2] or following
    if name not in PRESETS:
        return list(arguments)
    replaced = {each for flag in map(_flag, arguments) for each in _REPLACED.get(flag, ())}
    kept = (flag for flag in PRESETS[name].flags.split() if _flag(flag) not in replaced)
    return [*kept, *arguments]


def text() -> str:
    """A description of every preset."""
    return "\n".join(
        f"{name}\n  aims at: {preset.aims}\n  differs: {preset.differs}\n  flags: {preset.flags}"
        for name, preset in PRESETS.items()
    )


def _flag(argument: str) -> str:
    """The name of a flag; empty for another argument."""
    return argument.lstrip("-").partition("=")[0] if argument.startswith("-") else ""
