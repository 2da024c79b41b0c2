"""Tests of the losses against their formulas in NumPy; each framework inherits them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.training.recipes import RECIPES, Recipe
from common.training.validation import binary_cross_entropy

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3, size=(4, 1, 5)).astype(np.float32)
LABELS = np.array([0, 4, 2, 2])
FRAMES = RNG.normal(scale=3, size=(2, 6, 5)).astype(np.float32)
TARGETS = RNG.integers(0, 2, (2, 6, 5)).astype(np.float32)
CLASSES = replace(RECIPES["finetune"], task="classes")
OF_FRAMES = replace(CLASSES, task="frames")


class LossTests:
    """Tests of `train_step.loss_and_correct` and `predictor.frame_logits`.

    Attributes:
        measure: The first.
        frame_logits: The second.
        tensor: Makes a tensor of an array.
        gradient: The gradient of a function of a tensor at an array.
    """

    measure: Any
    frame_logits: Any
    tensor: Any
    gradient: Any

    def _loss(self, recipe: Recipe, steps: Any, targets: NDArray[Any], frames: int = 1) -> Any:
        return self.measure(recipe, steps, self.tensor(targets), frames)[0]

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_classes_is_the_mean_cross_entropy(self, smoothing: float) -> None:
        targets = np.eye(5)[LABELS] * (1 - smoothing) + smoothing / 5
        logits = LOGITS[:, 0].astype(np.float64)
        logarithms = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        expected = -(targets * logarithms).sum(axis=1).mean()
        recipe = replace(CLASSES, label_smoothing=smoothing)
        actual = self._loss(recipe, self.tensor(LOGITS), LABELS)
        assert float(actual) == pytest.approx(expected, rel=1e-6)

    def test_frames_is_half_localisation_half_classification(self) -> None:
        pairs: Any = ((FRAMES, TARGETS), (FRAMES.max(axis=1), TARGETS.max(axis=1)))
        expected = sum(binary_cross_entropy(*pair) for pair in pairs) / 2
        actual = self._loss(OF_FRAMES, self.tensor(FRAMES), TARGETS, 6)
        assert float(actual) == pytest.approx(expected, 1e-6)

    def test_large_logits_stay_finite(self) -> None:
        logits = self.tensor(np.array([[[1000, -1000]]], np.float32))
        assert float(self._loss(CLASSES, logits, np.array([1]))) == 2000
        assert float(self._loss(OF_FRAMES, logits, np.zeros((1, 1, 2), np.float32))) == 500

    def test_time_steps_are_spread_linearly_over_frames(self) -> None:
        """Their centres are 0.5 and 2.5 of 0..3."""
        steps = self.tensor(np.array([[[0, 8], [4, 0]]], np.float32))
        expected = [[[0, 8], [1, 6], [3, 2], [4, 0]]]
        np.testing.assert_array_equal(self.frame_logits(steps, 4).numpy(), expected)

    def test_equal_frames_share_the_gradient_of_the_largest(self) -> None:
        logits, ones = np.array([[[2], [2], [1]]], np.float32), np.ones((1, 3, 1), np.float32)
        actual = self.gradient(lambda x: self._loss(OF_FRAMES, x, ones, 3), logits)
        slopes = -1 / (1 + np.exp([2.0, 2.0, 1.0]))
        expected = slopes / 6 + np.array([0.5, 0.5, 0]) * slopes[0] / 2
        np.testing.assert_allclose(actual.ravel(), expected, rtol=1e-6)

    def test_correct_takes_the_first_of_equal_logits(self) -> None:
        logits = self.tensor(np.array([[[1, 1]], [[1, 1]], [[0, 3]], [[5, 3]]], np.float32))
        _, correct = self.measure(CLASSES, logits, self.tensor(np.array([0, 1, 1, 1])), 1)
        assert float(correct) == 0.5
