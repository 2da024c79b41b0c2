"""The settings of feature extraction: each field is a flag with its default and its help."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from common import arch
from common.features import presets
from common.jobs.settings import FlowSettings, RunSettings, SourceSettings
from common.models import PRECISIONS, Model
from common.preprocessing import contracts
from common.settings import UsageError, setting

MODES = ("segment", "dense", "framewise")
PADS = ("frames", "rows", "none")
SHORTS = ("loop", "pad", "error", "skip")
CROPS = {"center": 1, "three": 3, "ten": 10}
"""How many crops each choice of `--crops` takes."""
BOXES = ("frame", "union")
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
    window: int | None = setting(
        "Frames of a window. By default as the network was trained.", None, minimum=1
    )
    rate: int | None = setting(
        "Frames from one frame of a window to its next. By default the network's.", None, minimum=1
    )
    stride: int | None = setting(
        "segment: frames from one window to the next. By default windows do not overlap.",
        None,
        minimum=1,
    )
    frequency: int = setting("framewise: frames from one row to the next.", 1, minimum=1)
    pad: str = setting(
        "framewise, where a window leaves the video: repeat the outermost frames; repeat the "
        "outermost rows that fit; or give no row (none).",
        "frames",
        choices=PADS,
    )
    short: str = setting(
        "A video that is too short for one row: start it again (loop), repeat its last frame "
        "(pad), fail it (error), or write no rows (skip).",
        "loop",
        choices=SHORTS,
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
        "Frames per second, by timestamps; 0 takes every frame. By default the network's.",
        None,
        minimum=0,
    )
    short_side: int | None = setting(
        "Resize the shorter side to it, in pixels; 0 keeps the size. By default the network's.",
        None,
        minimum=0,
    )
    least_side: int = setting(
        "Enlarge frames whose shorter side is below it, and keep the size of others; overrides "
        "--short_side.",
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
        choices=BOXES,
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
class Settings(RunSettings, SourceSettings, FlowSettings):
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
    show_presets: bool = setting(
        "Print what each preset reproduces and where it differs, and exit.", False
    )
    input: Path = setting(
        "A video; a folder, which is searched for videos, folders of frames and arrays of RGB "
        "(.npy); a .txt list of paths; or with --annotations the folder of a data set.",
        None,  # with --show_presets alone
    )
    output: Path = setting("Folder to write to.", None)
    workers: int | None = setting(
        "Videos read at a time, in threads. By default up to four.", None, minimum=0
    )
    extraction: Extraction
    spans: bool = setting(
        "Make an item of each labelled span of the annotations, not of each video.", False
    )
    start: float | None = setting("Begin at this second of each video.", None, minimum=0)
    end: float | None = setting("End at this second of each video.", None, minimum=0)
    tracking_folder: Path | None = setting(
        "Extract individuals, whose tracklets are in files of this folder.", None
    )
    tracking_suffix: str = setting(
        "The tracklets of a/b.mp4 are in TRACKING_FOLDER/a/b and this: .json, .pkl or .txt.",
        ".json",
    )
    video_w: int | None = setting(
        "Resize frames and their boxes to this width before individuals are cut out.",
        None,
        minimum=2,
    )
    video_h: int | None = setting("The same, their height.", None, minimum=2)
    format: str = setting("Format of the files.", "npy", choices=FORMATS)
    join: bool = setting("Write two streams side by side in one file.", False)
    batch_size: int | None = setting(
        "Windows that the network sees at once. By default as many as keep it busy.",
        None,
        minimum=1,
    )
    checkpoint: str | None = setting(
        "Weights of the only stream: the name of a published checkpoint, or a path in any format.",
        None,
    )
    architecture: str | None = setting(
        "Network of the weights, where their names fit several.", None, choices=arch.ARCHITECTURES
    )
    streams: tuple[str, ...] = setting(
        "rgb, flow, or both: rgb,flow.", ("rgb",), choices=("rgb", "flow")
    )
    rgb_checkpoint: str | None = setting("Weights of the RGB stream.", None)
    flow_checkpoint: str | None = setting("Weights of the flow stream.", None)
    flow: Path | None = setting(
        "Folder with flow that `extract_flow` wrote; otherwise flow is computed.", None
    )
    device: str = setting("auto is a GPU if there is one.", "auto", choices=("auto", "cpu", "gpu"))
    precision: str = setting(
        "Precision that the network computes in; rows are float32.",
        "float32",
        choices=PRECISIONS,
    )
    threads: int | None = setting(
        "Threads the network computes with on a CPU. By default OMP_NUM_THREADS, or one a core.",
        None,
        minimum=1,
    )

    @classmethod
    def expand(cls, arguments: Sequence[str]) -> list[str]:
        """The command line with a preset's flags in place."""
        return presets.expand(arguments)

    def __post_init__(self) -> None:
        if (self.video_w is None) != (self.video_h is None):
            raise UsageError("--video_w and --video_h go together: give both, or neither")
        if self.tracking_folder:
            for name in ("fps", "short_side"):
                if getattr(self.extraction, name):
                    raise UsageError(
                        f"--{name} and --tracking_folder exclude each other: boxes are of every "
                        "frame as it is, and what is cut out is resized"
                    )
        else:
            names = ("min_frames", "boxes", "margin", "interpolate")
            _refuse(self.extraction, names, "--tracking_folder")
            _refuse(self, ("video_w", "video_h"), "--tracking_folder")
        if len(set(self.streams)) != len(self.streams) or not self.streams:
            raise UsageError(f"--streams must be rgb, flow or rgb,flow, not {self.streams}")
        if "flow" not in self.streams:
            _refuse(self, ("flow", "flow_engine", "tvl1"), "--streams with flow")
        elif self.flow and (self.start is not None or self.end is not None):
            raise UsageError("--start and --end: the flow of --flow is whole; leave one out")

    @property
    def checkpoints(self) -> dict[str, str]:
        """The checkpoint of each stream.

        Raises:
            UsageError: A stream has no checkpoint or two, or there is one of another stream.
        """
        own = {"rgb": self.rgb_checkpoint, "flow": self.flow_checkpoint}
        for stream, given in own.items():
            if given and stream not in self.streams:
                raise UsageError(
                    f"--{stream}_checkpoint is given, and {stream} is not among --streams"
                )
        if self.checkpoint:
            if len(self.streams) > 1:
                raise UsageError(
                    "--checkpoint is for one stream: use --rgb_checkpoint and --flow_checkpoint"
                )
            if own[self.streams[0]]:
                raise UsageError(
                    f"--checkpoint and --{self.streams[0]}_checkpoint exclude each other"
                )
            return {self.streams[0]: self.checkpoint}
        found = {}
        for stream in self.streams:
            if not (given := own[stream]):
                raise UsageError(f"--{stream}_checkpoint is needed")
            found[stream] = given
        return found


