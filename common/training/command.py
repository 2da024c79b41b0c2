"""The commands `i3d_tf.train` and `i3d_torch.train`: from settings to runs."""

import contextlib
import dataclasses
import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import logging

from common import hardware, models
from common.annotations import annotation_files
from common.flow import ENGINES, stamp
from common.io import check_target, sha256
from common.model_card import ModelCard
from common.models import WeightSettings
from common.preprocessing.contracts import CHANNELS
from common.settings import UsageError, setting
from common.training import loop, recipes, validation
from common.training.checkpoints import Snapshot
from common.training.data import TrainingSet
from common.training.loop import Rank, Run, TrainStepClass
from common.training.recipes import RECIPES, Recipe
from common.training.start import start
from common.video.clip_reader import ClipReader, Source

# `devices.connected` of a framework.
Connect = Callable[[int | None], contextlib.AbstractContextManager[tuple[Rank, Any]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(WeightSettings):
    r"""Trains or fine-tunes a network.

        i3d train --recipe=finetune --annotations=ucf101_1.json --rgb=frames \
            --checkpoint=rgb_scratch --output=runs/rgb
        i3d train --recipe=finetune --streams=flow --annotations=ucf101_1.json --flow=flow \
            --checkpoint=flow_imagenet --output=runs/flow --set batch=16 --set steps=20000
        torchrun --nproc_per_node=8 -m i3d_torch.train --recipe=nonlocal_400k ...
        TF_CONFIG=... python -m i3d_tf.train --recipe=nonlocal_400k ...

    Weights that are not given are random; with two streams, none stands for random ones. The same
    command continues a run that was killed. OUTPUT holds snapshots, log.jsonl, tensorboard,
    curves.png, model.safetensors, the final weights, and model_best.safetensors, those of the best
    validation, each with a card, model.json, which `evaluate` and `evaluate_sample` read. Two
    streams are trained one after the other, in OUTPUT/rgb and OUTPUT/flow.
    """

    recipe: str = setting(
        "How to train; common/training/recipes.py has all numbers and their sources.",
        "finetune",
        choices=tuple(RECIPES),
    )
    set: tuple[str, ...] = setting(
        "A field of the recipe as NAME=VALUE; may be given several times.", (), repeated=True
    )
    show: bool = setting("Only print the recipe as it would be used.", False)
    annotations: Path | None = setting(
        "A file of `make_annotations`, 3D-ResNets or pytorch-i3d. Needed.", None
    )
    rgb: Path | None = setting("Folder of the RGB: frames, videos, or arrays of `to_numpy`.", None)
    flow: Path | None = setting(
        "Folder of the flow. Of frames or videos there flow is computed, which takes long.", None
    )
    output: Path | None = setting("Folder of the run. Needed.", None)
    streams: tuple[str, ...] = setting(
        "rgb, flow, or rgb,flow; by default the recipe's.", (), choices=tuple(CHANNELS)
    )
    export: tuple[str, ...] = setting(
        "Dialects to write the last weights in, beside our own: see convert --list.", ()
    )
    tensorboard: bool = setting("Write TensorBoard's files, too.", True)
    workers: int | None = setting("Processes that read; by default one a core.", None, minimum=0)
    threads: int | None = setting("Threads of the network; by default one a core.", None, minimum=1)
    # Not torch unless asked for: many processes cannot share a GPU.
    flow_engine: str = setting("Computes the flow.", "numba", choices=("auto", *ENGINES))

    def checkpoints(self, usual: str) -> dict[str, str | None]:
        """The checkpoint of each stream to train, by default `usual`; None for random weights."""
        streams = self.streams or (usual,)
        if len({*streams}) < len(streams):
            raise UsageError(f"--streams must be rgb, flow or rgb,flow, not {','.join(streams)}")
        (other,) = {*CHANNELS} - {usual}
        if not self.streams and getattr(self, other):
            raise UsageError(f"--{other} is given, and the recipe trains {usual}: set --streams")
        given = self.checkpoint or self.rgb_checkpoint or self.flow_checkpoint
        random = {} if given else dict.fromkeys(streams, "none")
        chosen = self.choose(streams, f"--streams={','.join(streams)}", random)
        return {stream: None if name == "none" else name for stream, name in chosen.items()}


def train(settings: Settings, train_step: TrainStepClass, connected: Connect) -> int:
    recipe = recipes.changed(RECIPES[settings.recipe], settings.set)
    checkpoints = settings.checkpoints(recipe.stream)
    streams = [dataclasses.replace(recipe, stream=stream) for stream in checkpoints]
    if settings.show:
        fields = ([f"{k}={v}" for k, v in dataclasses.asdict(each).items()] for each in streams)
        print("\n\n".join(map("\n".join, fields)))
        return 0
    models.keep_freed_memory()
    # All mistakes show here, before the first stream is trained.
    runs = []
    for each in streams:
        own = dataclasses.replace(settings, checkpoint=checkpoints[each.stream])
        if own.output and len(streams) > 1:
            own = dataclasses.replace(own, output=own.output / each.stream)
        runs.append(prepare(each, own))
    with connected(settings.threads) as (rank, distributed):
        make = functools.partial(train_step, distributed=distributed)
        for run in runs:
            if text := loop.train(run, make, rank):
                print(text, flush=True)
    return 0


def prepare(recipe: Recipe, settings: Settings) -> Run:
    """Reads and checks everything that the run of one stream needs."""
    for name in ("annotations", recipe.stream, "output"):
        if not getattr(settings, name):
            raise UsageError(f"--{name} is needed")
    assert settings.annotations and settings.output
    check_target(settings.output / "log.jsonl", overwrite=True)
    workers = settings.workers
    if workers is None:  # one a core, shared with the processes that torchrun started here
        workers = max(1, hardware.processors() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    annotations = annotation_files.read(settings.annotations)
    count = recipe.num_classes or len(annotations.classes)
    if not count:
        raise ValueError("the annotations do not say how many classes there are: set num_classes.")
    names = annotations.classes[:count]
    names += tuple(f"class {index}" for index in range(len(names), count))
    recipe = dataclasses.replace(recipe, num_classes=count)
    model = start(recipe, count, settings.checkpoint)
    for dialect in settings.export:  # to know now that the last weights can be exported
        with tempfile.TemporaryDirectory() as folder:
            models.export(model.net, model.arrays, Path(folder), dialect)
    source = Source(settings.rgb, settings.flow, settings.flow_engine)
    reader, job = ClipReader(source, model.contract), None
    data = TrainingSet(annotations, reader, recipe)
    if "validation" in annotations.counts:
        held_out = TrainingSet(annotations, reader, recipe, "validation")
        if held_out.stamp != data.stamp:
            stamp.check_same({"training": data.stamp, "validation": held_out.stamp})
        job = validation.make_job(held_out, recipe, model.net, workers)
    else:
        logging.warning("no records for validation: the run will not be evaluated.")
    flow = dataclasses.asdict(data.stamp) if data.stamp else None
    weights = model.digests if settings.checkpoint else None
    digest = sha256("").of(settings.annotations)
    seen = {"annotations": digest, "clips": len(data), "weights": weights, "flow": flow}
    return Run(
        recipe=recipe,
        output=settings.output,
        start=model,
        data=data,
        validation=job,
        initial=Snapshot(0, model.net.name, {}, dataclasses.asdict(recipe), seen),
        card=ModelCard(recipe.stream, names, model.contract, "", weights, flow),
        workers=workers,
        export=settings.export,
        tensorboard=settings.tensorboard,
    )
