"""The commands `i3d_tf.train` and `i3d_torch.train`: from settings to runs."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

from common import hardware
from common.io import check_target
from common.settings import UsageError
from common.training import loop, recipes
from common.training.checkpoints import RESUME
from common.training.loop import Rank, TrainStepClass
from common.training.run import prepare
from common.training.settings import Settings

Connect = Callable[[int | None], contextlib.AbstractContextManager[tuple[Rank, Any]]]
"""`processes.connected` of a framework: takes the threads, joins the processes that train
together, and yields the rank and what `TrainStep` takes as `distributed`."""


def run(settings: Settings, train_step: TrainStepClass, connected: Connect) -> int:
    """Trains each stream; raises `UsageError` for settings that do not go together."""
    recipe = recipes.get(settings.recipe)
    if settings.num_classes:
        recipe = dataclasses.replace(recipe, num_classes=settings.num_classes)
    recipe = recipes.changed(recipe, settings.set)
    chosen = settings.checkpoints(recipe.stream)
    streams = [dataclasses.replace(recipe, stream=stream) for stream in chosen]
    if settings.show:
        fields = ([f"{k}={v}" for k, v in recipes.to_json(each).items()] for each in streams)
        print("\n\n".join(map("\n".join, fields)))
        return 0
    hardware.keep_freed_memory()
    if len(streams) > 1 and settings.resume not in RESUME:
        raise UsageError("--resume takes the path of a snapshot for one stream alone")
    # All mistakes show here, before the first stream is trained.
    runs = [prepare(each, _of_stream(settings, each.stream, chosen)) for each in streams]
    with connected(settings.threads) as (rank, distributed):
        make = functools.partial(train_step, distributed=distributed)
        for each in runs:
            if text := loop.train(each, make, rank):
                print(text, flush=True)
    return 0


def _of_stream(settings: Settings, stream: str, chosen: dict[str, str | None]) -> Settings:
    """The settings of one stream's run: its own checkpoint and folder, and workers."""
    for name in ("annotations", stream, "output"):
        if not getattr(settings, name):
            raise UsageError(f"--{name} is needed")
    output, workers = settings.output, settings.workers
    if output and len(chosen) > 1:
        output /= stream
    if output:
        check_target(output / "log.jsonl", overwrite=True)
    if workers is None:  # one a core, shared with the processes that torchrun started here
        workers = max(1, hardware.processors() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    checkpoint = chosen[stream]
    return dataclasses.replace(settings, output=output, checkpoint=checkpoint, workers=workers)
