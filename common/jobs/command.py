"""What the preparation commands share: their flags, and a run from flags to an exit status."""

import functools
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from common import flow, processors
from common.annotations import Annotations, annotation_files
from common.flags import (
    ALLOW_FAILURES,
    ANNOTATIONS,
    DRY_RUN,
    ENGINE,
    FLOW_ENGINE,
    INPUT,
    LIMIT,
    OUTPUT,
    OVERWRITE,
    PLACES,
    WORKERS,
    chosen_engines,
)
from common.flow import TVL1Params
from common.jobs import inputs, runs
from common.jobs.pictures import Pictures
from common.jobs.task import Item, Task
from common.video import layouts

FPS = flags.DEFINE_float(
    "fps", None, "Frames a second, by timestamps; 0 is every frame there is.", lower_bound=0
)
SHORT_SIDE = flags.DEFINE_integer(
    "short_side", None, "Resize the shorter side to it, pixels; 0 keeps the size.", lower_bound=0
)
SOURCE_FPS = flags.DEFINE_float(
    "source_fps",
    None,
    "Images a second of folders of frames, where a rate or a span needs it; known of those that "
    "`extract_frames` made with --fps.",
)
SQUARE_PIXELS = flags.DEFINE_bool(
    "square_pixels",
    True,
    "Stretch the width where pixels are not square, as players do and OpenCV does not.",
)
LAYOUT = flags.DEFINE_string(
    "layout",
    None,
    "What the files are called. Frames, image by default: "
    + " ".join(f"{name} ({kind.about})" for name, kind in layouts.RGB_LAYOUTS.items())
    + ". Flow, image_xy by default: "
    + " ".join(f"{name} ({kind.about})" for name, kind in layouts.FLOW_LAYOUTS.items())
    + ".",
)
TVL1 = flags.DEFINE_multi_string(
    "tvl1", [], "A parameter of TV-L1 as NAME=VALUE; may be given several times."
)

_GPU_WORKERS = 4

# From here on it is the calling command that declares flags.
flags.disclaim_key_flags()

RUN = (INPUT, OUTPUT, ANNOTATIONS, WORKERS, OVERWRITE, LIMIT, DRY_RUN, ENGINE, ALLOW_FAILURES)
"""Of every command that makes something of items."""

SOURCES = (SOURCE_FPS, SQUARE_PIXELS)
PICTURES = (FPS, SHORT_SIDE, *SOURCES)
FLOW = (FLOW_ENGINE, TVL1)


def declare(*shared: flags.FlagHolder) -> None:
    """Makes flags that are defined elsewhere those of the command that calls."""
    for flag in shared:
        flags.declare_key_flag(flag.name)


@functools.cache
def annotations() -> Annotations | None:
    """What --annotations says, read once."""
    return annotation_files.read(ANNOTATIONS.value) if ANNOTATIONS.value else None


def found(command: str = "") -> tuple[Item, ...]:
    """The items that --input and --annotations name.

    Args:
        command: Which command is to run, where its results are folders of frames.

    Raises:
        app.UsageError: --input or --output is missing.
        FileNotFoundError, ValueError: As `inputs.items`, or `annotation_files.read`.
    """
    if not INPUT.value:
        raise app.UsageError("--input is missing: a video, a folder, or a .txt list of videos.")
    if not OUTPUT.value:
        raise app.UsageError("--output is missing: the folder to write to.")
    known = annotations()
    records = known.records if known else None
    return inputs.items(INPUT.value, records, LIMIT.value, OUTPUT.value, command)


def pictures(items: Sequence[Item], usual: Pictures) -> Pictures:
    """Which frames, and how large: as the flags say, else as is usual for the command.

    A rate that is asked for is that of folders of frames, too; where there are none, it plays no
    part in what has to be done again.
    """
    asked = FPS.present or SOURCE_FPS.present
    folders = asked and any(item.source.is_dir() for item in items)
    if SOURCE_FPS.present and not folders:
        raise app.UsageError("--source_fps is for folders of frames, and there are none.")
    rate = FPS.value or None
    return Pictures(
        fps=rate if FPS.present else usual.fps,
        folder_fps=rate if FPS.present and folders else usual.folder_fps,
        source_fps=SOURCE_FPS.value,
        short_side=(SHORT_SIDE.value or None) if SHORT_SIDE.present else usual.short_side,
        square_pixels=SQUARE_PIXELS.value,
    )


def flow_engine() -> tuple[str, TVL1Params]:
    """The engine, which is settled here for all workers, and its parameters."""
    return flow.resolve(FLOW_ENGINE.value), TVL1Params.with_values(TVL1.value)


def settings(items: Sequence[Item], engine: str | None = None) -> runs.Settings:
    """How to run, as the flags say; with no more processes than there are items.

    Args:
        items: What there is to do.
        engine: What computes flow; None where none is computed.
    """
    (place,) = chosen_engines(PLACES)
    cores = processors.count()
    # On a GPU, enough to decode for it: each has to load torch and keeps memory there.
    usual = _GPU_WORKERS if engine and flow.on_gpu(engine) else cores
    workers = min(usual, cores) if WORKERS.value is None else WORKERS.value
    return runs.Settings(
        output=Path(OUTPUT.value),
        workers=min(workers, len(items)),
        overwrite=OVERWRITE.value,
        dry_run=DRY_RUN.value,
        engine="ray" if place == "ray" else "local",
        allow_failures=ALLOW_FAILURES.value,
    )


def run(task: Task, items: Sequence[Item], engine: str | None = None) -> int:
    """Runs the task as the flags say, prints the summary, returns the exit status.

    Args:
        task: What to do.
        items: Of what.
        engine: See `settings`.
    """
    report = runs.run(task, items, settings(items, engine))
    print(report.text())
    return report.status
