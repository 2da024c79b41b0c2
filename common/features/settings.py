"""The settings of feature extraction, and the presets that reproduce published features."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common import flow
from common.jobs.settings import FlowSettings
from common.models import Model, StreamSettings
from common.preprocessing import contracts
from common.settings import UsageError, setting

CROPS = {"center": 1, "three": 3, "ten": 10}  # how many they are
FORMATS = {"npy": ".npy", "npz": ".npz", "safetensors": ".safetensors", "h5": ".h5"}


class Preset(NamedTuple):
    flags: str
    differs: str  # what is other in the features that they aim at


# Both ResNet-50 extractors resize to this, whatever the shape of the picture.
_RESNET = "--fps=0 --frame_size=340,256 --crop_size=224 --rgb_range=-1,1 --crops=ten --short=error"
_DENSE = "--mode=dense --fps=0 --least_side=226 --crop_size=224"

PRESETS = {
    "pytorch_i3d": Preset(
        _DENSE,
        "piergiaj/pytorch-i3d's have axes of size 1, seams in videos of more than 1600 frames, and "
        "for Charades 24 frames per second, from JPEGs of ffmpeg",
    ),
    "video_features": Preset(
        "--window=64 --rate=1 --fps=0 --short_side=256 --crop_size=224",
        "v-iashin/video_features resizes with PIL, which blurs before it shrinks, and has flow by "
        "RAFT or PWC, on which these weights were not trained; here it is TV-L1",
    ),
    "resnet50_16": Preset(
        f"--window=16 --rate=1 {_RESNET}",
        "GowthamGottimukkala/I3D_Feature_Extraction_resnet reads JPEGs of ffmpeg and resizes with "
        "PIL; RGB is in [-1, 1], as there, which is not what these weights were trained on",
    ),
    "resnet50_8": Preset(
        f"--mode=framewise --window=8 --rate=1 --pad=rows {_RESNET} --average_crops",
        "elkoz's version of it with --pad cuts the box of one frame out of another if a tracklet "
        "begins after the video",
    ),
    "ms_tcn": Preset(
        "--streams=rgb,flow --join --mode=framewise --window=21 --rate=1 --fps=15",
        "those of MS-TCN (Abu Farha and Gall, CVPR 2019) are [2048, frames], resized, cropped and "
        "with flow in unpublished ways; here it is the release's way",
    ),
    "vidor_segments": Preset(
        f"--spans {_DENSE}",
        "ddl-donglin/I3D_pytorch's have a video's first action alone and axes of size 1, cut "
        "actions into parts of 200 frames, and begin a frame too early",
    ),
}
# The flags of a preset that one of the user's replaces, its own name aside.
_REPLACED = {
    "short_side": ("least_side", "frame_size"),
    "tracking_folder": ("crops", "fps", "short_side", "least_side", "frame_size"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extraction:
    """Everything that changes the rows of a video but the weights.

    None takes what the network was trained with; `complete` fills it in.
    """

    mode: str = setting(
        "segment: a row for each window. dense: a row for each time step of the convolutional map "
        "over the whole video. framewise: a row for the window around each frame.",
        "segment",
        choices=("segment", "dense", "framewise"),
    )
    window: int | None = setting("Frames of a window; by default the network's.", None, minimum=1)
    rate: int | None = setting("Frame step in a window; by default the network's.", None, minimum=1)
    stride: int | None = setting(
        "segment: frame step of windows; by default a span.", None, minimum=1
    )
    frequency: int = setting("framewise: frames from one row to the next.", 1, minimum=1)
    pad: str = setting(
        "framewise, where a window leaves the video: repeat the outermost frames, the outermost "
        "rows that fit, or give no row (none).",
        "frames",
        choices=("frames", "rows", "none"),
    )
    short: str = setting(
        "A video that is too short for one row: start it again (loop), repeat its last frame "
        "(pad), fail it (error), or write no rows (skip).",
        "loop",
        choices=("loop", "pad", "error", "skip"),
    )
    crops: str = setting("Centre, 3 on the long side, or 5 and mirrored.", "center", choices=CROPS)
    average_crops: bool = setting("Average over the crops; otherwise crops are an axis.", False)
    endpoint: str | None = setting(
        "Endpoint to average over height and width, and in windows over time; by default the "
        "pooled features before the classifier.",
        None,
    )
    fps: float | None = setting(
        "Frames per second, by timestamps; 0 takes all; by default the network's.", None, minimum=0
    )
    short_side: int | None = setting(
        "Pixels of the shorter side; 0 keeps the size; by default the network's.", None, minimum=0
    )
    least_side: int = setting(
        "Enlarge frames with a shorter side below it alone. Overrides --short_side.", 0, minimum=0
    )
    frame_size: tuple[int, ...] = setting("Resize to width,height. Overrides --short_side.", ())
    crop_size: int | None = setting("Side of a crop; by default the network's.", None, minimum=1)
    rgb_range: tuple[float, ...] = setting("low,high for RGB; by default the network's.", ())
    margin: float = setting("Add this share of a box on each of its sides.", 0.0, minimum=0)
    boxes: str = setting(
        "Cut out boxes of each frame, or around all (union).", "frame", choices=("frame", "union")
    )
    min_frames: int = setting("Leave out tracklets of fewer frames.", 1, minimum=1)
    interpolate: bool = setting("Fill gaps in tracklets; otherwise they are an error.", False)
    chunk: int = setting("dense: frames in memory at a time, at most.", 384, minimum=1)

    @property
    def span(self) -> int:
        """Frames from the first of a window to its last."""
        return ((self.window or 1) - 1) * (self.rate or 1) + 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(FlowSettings, StreamSettings):
    r"""Extracts features of videos, folders of frames or tracklets.

    i3d extract --input=my.mp4 --output=features --checkpoint=rgb_scratch
    i3d extract --input=videos --output=features --checkpoint=rgb_scratch --mode=dense
    i3d extract --input=videos --output=features --checkpoint=i3d_r50.pkl --preset=resnet50_8 \
        --tracking_folder=tracks --tracking_suffix=_tracks.pkl

    The rows of each video are written to OUTPUT/NAME.npy; OUTPUT/NAME.json says which frames and
    seconds they are of and what they were made with. The command may be stopped, repeated, and run
    by several machines on one output. The exit status is 1 if more videos failed than
    --allow_failures.
    """

    preset: str | None = setting(
        "Extract as others did (--show_presets); other flags override it.", None, choices=PRESETS
    )
    show_presets: bool = setting("Print what each preset reproduces and where it differs.", False)
    input: Path = setting(  # None with --show_presets alone
        "A video; a folder, which is searched for videos, folders of frames and arrays of RGB "
        "(.npy); a .txt list of paths; or with --annotations the folder of a data set.",
        None,
    )
    output: Path = setting("Folder to write to.", None)
    workers: int | None = setting("Videos read at a time; by default up to four.", None, minimum=0)
    extraction: Extraction = dataclasses.field(default_factory=Extraction)
    spans: bool = setting("Make an item of each labelled span, not of each video.", False)
    start: float | None = setting("Begin at this second of each video.", None, minimum=0)
    end: float | None = setting("End at this second of each video.", None, minimum=0)
    tracking_folder: Path | None = setting("Extract individuals: folder of their tracklets.", None)
    tracking_suffix: str = setting(
        "Tracklets of a/b.mp4 are in TRACKING_FOLDER/a/b and this: .json, .pkl, .txt.", ".json"
    )
    video_w: int | None = setting("Resize frames and boxes to this width first.", None, minimum=2)
    video_h: int | None = setting("The same, their height.", None, minimum=2)
    format: str = setting("Format of the files.", "npy", choices=FORMATS)
    join: bool = setting("Write two streams side by side in one file.", False)
    batch_size: int | None = setting("Windows in a batch; by default enough.", None, minimum=1)
    flow: Path | None = setting("Folder of flow by `extract_flow`; otherwise computed.", None)

    @classmethod
    def expand(cls, arguments: Sequence[str]) -> list[str]:
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

    @property
    def has_span(self) -> bool:
        return self.start is not None or self.end is not None

    def __post_init__(self) -> None:
        tracked, flowing = bool(self.tracking_folder), "flow" in self.streams
        extraction = self.extraction
        size, values = extraction.frame_size, extraction.rgb_range
        changed = {
            field.name
            for each in (self, extraction)
            for field in dataclasses.fields(each)
            if getattr(each, field.name) != field.default
        }
        for needed, given, names in (
            ("--mode=segment", extraction.mode == "segment", "stride"),
            ("--mode=framewise", extraction.mode == "framewise", "frequency pad"),
            ("--mode=dense", extraction.mode == "dense", "chunk"),
            ("--annotations", self.annotations, "spans"),
            ("--streams with flow", flowing, "flow flow_engine tvl1"),
            ("--tracking_folder", tracked, "min_frames boxes margin interpolate video_w video_h"),
        ):
            if not given and (wrong := changed.intersection(names.split())):
                raise UsageError(f"--{min(wrong)} is for {needed}")
        rules = {
            "--frame_size must be width,height": not size or (len(size) == 2 and min(size) > 1),
            "--rgb_range must be low,high": not values
            or (len(values) == 2 and values[0] < values[1]),
            "--video_w and --video_h go together": bool(self.video_w) == bool(self.video_h),
            "--fps and --short_side do not go with --tracking_folder: boxes are of every frame, as "
            "it is": not (tracked and (extraction.fps or extraction.short_side)),
            "--start and --end do not go with --tracking_folder or --flow, which are of whole "
            "videos": not (self.has_span and (tracked or self.flow)),
            "--end must be after --start": self.end is None or self.end > (self.start or 0),
        }
        for text, right in rules.items():
            if not right:
                raise UsageError(text)


def complete(settings: Settings, model: Model) -> Settings:
    """The settings with what was left open taken from the network of a stream."""
    contract, extraction = model.contract, settings.extraction
    usual: dict[str, Any] = {
        "window": contracts.usual(model.net.name).frames,
        "rate": contract.stride,
        "fps": contract.fps,
        "short_side": contract.short_side,
        "crop_size": contract.crop,
    }
    changed = {name: value for name, value in usual.items() if getattr(extraction, name) is None}
    if settings.tracking_folder:  # boxes are of every frame as it is
        changed |= {"fps": 0.0, "short_side": 0, "least_side": 0, "frame_size": ()}
    extraction = dataclasses.replace(extraction, **changed)
    if extraction.mode == "segment" and extraction.stride is None:
        extraction = dataclasses.replace(extraction, stride=extraction.span)
    flowing = "flow" in settings.streams
    engine = flow.resolve(settings.flow_engine) if flowing else settings.flow_engine
    return dataclasses.replace(settings, extraction=extraction, flow_engine=engine)


def presets_text() -> str:
    lines = (f"{name}\n  flags: {row.flags}\n  {row.differs}" for name, row in PRESETS.items())
    return "\n".join(lines)


def _flag(argument: str) -> str:
    """The name of a flag; empty for another argument."""
    return argument.lstrip("-").partition("=")[0] if argument.startswith("-") else ""
