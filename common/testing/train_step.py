"""A small network to train in either framework, and checks of memory and replicas."""

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common import arch
from common.preprocessing.contracts import InputContract
from common.training.data import Batch
from common.training.loop import TrainStepClass
from common.training.recipes import RECIPES

randomise = importlib.import_module("parity_tests.randomise")

NET = arch.Network(
    "i3d_resnet50_8x8",
    3,
    (
        arch.Conv("conv1", 4, (1, 3, 3), norm=arch.Norm(1e-3, 0.1, scale=True)),
        arch.Conv("res2_0", 6, (3, 1, 1), (2, 1, 1), norm=arch.Norm(1e-3, 0.1, scale=False)),
        arch.Head(
            "Logits",
            "Features",
            pool=arch.Pool("pool", "average", (1, 4, 4), (1, 1, 1), (0, 0, 0)),
            dropout=0.0,
            conv=arch.Conv("fc", 3, (1, 1, 1), bias=True, relu=False),
            predictions="Predictions",
        ),
    ),
)
ARRAYS = randomise.arrays(NET)
STATISTICS = [p.name for p in arch.parameters(NET) if not p.trainable]
RECIPE = replace(
    RECIPES["finetune"],
    architecture=NET.name,
    momentum=0.9,
    weight_decay=0.0,
    batch_norm="freeze",
    dropout=0.0,
)
RATE = 0.125
REPLICATED: dict[str, Any] = {
    "momentum": 0.9,
    "weight_decay": 1e-3,
    "clip_norm": 1.0,
    "dropout": 0.5,
    "average_decay": 0.9,
}


def make_batch(seed: int = 0, count: int = 4, task: str = "classes") -> Batch:
    """Clips [count, 4, 6, 6, 3] of noise."""
    rng = np.random.default_rng(seed)
    clips = rng.integers(0, 256, (count, 4, 6, 6, 3), dtype=np.uint8)
    frames = rng.integers(0, 2, (count, 4, 3)).astype(np.float32)
    targets = frames if task == "frames" else rng.integers(0, 3, count)
    return Batch(
        tuple("abcdefgh"[:count]), clips, targets, tuple((seed, 0, i) for i in range(count))
    )


def half(batch: Batch, number: int) -> Batch:
    """The first or the second half of a batch of 8."""
    part = slice(4 * number, 4 * number + 4)
    return Batch(batch.names[part], batch.clips[part], batch.targets[part], batch.keys[part])


def make_step(create: TrainStepClass, **changes: Any) -> Any:
    """A train step of `NET` from `ARRAYS`, by the recipe with changes."""
    return create(NET, ARRAYS, replace(RECIPE, **changes), InputContract())


def check_memory(create: TrainStepClass, error: Exception) -> None:
    """The framework's out-of-memory error becomes advice."""
    own = make_step(create)

    def time_steps(*arguments: object, **options: object) -> None:
        raise error

    own.training.time_steps = own.predictor.time_steps = time_steps
    batch = make_batch()
    with pytest.raises(ValueError, match=r"out of memory with 4 clips of 4 x 6 x 6 .* accumulate="):
        own.step([batch], RATE)
    for scores in (own.predictor.scores, own.predictor.frame_scores):
        with pytest.raises(ValueError, match=r"out of memory with 4 clips .* --views_at_a_time"):
            scores(batch.clips)


def check_replicas(states: list[Any], create: TrainStepClass, mode: str) -> None:
    """20 steps of two replicas end where one replica with the whole batches does."""
    alone = make_step(create, **REPLICATED, batch_norm=mode)
    measured = [alone.step([make_batch(step, 8)], RATE).loss for step in range(20)]
    assert states[0]["losses"] == pytest.approx(measured, rel=1e-5)
    for name, array in alone.state().items():
        np.testing.assert_allclose(states[0][name], array, rtol=0, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(states[-1][name], states[0][name], err_msg=name)
