"""What the losses of either framework must be: their formulas in NumPy."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3, size=(4, 5)).astype(np.float32)
LABELS = np.array([0, 4, 2, 2])
FRAMES = RNG.normal(scale=3, size=(2, 6, 5)).astype(np.float32)
TARGETS = RNG.integers(0, 2, (2, 6, 5)).astype(np.float32)

Tensor = Callable[[NDArray[Any]], Any]
"""Makes the framework's tensor of an array."""

Gradient = Callable[[Callable[[Any], Any], NDArray[np.float32]], NDArray[np.float32]]
"""The gradient of a function of a tensor at an array."""


def check_classes(losses: ModuleType, tensor: Tensor, smoothing: float) -> None:
    """The mean cross entropy."""
    targets = np.eye(5)[LABELS] * (1 - smoothing) + smoothing / 5
    logarithms = LOGITS - np.log(np.exp(LOGITS.astype(np.float64)).sum(axis=1, keepdims=True))
    expected = -(targets * logarithms).sum(axis=1).mean()
    actual = losses.classes(tensor(LOGITS), tensor(LABELS), smoothing)
    assert float(actual) == pytest.approx(expected, rel=1e-6)


def check_frames(losses: ModuleType, tensor: Tensor) -> None:
    """Half localisation, half classification."""
    expected = (
        _binary_cross_entropy(FRAMES, TARGETS)
        + _binary_cross_entropy(FRAMES.max(axis=1), TARGETS.max(axis=1))
    ) / 2
    assert float(losses.frames(tensor(FRAMES), tensor(TARGETS))) == pytest.approx(expected, 1e-6)


def check_large_logits(losses: ModuleType, tensor: Tensor) -> None:
    """They stay finite."""
    logits = np.array([[1000, -1000]], np.float32)
    assert float(losses.classes(tensor(logits), tensor(np.array([1])))) == 2000
    assert float(losses.frames(tensor(logits[None]), tensor(np.zeros((1, 1, 2), "f4")))) == 500


def check_frame_logits(losses: ModuleType, tensor: Tensor) -> None:
    """Time steps are spread linearly over frames; their centres are 0.5 and 2.5 of 0..3."""
    steps = tensor(np.array([[[0, 8], [4, 0]]], np.float32))
    expected = [[[0, 8], [1, 6], [3, 2], [4, 0]]]
    np.testing.assert_array_equal(losses.frame_logits(steps, 4).numpy(), expected)


def check_equal_frames(losses: ModuleType, tensor: Tensor, gradient: Gradient) -> None:
    """Equal frames share the gradient of the largest."""
    targets = tensor(np.ones((1, 3, 1), np.float32))
    logits = np.array([[[2], [2], [1]]], np.float32)
    actual = gradient(lambda x: losses.frames(x, targets), logits)
    slopes = -1 / (1 + np.exp([2.0, 2.0, 1.0]))
    expected = slopes / 6 + np.array([0.5, 0.5, 0]) * slopes[0] / 2
    np.testing.assert_allclose(actual.ravel(), expected, rtol=1e-6)


def check_correct(losses: ModuleType, tensor: Tensor) -> None:
    """The first of equal logits is on top."""
    logits = tensor(np.array([[1, 1], [1, 1], [0, 3], [5, 3]], np.float32))
    assert float(losses.correct(logits, tensor(np.array([0, 1, 1, 1])))) == 0.5


def _binary_cross_entropy(logits: NDArray[np.float32], targets: NDArray[np.float32]) -> float:
    logits = logits.astype(np.float64)
    return float((np.log1p(np.exp(logits)) - targets * logits).mean())
