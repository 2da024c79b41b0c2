"""Batch norm in training and inference; the twin of `i3d_torch/batch_norm.py`."""

import sonnet as snt
import tensorflow as tf

from common import arch
from common.training import optim


class BatchNorm(snt.Module):
    """Batch norm with the release's rule: running = (1 - momentum) * running + momentum * batch.

    Not Sonnet's own: that one forgets loaded statistics at the first training step, because its
    averages keep a second, hidden copy.

    In training `mode` "train" normalises with the statistics of the batch and averages them;
    "freeze" with the running ones, which stay, while scale and offset still train; "sync" is
    "train" over the batches of all replicas.
    """

    def __init__(self, norm: arch.Norm, channels: int):
        super().__init__(name="norm")
        self.norm = norm
        self.mode = "train"
        initial = tf.fill([channels], norm.initial_scale)
        self.weight = tf.Variable(initial, name="weight") if norm.scale else None
        self.bias = tf.Variable(tf.zeros([channels]), name="bias")
        self.running_mean = tf.Variable(tf.zeros([channels]), trainable=False, name="running_mean")
        self.running_var = tf.Variable(tf.ones([channels]), trainable=False, name="running_var")

    def __call__(self, x: tf.Tensor, is_training: bool = False) -> tf.Tensor:
        mean, var = self.running_mean, self.running_var
        values = tf.cast(x, tf.float32)
        if is_training and self.mode != "freeze":
            mean = self._shared(_mean(values))
            var = self._shared(_mean(tf.math.squared_difference(values, mean)))
            self._average(self.running_mean, mean)
            self._average(self.running_var, var)
        eps = self.norm.eps
        y = tf.nn.batch_normalization(values, mean, var, self.bias, self.weight, eps)
        return tf.cast(y, x.dtype)

    def _shared(self, statistic: tf.Tensor) -> tf.Tensor:
        """In mode "sync" the mean over all replicas, whose batches are of one size."""
        if self.mode != "sync":
            return statistic
        return tf.distribute.get_replica_context().all_reduce("mean", statistic)

    def _average(self, running: tf.Variable, batch: tf.Tensor) -> None:
        if not optim.is_recomputing():
            running.assign_add(self.norm.momentum * (tf.stop_gradient(batch) - running))


def set_mode(module: snt.Module, mode: str) -> None:
    """Sets what all batch norms in a model or layer do in training; see `BatchNorm.mode`."""
    for part in module.submodules:
        if isinstance(part, BatchNorm):
            part.mode = mode


def _mean(x: tf.Tensor) -> tf.Tensor:
    """Mean over all axes but the channels, one axis at a time.

    One float32 sum over a million values would lose a digit that PyTorch keeps.
    """
    for _ in range(4):
        x = tf.reduce_mean(x, axis=-2)
    return x
