"""What `i3d_tf.extract_features` and `i3d_torch.extract_features` share: what flags mean."""

import dataclasses
from pathlib import Path
from typing import Any

from absl import app, flags

from common import memory, processors
from common.features import boxes, extraction, feature_task, items, outputs, presets, tracks
from common.features.extracting import Tracking
from common.features.extraction import Extraction
from common.features.feature_task import Options
from common.features.presets import Preset
from common.features.reading import Reader
from common.flags import (
    ALLOW_FAILURES,
    ARCHITECTURE,
    CHECKPOINT,
    DRY_RUN,
    FLOW,
    FLOW_CHECKPOINT,
    INPUT,
    LIMIT,
    OUTPUT,
    OVERWRITE,
    PLACES,
    PRECISION,
    RGB_CHECKPOINT,
    STREAMS,
    THREADS,
    WORKERS,
    chosen_engines,
    chosen_streams,
)
from common.jobs import command as work
from common.jobs import runs
from common.jobs.task import Item
from common.models import MakePredictor

PRESET = flags.DEFINE_enum(
    "preset",
    None,
    list(presets.PRESETS),
    "Settings that others have extracted features with, which other flags change; --show_presets "
    "says more.",
)
SHOW_PRESETS = flags.DEFINE_bool(
    "show_presets", False, "Say what each preset aims at and where it differs, and end."
)
MODE = flags.DEFINE_enum(
    "mode",
    None,
    list(extraction.MODES),
    "segment: a row a window. dense: a row a time step of the convolutional map over the whole "
    "video. framewise: a row a frame, of the window around it. By default segment.",
)
WINDOW = flags.DEFINE_integer(
    "window", None, "Frames of a window; by default as the network was trained.", lower_bound=1
)
RATE = flags.DEFINE_integer(
    "rate", None, "A window takes every so-many-th frame; by default the network's.", lower_bound=1
)
STRIDE = flags.DEFINE_integer(
    "stride", None, "segment: frames from window to window; by default no overlap.", lower_bound=1
)
FREQUENCY = flags.DEFINE_integer(
    "frequency", None, "framewise: a row every so many frames; by default 1.", lower_bound=1
)
PAD = flags.DEFINE_enum(
    "pad",
    None,
    list(extraction.PADS),
    "framewise, at both ends: repeat the outermost frames (default), the outermost rows that fit, "
    "or have no rows there.",
)
SHORT = flags.DEFINE_enum(
    "short",
    None,
    list(extraction.SHORTS),
    "A video that is too short for one row: loop it (default), repeat its last frame, fail, or "
    "give no rows.",
)
CROPS = flags.DEFINE_enum(
    "crops",
    None,
    list(extraction.CROPS),
    "The centre (default); three along the longer side; or ten: corners, centre, their mirrors.",
)
AVERAGE_CROPS = flags.DEFINE_bool(
    "average_crops", None, "Rows are means over the crops; by default crops are an axis."
)
ENDPOINT = flags.DEFINE_string(
    "endpoint", None, "What is taken; by default the pooled features before the classifier."
)
START = flags.DEFINE_float("start", None, "Begin at this second of each video.", lower_bound=0)
END = flags.DEFINE_float("end", None, "End at this second of each video.", lower_bound=0)
CROP_SIZE = flags.DEFINE_integer(
    "crop_size", None, "Side of a crop, pixels; by default the network's.", lower_bound=1
)
CHUNK = flags.DEFINE_integer(
    "chunk", None, "dense: so many frames at a time at most; by default 384.", lower_bound=1
)
TRACKING_FOLDER = flags.DEFINE_string(
    "tracking_folder", None, "Extract individuals, whose tracklets are in files of this folder."
)
TRACKING_SUFFIX = flags.DEFINE_string(
    "tracking_suffix",
    ".json",
    "The tracklets of a/b.mp4 are in TRACKING_FOLDER/a/b and this: .json, .pkl or .txt.",
)
MIN_FRAMES = flags.DEFINE_integer(
    "min_frames",
    None,
    "Leave out tracklets of fewer frames; by default none.",
    lower_bound=1,
    allow_override=True,  # `prepare check` has a flag of this name, too
)
VIDEO_W = flags.DEFINE_integer(
    "video_w", None, "Resize frames to this width before boxes are cut.", lower_bound=2
)
VIDEO_H = flags.DEFINE_integer(
    "video_h", None, "Resize frames to this height before boxes are cut.", lower_bound=2
)
BOXES = flags.DEFINE_enum(
    "boxes",
    None,
    list(boxes.POLICIES),
    "Cut an individual out where it is on each frame (default), or where it is on any of them.",
)
MARGIN = flags.DEFINE_float(
    "margin", None, "Add this share of a box on each of its sides; by default 0.", lower_bound=0
)
INTERPOLATE = flags.DEFINE_bool(
    "interpolate", None, "Fill frames that a tracklet lacks; by default that is an error."
)
SPANS = flags.DEFINE_bool(
    "spans", None, "Each labelled span of the annotations is an item, not each video."
)
FORMAT = flags.DEFINE_enum("format", "npy", list(outputs.FORMATS), "Of the files.")
JOIN = flags.DEFINE_bool("join", None, "Two streams side by side in one file.")
BATCH_SIZE = flags.DEFINE_string(
    "batch_size", "auto", "Windows that the network sees at once; auto is what keeps it busy."
)
DEVICE = flags.DEFINE_enum(
    "device", "auto", ["auto", "cpu", "gpu"], "Where the network is; auto is a GPU if there is one."
)
_SHARED = (
    CHECKPOINT, ARCHITECTURE, STREAMS, RGB_CHECKPOINT, FLOW_CHECKPOINT, FLOW, PRECISION, THREADS,
    *work.RUN, work.FPS, work.SHORT_SIDE, work.SOURCE_FPS, *work.FLOW,
)  # fmt: skip
for _flag in _SHARED:
    flags.declare_key_flag(_flag.name)

