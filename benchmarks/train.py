"""Measures a training step: the project's beside a plain PyTorch loop.

    python benchmarks/train.py [--rounds=5] [--results=FILE.md]
    python benchmarks/train.py --device=gpu --batches=2,16 --frames=64 --results=FILE.md

A step begins with uint8 clips in memory. The plain loop is eager PyTorch as usually written:
`VideoModel` in the contiguous layout, and `torch.optim.SGD`. The others are the training steps of
`i3d_torch.train` and `i3d_tf.train`. They take turns in one process; peak memory is measured in one
process for each. The difference is that of the loss after a step.
"""

import dataclasses
import functools
import importlib
import itertools

import comparing
import numpy as np
from comparing import Candidate, Case, torch_device
from measuring import Run

from common import arch, command
from common.arch import ARCHITECTURES
from common.models import PRECISIONS
from common.preprocessing import contracts
from common.preprocessing.frames import standardisation
from common.settings import setting
from common.training import recipes
from common.training.data import Batch
from common.training.recipes import Recipe

PLAIN = Candidate("torch", "plain loop", "float32", kept=False)
FORMS = {"train step": False, "train step, recomputing": True}
MODULES = {"torch": "i3d_torch.train_step", "tensorflow": "i3d_tf.train_step"}

_RATE = 1e-7  # the gradients of untrained weights are large: usual steps would amplify rounding


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(comparing.Settings):
    """Measures a training step: the project's beside a plain PyTorch loop."""

    architectures: tuple[str, ...] = setting("Networks.", ("inception_i3d",), choices=ARCHITECTURES)
    precisions: tuple[str, ...] = setting(
        "Precisions of the project's steps.", ("float32", "bfloat16"), choices=PRECISIONS
    )
    batches: tuple[int, ...] = setting("Clips of a step.", (2,))
    frames: int = setting("Frames of a clip.", 16, minimum=1)
    size: int = setting("Height and width of a clip in pixels.", 224, minimum=1)


def make(case: Case, candidate: Candidate) -> Run:
    """Returns a function that takes a step and returns its loss."""
    return _plain(case) if candidate == PLAIN else _train_step(case, candidate)


@functools.lru_cache(maxsize=1)
def _inputs(case: Case) -> tuple[arch.Network, arch.Arrays, Recipe, Batch]:
    """Returns a network, its weights, a recipe without dropout and weight decay, and a batch."""
    recipe = dataclasses.replace(
        recipes.RECIPES["finetune"],
        architecture=case.architecture,
        batch=case.batch,
        sample_duration=case.frames,
        short_side=(case.size, case.size),
        crop=case.size,
        learning_rate=_RATE,
        weight_decay=0.0,
        dropout=0.0,
    )
    net = arch.with_dropout(arch.make(case.architecture), 0.0)
    rng = np.random.default_rng(0)
    shape = (case.batch, case.frames, case.size, case.size, net.in_channels)
    clips = rng.integers(0, 256, shape, np.uint8)
    targets = rng.integers(0, net.num_classes, case.batch)
    keys = tuple((0, 0, k) for k in range(case.batch))
    return net, arch.initial_arrays(net), recipe, Batch(("",) * case.batch, clips, targets, keys)


def _plain(case: Case) -> Run:
    import torch
    from torch.nn import functional

    import i3d_torch

    net, arrays, recipe, batch = _inputs(case)
    device, contract = torch_device(case.device), contracts.usual(case.architecture)
    model = i3d_torch.VideoModel(net).train()
    i3d_torch.assign(model, arrays)
    model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=_RATE, momentum=recipe.momentum)
    shift, scale = (
        torch.tensor(each, device=device).view(-1, 1, 1, 1)
        for each in standardisation(contract, net.in_channels, "uint8")
    )

    def step() -> float:
        clips = torch.tensor(batch.clips, device=device).movedim(-1, 1).contiguous()
        logits, _ = model((clips.float() - shift) / scale)
        loss = functional.cross_entropy(logits, torch.tensor(batch.targets, device=device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _train_step(case: Case, candidate: Candidate) -> Run:
    net, arrays, recipe, batch = _inputs(case)
    recipe = dataclasses.replace(
        recipe, precision=candidate.precision, recompute=FORMS[candidate.form]
    )
    if candidate.backend == "torch" and case.device == "gpu":
        import torch

        torch.set_default_device(torch_device(case.device))
    module = importlib.import_module(MODULES[candidate.backend])
    step = module.TrainStep(net, arrays, recipe, contracts.usual(case.architecture))
    return lambda: step.step([batch], recipe.learning_rate).loss


def main(settings: Settings) -> None:
    asked = itertools.product(MODULES, FORMS, settings.precisions)
    candidates = [PLAIN, *(Candidate(*each, kept=True) for each in asked)]
    cases = [
        (Case(name, batch, settings.frames, settings.size, settings.device), candidates)
        for name, batch in itertools.product(settings.architectures, settings.batches)
    ]
    comparing.report(settings, cases, make, training=True)


if __name__ == "__main__":
    command.start(main, Settings)