def complete(settings: Settings, model: Model) -> Extraction:
    """The settings of extraction with what was left open taken from the network of a stream."""
    contract, extraction = model.contract, settings.extraction
    if settings.tracking_folder:  # boxes are of every frame as it is
        extraction = dataclasses.replace(
            extraction, fps=0.0, short_side=0, least_side=0, frame_size=()
        )
    window = extraction.window or contracts.usual(model.net.name).frames
    rate = extraction.rate or contract.stride
    stride, fps, side = extraction.stride, extraction.fps, extraction.short_side
    if extraction.mode == "segment" and stride is None:
        stride = (window - 1) * rate + 1
    return dataclasses.replace(
        extraction,
        window=window,
        rate=rate,
        stride=stride,
        fps=contract.fps if fps is None else fps,
        short_side=contract.short_side if side is None else side,
        crop_size=extraction.crop_size or contract.crop,
    )


def find_endpoint(net: arch.Network, extraction: Extraction) -> str:
    """The endpoint that is taken.

    By default the pooled features; for "dense" the map before them if the pool spans all time.

    Raises:
        ValueError: There is no such endpoint.
    """
    arch.check_endpoint(net, extraction.endpoint)
    if extraction.endpoint:
        return extraction.endpoint
    if extraction.mode == "dense" and net.head.pool is None:
        return net.nodes[-2].name
    return net.head.features


def _refuse(settings: Any, names: Iterable[str], needed: str) -> None:
    """Refuses settings that would have no effect."""
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    for name in names:
        if getattr(settings, name) != defaults[name]:
            raise UsageError(f"--{name} is for {needed}")
