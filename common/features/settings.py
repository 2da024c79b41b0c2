"""The settings of feature extraction: each field is a flag with its default and its help."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from common import flow
from common.features import presets
from common.jobs.settings import FlowSettings, RunSettings, SourceSettings
from common.model_settings import StreamSettings
from common.models import Model
from common.preprocessing import contracts
from common.settings import UsageError, setting

MODES = ("segment", "dense", "framewise")
CROPS = {"center": 1, "three": 3, "ten": 10}
"""How many crops each choice of `--crops` takes."""
FORMATS = {"npy": ".npy", "npz": ".npz", "safetensors": ".safetensors", "h5": ".h5"}
"""The file suffix of each format."""

_MODE_OF = {"stride": "segment", "frequency": "framewise", "pad": "framewise", "chunk": "dense"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extraction:
    """Everything that changes the rows of a video but the weights.

    None takes what the network was trained with; `complete` fills it in.
    """

    mode: str = setting(
        "segment: a row for each window. dense: a row for each time step of the convolutional map "
        "over the whole video. framewise: a row for the window around each frame.",
        "segment",
        choices=MODES,
    )
    window: int | None = setting("Frames of a window. By default the network's.", None, minimum=1)
    rate: int | None = setting(
        "Frames from one frame of a window to its next. By default the network's.", None, minimum=1
    )
    stride: int | None = setting(
        "segment: frames from one window to the next. By default a window's span.", None, minimum=1
    )
    frequency: int = setting("framewise: frames from one row to the next.", 1, minimum=1)
    pad: str = setting(
        "framewise, where a window leaves the video: repeat the outermost frames; repeat the "
        "outermost rows that fit; or give no row (none).",
        "frames",
        choices=("frames", "rows", "none"),
    )
    short: str = setting(
        "A video that is too short for one row: start it again (loop), repeat its last frame "
        "(pad), fail it (error), or write no rows (skip).",
        "loop",
        choices=("loop", "pad", "error", "skip"),
    )
    crops: str = setting(
        "The centre; three along the longer side; or ten: corners, centre, their mirror images.",
        "center",
        choices=CROPS,
    )
    average_crops: bool = setting("Average over the crops; otherwise crops are an axis.", False)
    endpoint: str | None = setting(
        "Endpoint to take, averaged over height and width, and in windows over time. By default "
        "the pooled features before the classifier.",
        None,
    )
    fps: float | None = setting(
        "Frames per second, by timestamps; 0 takes all. By default the network's.", None, minimum=0
    )
    short_side: int | None = setting(
        "Resize the shorter side to it, pixels; 0 does not. By default the network's.",
        None,
        minimum=0,
    )
    least_side: int = setting(
        "Enlarge frames whose shorter side is below it, and no others; overrides --short_side.",
        0,
        minimum=0,
    )
    frame_size: tuple[int, ...] = setting(
        "Resize frames to this width,height whatever their shape; overrides --short_side.", ()
    )
    crop_size: int | None = setting(
        "Side of a crop, in pixels. By default the network's.", None, minimum=1
    )
    rgb_range: tuple[float, ...] = setting(
        "low,high: map RGB 0 to 255 onto this range. By default as the network was trained.", ()
    )
    margin: float = setting("Add this share of a box on each of its sides.", 0.0, minimum=0)
    boxes: str = setting(
        "Cut an individual out where it is on each frame, or where it is on any frame (union).",
        "frame",
        choices=("frame", "union"),
    )
    min_frames: int = setting("Leave out tracklets of fewer frames.", 1, minimum=1)
    interpolate: bool = setting(
        "Fill frames that a tracklet lacks on a straight line; otherwise a gap is an error.", False
    )
    chunk: int = setting("dense: frames in memory at a time, at most.", 384, minimum=1)

    def __post_init__(self) -> None:
        for name, mode in _MODE_OF.items():
            if mode != self.mode:
                _refuse(self, [name], f"--mode={mode}")
        size, values = self.frame_size, self.rgb_range
        if size and (len(size) != 2 or min(size) < 2):
            raise UsageError(f"--frame_size must be a width and a height. Received: {size}")
        if values and (len(values) != 2 or not values[0] < values[1]):
            raise UsageError(f"--rgb_range must be a low and a high number. Received: {values}")

    @property
    def step(self) -> int:
        """Frames from one frame of a window to its next."""
        return self.rate or 1

    @property
    def span(self) -> int:
        """Frames from the first of a window to its last."""
        return ((self.window or 1) - 1) * self.step + 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(RunSettings, SourceSettings, FlowSettings, StreamSettings):
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
        "Extract as others did; other flags override it. --show_presets describes each.",
        None,
        choices=presets.PRESETS,
    )
    show_presets: bool = setting("Print what each preset reproduces and where it differs.", False)
    input: Path = setting(
        "A video; a folder, which is searched for videos, folders of frames and arrays of RGB "
        "(.npy); a .txt list of paths; or with --annotations the folder of a data set.",
        None,  # with --show_presets alone
    )
    output: Path = setting("Folder to write to.", None)
    workers: int | None = setting(
        "Videos read at a time, in threads. By default up to four.", None, minimum=0
    )
    extraction: Extraction = dataclasses.field(default_factory=Extraction)
    spans: bool = setting("Make an item of each labelled span, not of each video.", False)
    start: float | None = setting("Begin at this second of each video.", None, minimum=0)
    end: float | None = setting("End at this second of each video.", None, minimum=0)
    tracking_folder: Path | None = setting("Extract individuals: folder of their tracklets.", None)
    tracking_suffix: str = setting(
        "The tracklets of a/b.mp4 are in TRACKING_FOLDER/a/b and this: .json, .pkl or .txt.",
        ".json",
    )
    video_w: int | None = setting(
        "Resize frames and boxes to this width before individuals are cut out.", None, minimum=2
    )
    video_h: int | None = setting("The same, their height.", None, minimum=2)
    format: str = setting("Format of the files.", "npy", choices=FORMATS)
    join: bool = setting("Write two streams side by side in one file.", False)
    batch_size: int | None = setting(
        "Windows that the network sees at once. By default as many as keep it busy.",
        None,
        minimum=1,
    )
    flow: Path | None = setting("Folder of flow by `extract_flow`; otherwise computed.", None)

    @classmethod
    def expand(cls, arguments: Sequence[str]) -> list[str]:
        """The command line with a preset's flags in place."""
        return presets.expand(arguments)

    def __post_init__(self) -> None:
        if (self.video_w is None) != (self.video_h is None):
            raise UsageError("--video_w and --video_h go together: give both, or neither")
        if not self.tracking_folder:
            names = ("min_frames", "boxes", "margin", "interpolate")
            _refuse(self.extraction, names, "--tracking_folder")
            _refuse(self, ("video_w", "video_h"), "--tracking_folder")
        elif self.extraction.fps or self.extraction.short_side:
            raise UsageError(
                "--fps and --short_side do not go with --tracking_folder: boxes are of every frame "
                "as it is, and what is cut out is resized"
            )
        if "flow" not in self.streams:
            _refuse(self, ("flow", "flow_engine", "tvl1"), "--streams with flow")
        elif self.flow and (self.start is not None or self.end is not None):
            raise UsageError("--start and --end: the flow of --flow is whole; leave one out")


def complete(settings: Settings, model: Model) -> Settings:
    """The settings with what was left open taken from the network of a stream."""
    contract, extraction = model.contract, settings.extraction
    changed: dict[str, Any] = {
        "window": contracts.usual(model.net.name).frames,
        "rate": contract.stride,
        "fps": contract.fps,
        "short_side": contract.short_side,
        "crop_size": contract.crop,
    }
    changed = {k: value for k, value in changed.items() if getattr(extraction, k) is None}
    if settings.tracking_folder:  # boxes are of every frame as it is
        changed |= {"fps": 0.0, "short_side": 0, "least_side": 0, "frame_size": ()}
    extraction = dataclasses.replace(extraction, **changed)
    if extraction.mode == "segment" and extraction.stride is None:
        extraction = dataclasses.replace(extraction, stride=extraction.span)
    engine = settings.flow_engine
    if "flow" in settings.streams:
        engine = flow.resolve(engine)
    return dataclasses.replace(settings, extraction=extraction, flow_engine=engine)


def _refuse(settings: Any, names: Iterable[str], needed: str) -> None:
    """Refuses settings that would have no effect."""
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    for name in names:
        if getattr(settings, name) != defaults[name]:
            raise UsageError(f"--{name} is for {needed}")
