"""The losses against their formulas in NumPy; the twin of `i3d_tf/losses_test.py`."""

import numpy as np
import pytest
import torch

from i3d_torch import losses

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3, size=(4, 5)).astype(np.float32)
LABELS = np.array([0, 4, 2, 2])
FRAMES = RNG.normal(scale=3, size=(2, 6, 5)).astype(np.float32)
TARGETS = RNG.integers(0, 2, (2, 6, 5)).astype(np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classes_is_the_mean_cross_entropy(smoothing):
    targets = np.eye(5)[LABELS] * (1 - smoothing) + smoothing / 5
    logarithms = LOGITS - np.log(np.exp(LOGITS.astype(np.float64)).sum(axis=1, keepdims=True))
    expected = -(targets * logarithms).sum(axis=1).mean()
    actual = losses.classes(torch.tensor(LOGITS), torch.tensor(LABELS), smoothing)
    assert actual.item() == pytest.approx(expected, rel=1e-6)


def test_frames_is_half_localisation_half_classification():
    expected = (
        _binary_cross_entropy(FRAMES, TARGETS)
        + _binary_cross_entropy(FRAMES.max(axis=1), TARGETS.max(axis=1))
    ) / 2
    actual = losses.frames(torch.tensor(FRAMES), torch.tensor(TARGETS))
    assert actual.item() == pytest.approx(expected, rel=1e-6)


def test_large_logits_stay_finite():
    logits = torch.tensor([[1000.0, -1000.0]])
    assert losses.classes(logits, torch.tensor([1])).item() == 2000
    assert losses.frames(logits[None], torch.tensor([[[0.0, 0.0]]])).item() == 500


def test_time_steps_are_spread_linearly_over_frames():
    steps = torch.tensor([[[0.0, 8.0], [4.0, 0.0]]])
    # Their centres are frames 0.5 and 2.5 of 0..3.
    expected = [[[0, 8], [1, 6], [3, 2], [4, 0]]]
    np.testing.assert_array_equal(losses.frame_logits(steps, 4).numpy(), expected)


def test_equal_frames_share_the_gradient_of_the_largest():
    logits = torch.tensor([[[2.0], [2.0], [1.0]]], requires_grad=True)
    targets = torch.ones(1, 3, 1)
    losses.frames(logits, targets).backward()
    slopes = -1 / (1 + np.exp([2.0, 2.0, 1.0]))
    expected = slopes / 6 + np.array([0.5, 0.5, 0]) * slopes[0] / 2
    np.testing.assert_allclose(logits.grad.numpy().ravel(), expected, rtol=1e-6)


def test_correct_takes_the_first_of_equal_logits():
    logits = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 3.0], [5.0, 3.0]])
    assert losses.correct(logits, torch.tensor([0, 1, 1, 1])).item() == 0.5


def _binary_cross_entropy(logits, targets):
    logits = logits.astype(np.float64)
    return (np.log1p(np.exp(logits)) - targets * logits).mean()