# Fields of an `Extraction` that a flag sets, where it is given.
_FIELDS = {
    "mode": MODE, "window": WINDOW, "rate": RATE, "stride": STRIDE, "frequency": FREQUENCY,
    "pad": PAD, "short": SHORT, "crops": CROPS, "average_crops": AVERAGE_CROPS,
    "endpoint": ENDPOINT, "fps": work.FPS, "resize": work.SHORT_SIDE, "crop": CROP_SIZE,
    "margin": MARGIN, "boxes": BOXES, "min_frames": MIN_FRAMES, "interpolate": INTERPOLATE,
    "chunk": CHUNK,
}  # fmt: skip
_OF_MODE = {"stride": "segment", "frequency": "framewise", "pad": "framewise", "chunk": "dense"}
_OF_TRACKING = (MIN_FRAMES, BOXES, MARGIN, INTERPOLATE, VIDEO_W, VIDEO_H)

_READERS = 4  # videos that are read at a time, at most, unless --workers says it


def main(make: MakePredictor, backend: str) -> int:
    """The command of a backend (its package's name); its exit status."""
    if SHOW_PRESETS.value:
        print(presets.text())
        return 0
    for flag in (INPUT, OUTPUT):
        if not flag.value:
            raise app.UsageError(f"--{flag.name} is needed")
    memory.keep()
    preset = presets.get(PRESET.value) if PRESET.value else None
    task = feature_task.create(_options(preset), make, backend)
    found = items.found(
        INPUT.value,
        work.annotations(),
        bool(preset and preset.spans) if SPANS.value is None else SPANS.value,
        START.value,
        END.value,
        LIMIT.value,
        OUTPUT.value,
    )
    if task.tracking:
        found = tuple(_with_tracks(item, task.tracking) for item in found)
    report = runs.run(task, found, _settings(len(found)))
    print(report.text())
    return report.status


