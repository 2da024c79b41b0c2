"""Flags of `extract_features`, until it has settings; other commands use `common.jobs.settings`."""

import functools

from absl import flags

from common import flow
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
    WORKERS,
)
from common.flow import TVL1Params

FPS = flags.DEFINE_float(
    "fps", None, "Frames a second, by timestamps; 0 takes every frame.", lower_bound=0
)
SHORT_SIDE = flags.DEFINE_integer(
    "short_side", None, "Resize the shorter side to it, pixels; 0 keeps the size.", lower_bound=0
)
SOURCE_FPS = flags.DEFINE_float(
    "source_fps", None, "Frames a second of folders of frames, where a rate or a span needs it."
)
TVL1 = flags.DEFINE_multi_string(
    "tvl1", [], "A parameter of TV-L1 as NAME=VALUE; may be given several times."
)

flags.disclaim_key_flags()

RUN = (INPUT, OUTPUT, ANNOTATIONS, WORKERS, OVERWRITE, LIMIT, DRY_RUN, ENGINE, ALLOW_FAILURES)
FLOW = (FLOW_ENGINE, TVL1)


@functools.cache
def annotations() -> Annotations | None:
    """What --annotations says, read once."""
    return annotation_files.read(ANNOTATIONS.value) if ANNOTATIONS.value else None


def flow_engine() -> tuple[str, TVL1Params]:
    """The engine, settled for all workers, and its parameters."""
    return flow.resolve(FLOW_ENGINE.value), TVL1Params.with_values(TVL1.value)
