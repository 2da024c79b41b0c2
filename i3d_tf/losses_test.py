"""The losses against their formulas in NumPy; the twin of `i3d_torch/losses_test.py`."""

import pytest
import tensorflow as tf

from common.testing import losses as checks
from i3d_tf import losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classes_is_the_mean_cross_entropy(smoothing):
    checks.check_classes(losses, tf.constant, smoothing)


def test_frames_is_half_localisation_half_classification():
    checks.check_frames(losses, tf.constant)


def test_large_logits_stay_finite():
    checks.check_large_logits(losses, tf.constant)


def test_time_steps_are_spread_linearly_over_frames():
    checks.check_frame_logits(losses, tf.constant)


def test_equal_frames_share_the_gradient_of_the_largest():
    checks.check_equal_frames(losses, tf.constant, _gradient)


def test_correct_takes_the_first_of_equal_logits():
    checks.check_correct(losses, tf.constant)


def _gradient(loss, logits):
    x = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(x)
    return tape.gradient(value, x).numpy()