def _options(preset: Preset | None) -> Options:
    streams = chosen_streams(",".join(preset.streams) if preset else "rgb")
    tracking = _tracking()
    reader = Reader(source_fps=work.SOURCE_FPS.value)
    if "flow" in streams:
        engine, params = work.flow_engine()
        folder = Path(FLOW.value) if FLOW.value else None
        if folder and (START.present or END.present):
            raise app.UsageError("--start and --end: the flow of --flow is whole; leave one out")
        reader = dataclasses.replace(reader, flow=folder, engine=engine, params=params)
    for flag in (FLOW, *work.FLOW):
        if flag.present and "flow" not in streams:
            raise app.UsageError(f"--{flag.name} is given, and flow is not among --streams")
    return Options(
        checkpoints={stream: str(checkpoint) for stream, checkpoint in streams.items()},
        extraction=_extraction(preset, tracking is not None),
        architecture=ARCHITECTURE.value,
        precision=PRECISION.value,
        device=DEVICE.value,
        batch_size=_batch_size(),
        reader=reader,
        tracking=tracking,
        join=preset is not None if JOIN.value is None else JOIN.value,
        format=FORMAT.value,
        preset=PRESET.value,
    )


def _extraction(preset: Preset | None, tracked: bool) -> Extraction:
    """The preset's settings, changed by flags."""
    given = {field: flag.value for field, flag in _FIELDS.items() if flag.value is not None}
    for field in ("fps", "resize"):
        if tracked and given.get(field):
            raise app.UsageError(
                f"--{_FIELDS[field].name} and --tracking_folder exclude each other: boxes are of "
                "every frame as it is, and what is cut is resized"
            )
    settings: dict[str, Any] = {**(preset.settings if preset else {}), **given}
    if "resize" in given:  # in place of how the preset resizes
        settings |= {"size": (), "least_side": 0}
    if tracked and "crops" not in given:
        settings["crops"] = "center"  # the square around the individual
    for field, mode in _OF_MODE.items():
        if field in given and settings.get("mode", "segment") != mode:
            raise app.UsageError(f"--{_FIELDS[field].name} is for --mode={mode}")
    return Extraction(**settings)


def _tracking() -> Tracking | None:
    if (VIDEO_W.value is None) != (VIDEO_H.value is None):
        raise app.UsageError("--video_w and --video_h go together: give both, or neither")
    if TRACKING_FOLDER.value is None:
        for flag in _OF_TRACKING:
            if flag.value is not None:
                raise app.UsageError(f"--{flag.name} is for --tracking_folder")
        return None
    size = (VIDEO_W.value, VIDEO_H.value) if VIDEO_W.value else ()
    return Tracking(Path(TRACKING_FOLDER.value), TRACKING_SUFFIX.value, size)


def _with_tracks(item: Item, tracking: Tracking) -> Item:
    """The item, to be made again where its tracklets have changed; without any it fails.

    Raises:
        ValueError: It is a part of a video.
    """
    if item.start is not None or item.end is not None:
        raise ValueError(
            f"{item.name}: expected whole videos with --tracking_folder, whose boxes are of every "
            "frame. Received: a span of one. Leave out --start, --end and --spans, or the tracking."
        )
    path = tracks.place(tracking.folder, tracking.suffix, item.name)
    return dataclasses.replace(item, also=(path.absolute(),) if path.is_file() else ())


def _batch_size() -> int | None:
    text = BATCH_SIZE.value
    if text == "auto":
        return None
    if not text.isdecimal() or not int(text):
        raise app.UsageError(f"--batch_size must be auto or a number, not {text}")
    return int(text)


def _settings(count: int) -> runs.Settings:
    workers = min(_READERS, processors.count()) if WORKERS.value is None else WORKERS.value
    return runs.Settings(
        output=Path(OUTPUT.value),
        workers=min(workers, count),
        overwrite=OVERWRITE.value,
        dry_run=DRY_RUN.value,
        # Threads share the network and its batches.
        engine="ray" if chosen_engines(PLACES) == ("ray",) else "threads",
        allow_failures=ALLOW_FAILURES.value,
    )
