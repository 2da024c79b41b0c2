"""What `i3d_tf.train` and `i3d_torch.train` share: the flags, and the way from them to a run."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import app, flags

from common import memory, processors
from common.flags import (
    ANNOTATIONS,
    CHECKPOINT,
    FLOW,
    FLOW_CHECKPOINT,
    FLOW_ENGINE,
    OUTPUT,
    RGB,
    RGB_CHECKPOINT,
    STREAMS,
    THREADS,
    WORKERS,
    chosen_streams,
)
from common.training import loop, recipes, snapshots
from common.training.loop import Create, Place
from common.training.plan import Options, Plan
from common.training.recipes import RECIPES, Recipe
from common.video.clip_reader import Source

RECIPE = flags.DEFINE_enum(
    "recipe",
    "finetune",
    list(RECIPES),
    "How to train; `common/training/recipes.py` has all numbers.",
)
SET = flags.DEFINE_multi_string(
    "set", [], "A field of the recipe as NAME=VALUE; may be given several times."
)
NUM_CLASSES = flags.DEFINE_integer(
    "num_classes",
    None,
    "Classes of the head; by default those of the annotations. Another number than the "
    "checkpoint's makes a new head.",
    lower_bound=1,
)
RESUME = flags.DEFINE_string(
    "resume",
    "auto",
    "auto goes on from the last snapshot in --output, never refuses a folder that has any; or the "
    "path of a snapshot.",
)
EXPORT = flags.DEFINE_list(
    "export", [], "Dialects that the weights at the end are written in, too: see `convert --list`."
)
TENSORBOARD = flags.DEFINE_bool("tensorboard", True, "Write for TensorBoard, too.")
SHOW = flags.DEFINE_bool("show", False, "Only print the recipe as it would be used.")
_SHARED = (
    ANNOTATIONS, CHECKPOINT, FLOW, FLOW_CHECKPOINT, FLOW_ENGINE, OUTPUT, RGB, RGB_CHECKPOINT,
    STREAMS, THREADS, WORKERS,
)  # fmt: skip
for _flag in _SHARED:
    flags.declare_key_flag(_flag.name)


def main(
    create: Create,
    connected: Callable[[], contextlib.AbstractContextManager[tuple[Place, Any]]],
) -> None:
    """The command of a framework: flags to recipes and options, then the loop for each stream.

    Two streams are trained one after the other, in OUTPUT/rgb and OUTPUT/flow.

    Args:
        create: As `loop.Create`, with what `connected` gives as `distributed`.
        connected: Joins the processes that train together.

    Raises:
        app.UsageError: A flag is missing, or two exclude each other.
    """
    recipe = _recipe()
    chosen = chosen_streams(recipe.stream, random=True)
    runs = [dataclasses.replace(recipe, stream=stream) for stream in chosen]
    if SHOW.value:
        print("\n\n".join(map(_shown, runs)))
        return
    memory.keep()
    several = len(runs) > 1
    if several and RESUME.value not in snapshots.RESUME:
        raise app.UsageError("--resume takes the path of a snapshot for one stream alone")
    options = [_options(each, chosen[each.stream], several) for each in runs]
    # All mistakes show here, not those of the second stream when the first has been trained.
    plans = [Plan.of(each, to) for each, to in zip(runs, options, strict=True)]
    with connected() as (place, distributed):
        for plan in plans:
            if text := loop.run(plan, functools.partial(create, distributed=distributed), place):
                print(text, flush=True)


def _shown(recipe: Recipe) -> str:
    return "\n".join(f"{name}={value}" for name, value in recipes.to_json(recipe).items())


def _recipe() -> Recipe:
    recipe = recipes.get(RECIPE.value)
    if NUM_CLASSES.value:
        recipe = dataclasses.replace(recipe, num_classes=NUM_CLASSES.value)
    return recipes.changed(recipe, SET.value)


def _options(recipe: Recipe, checkpoint: str | None, several: bool) -> Options:
    for flag in (ANNOTATIONS, {"rgb": RGB, "flow": FLOW}[recipe.stream], OUTPUT):
        if not flag.value:
            raise app.UsageError(f"--{flag.name} is needed")
    output = Path(OUTPUT.value)
    workers = WORKERS.value
    # Not torch where nobody asked for it: many processes that read cannot share a GPU.
    engine = FLOW_ENGINE.value if FLOW_ENGINE.present else "numba"
    return Options(
        annotations=Path(ANNOTATIONS.value),
        source=Source(_path(RGB), _path(FLOW), engine),
        output=output / recipe.stream if several else output,
        checkpoint=checkpoint,
        resume=RESUME.value,
        workers=_workers() if workers is None else workers,
        tensorboard=TENSORBOARD.value,
        export=tuple(EXPORT.value),
    )


def _path(flag: flags.FlagHolder) -> Path | None:
    return Path(flag.value) if flag.value else None


def _workers() -> int:
    """One a core, shared with the other processes that torchrun has started on this machine."""
    return max(1, processors.count() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
