"""The losses against their formulas in NumPy; the twin of `i3d_torch/losses_test.py`."""

import numpy as np
import pytest
import tensorflow as tf

from i3d_tf import losses

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
    actual = losses.classes(tf.constant(LOGITS), tf.constant(LABELS), smoothing)
    assert actual.numpy() == pytest.approx(expected, rel=1e-6)


def test_frames_is_half_localisation_half_classification():
    expected = (
        _binary_cross_entropy(FRAMES, TARGETS)
        + _binary_cross_entropy(FRAMES.max(axis=1), TARGETS.max(axis=1))
    ) / 2
    actual = losses.frames(tf.constant(FRAMES), tf.constant(TARGETS))
    assert actual.numpy() == pytest.approx(expected, rel=1e-6)


def test_large_logits_stay_finite():
    logits = tf.constant([[1000.0, -1000.0]])
    assert losses.classes(logits, tf.constant([1])).numpy() == 2000
    assert losses.frames(logits[None], tf.constant([[[0.0, 0.0]]])).numpy() == 500


def test_time_steps_are_spread_linearly_over_frames():
    steps = tf.constant([[[0.0, 8.0], [4.0, 0.0]]])
    # Their centres are frames 0.5 and 2.5 of 0..3.
    expected = [[[0, 8], [1, 6], [3, 2], [4, 0]]]
    np.testing.assert_array_equal(losses.frame_logits(steps, 4).numpy(), expected)


def test_equal_frames_share_the_gradient_of_the_largest():
    logits = tf.Variable([[[2.0], [2.0], [1.0]]])
    with tf.GradientTape() as tape:
        loss = losses.frames(logits, tf.ones([1, 3, 1]))
    gradient = tape.gradient(loss, logits)
    slopes = -1 / (1 + np.exp([2.0, 2.0, 1.0]))
    expected = slopes / 6 + np.array([0.5, 0.5, 0]) * slopes[0] / 2
    np.testing.assert_allclose(gradient.numpy().ravel(), expected, rtol=1e-6)


def test_correct_takes_the_first_of_equal_logits():
    logits = tf.constant([[1.0, 1.0], [1.0, 1.0], [0.0, 3.0], [5.0, 3.0]])
    assert losses.correct(logits, np.array([0, 1, 1, 1])).numpy() == 0.5


def _binary_cross_entropy(logits, targets):
    logits = logits.astype(np.float64)
    return (np.log1p(np.exp(logits)) - targets * logits).mean()
