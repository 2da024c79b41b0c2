"""Tests of the losses against their formulas in NumPy; each framework inherits them."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3, size=(4, 5)).astype(np.float32)
LABELS = np.array([0, 4, 2, 2])
FRAMES = RNG.normal(scale=3, size=(2, 6, 5)).astype(np.float32)
TARGETS = RNG.integers(0, 2, (2, 6, 5)).astype(np.float32)


class LossTests:
    """Tests of the losses.

    Attributes:
        losses: The framework's module.
        tensor: Makes a tensor of an array.
        gradient: The gradient of a function of a tensor at an array.
    """

    losses: Any
    tensor: Any
    gradient: Any

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_classes_is_the_mean_cross_entropy(self, smoothing: float) -> None:
        targets = np.eye(5)[LABELS] * (1 - smoothing) + smoothing / 5
        logarithms = LOGITS - np.log(np.exp(LOGITS.astype(np.float64)).sum(axis=1, keepdims=True))
        expected = -(targets * logarithms).sum(axis=1).mean()
        actual = self.losses.classes(self.tensor(LOGITS), self.tensor(LABELS), smoothing)
        assert float(actual) == pytest.approx(expected, rel=1e-6)

    def test_frames_is_half_localisation_half_classification(self) -> None:
        expected = (
            _binary_cross_entropy(FRAMES, TARGETS)
            + _binary_cross_entropy(FRAMES.max(axis=1), TARGETS.max(axis=1))
        ) / 2
        actual = self.losses.frames(self.tensor(FRAMES), self.tensor(TARGETS))
        assert float(actual) == pytest.approx(expected, 1e-6)

    def test_large_logits_stay_finite(self) -> None:
        logits = np.array([[1000, -1000]], np.float32)
        none = self.tensor(np.zeros((1, 1, 2), np.float32))
        assert float(self.losses.classes(self.tensor(logits), self.tensor(np.array([1])))) == 2000
        assert float(self.losses.frames(self.tensor(logits[None]), none)) == 500

    def test_time_steps_are_spread_linearly_over_frames(self) -> None:
        """Their centres are 0.5 and 2.5 of 0..3."""
        steps = self.tensor(np.array([[[0, 8], [4, 0]]], np.float32))
        expected = [[[0, 8], [1, 6], [3, 2], [4, 0]]]
        np.testing.assert_array_equal(self.losses.frame_logits(steps, 4).numpy(), expected)

    def test_equal_frames_share_the_gradient_of_the_largest(self) -> None:
        targets = self.tensor(np.ones((1, 3, 1), np.float32))
        logits = np.array([[[2], [2], [1]]], np.float32)
        actual = self.gradient(lambda x: self.losses.frames(x, targets), logits)
        slopes = -1 / (1 + np.exp([2.0, 2.0, 1.0]))
        expected = slopes / 6 + np.array([0.5, 0.5, 0]) * slopes[0] / 2
        np.testing.assert_allclose(actual.ravel(), expected, rtol=1e-6)

    def test_correct_takes_the_first_of_equal_logits(self) -> None:
        logits = self.tensor(np.array([[1, 1], [1, 1], [0, 3], [5, 3]], np.float32))
        assert float(self.losses.correct(logits, self.tensor(np.array([0, 1, 1, 1])))) == 0.5


def _binary_cross_entropy(logits: NDArray[np.float32], targets: NDArray[np.float32]) -> float:
    logits = logits.astype(np.float64)
    return float((np.log1p(np.exp(logits)) - targets * logits).mean())
