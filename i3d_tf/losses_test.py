"""The losses against their formulas in NumPy; the twin of `i3d_torch/losses_test.py`."""

import tensorflow as tf

from common.testing.losses import LossTests
from i3d_tf import losses


def _gradient(loss, logits):
    x = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(x)
    return tape.gradient(value, x).numpy()


class TestLosses(LossTests):
    losses, tensor, gradient = losses, staticmethod(tf.constant), staticmethod(_gradient)
