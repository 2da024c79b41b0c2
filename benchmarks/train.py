"""Measures a step of training: the plain loop beside the project's.

    python benchmarks/train.py [--rounds=5] [--results=FILE.json]
    python benchmarks/train.py --device=gpu --batches=2,16 --frames=64 --results=FILE.json

A step begins with uint8 clips in memory. The plain loop is PyTorch's, eager, as it is usually
written: `VideoModel` in the layout that torch calls contiguous, and `torch.optim.SGD`. The others
are the learners behind `i3d_torch.train` and `i3d_tf.train`. They take turns in one process; peak
memory is that of a process of its own for each. The difference is that of the loss after a step.
Whole runs, with reading and snapshots, are those of `benchmarks/training_runs.py`.
"""

import dataclasses
import functools
import importlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import comparing
import measuring
import numpy as np
import report
from absl import app, flags
from comparing import Candidate, Case, torch_device
from measuring import Run

from common import arch
from common.arch import ARCHITECTURES
from common.preprocessing import contracts
from common.training import recipes
from common.training.batches import Batch
from common.training.recipes import PRECISIONS, Recipe

NAMES = flags.DEFINE_list("architectures", ["inception_i3d"], "Networks.")
BACKENDS = flags.DEFINE_list("backends", ["torch", "tensorflow"], "Frameworks.")
PRECISION = flags.DEFINE_list("precisions", ["float32", "bfloat16"], "Of the learners.")
BATCHES = flags.DEFINE_list("batches", ["2"], "Clips of a step.")
FRAMES = flags.DEFINE_integer("frames", 16, "Of a clip.", lower_bound=1)
SIZE = flags.DEFINE_integer("size", 224, "Height and width of a clip, pixels.", lower_bound=1)
ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of each.", lower_bound=1)
DEVICE = flags.DEFINE_enum("device", "cpu", ["cpu", "gpu"], "Where to compute.")
MEMORY = flags.DEFINE_bool("memory", True, "Whether peaks of memory are measured as well.")
RESULTS = flags.DEFINE_string("results", None, "A file for the numbers, JSON.")

PLAIN = Candidate("torch", "plain loop", "float32", kept=False)
# And what each sets in the recipe.
LEARNERS: Mapping[str, Mapping[str, Any]] = {
    "learner": {},
    "learner, recomputing": {"recompute": True},
}
_RATE = 1e-7  # gradients of untrained weights are so large that usual steps would amplify rounding
MODULES = {"torch": "i3d_torch.learner", "tensorflow": "i3d_tf.learner"}


def make(case: Case, candidate: Candidate) -> Run:
    """A function that takes a step and returns its loss."""
    return _plain(case) if candidate == PLAIN else _learner(case, candidate)


def candidates() -> list[Candidate]:
    """What the flags ask for; the plain loop is the first in any case."""
    asked = itertools.product(BACKENDS.value, LEARNERS, PRECISION.value)
    return [PLAIN, *(Candidate(*each, kept=True) for each in asked)]


def main(argv: Sequence[str]) -> int:
    del argv
    measuring.check_names(NAMES, ARCHITECTURES)
    measuring.check_names(BACKENDS, MODULES)
    measuring.check_names(PRECISION, PRECISIONS)
    measuring.begin(DEVICE.value)
    result = {"machine": measuring.machine(DEVICE.value), "rounds": ROUNDS.value, "cases": []}
    print(report.machine(result))
    for name, batch in itertools.product(NAMES.value, map(int, BATCHES.value)):
        case = Case(name, batch, FRAMES.value, SIZE.value, DEVICE.value)
        found = comparing.compare(case, candidates(), make, ROUNDS.value, MEMORY.value)
        found["gflop"] *= 3  # forward, and backward to what is read and to the kernels
        result["cases"].append(found)
        print("\n".join(["", *report.case(found, training=True)]), flush=True)
        measuring.write(RESULTS.value, result)
    return int(comparing.failed(result["cases"]))


@functools.lru_cache(maxsize=1)
def _inputs(case: Case) -> tuple[arch.Network, arch.Arrays, Recipe, Batch]:
    """A network, its weights, how to train it, and a batch; nothing is dropped, nothing decays."""
    recipe = dataclasses.replace(
        recipes.get("finetune"),
        architecture=case.architecture,
        batch=case.batch,
        sample_duration=case.frames,
        short_side=(case.size, case.size),
        crop=case.size,
        learning_rate=_RATE,
        weight_decay=0.0,
        dropout=0.0,
    )
    net = arch.without_dropout(arch.make(case.architecture))
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
    from i3d_torch import preprocessing

    net, arrays, recipe, batch = _inputs(case)
    device, contract = torch_device(case.device), contracts.usual(case.architecture)
    model = i3d_torch.VideoModel(net).train()
    i3d_torch.assign(model, arrays)
    model.to(device)
    rate, momentum = recipe.learning_rate, recipe.momentum
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)

    def step() -> float:
        clips = torch.tensor(batch.clips, device=device).movedim(-1, 1).contiguous()
        logits, _ = model(preprocessing.to_contract(clips, contract))
        loss = functional.cross_entropy(logits, torch.tensor(batch.targets, device=device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _learner(case: Case, candidate: Candidate) -> Run:
    net, arrays, recipe, batch = _inputs(case)
    changes = {"precision": candidate.precision, **LEARNERS[candidate.form]}
    recipe = dataclasses.replace(recipe, **changes)
    if candidate.backend == "torch" and case.device == "gpu":  # set, it costs a little in each call
        import torch

        torch.set_default_device(torch_device(case.device))
    module = importlib.import_module(MODULES[candidate.backend])
    learner = module.create(net, arrays, recipe, contracts.usual(case.architecture))
    return lambda: learner.step([batch], recipe.learning_rate).loss


if __name__ == "__main__":
    app.run(main)
