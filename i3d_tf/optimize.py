"""Models sped up: the same function in fewer ops; twin of `i3d_torch/optimize.py`.

TensorFlow keeps channels last, its graphs fuse a ReLU with the convolution before it, and its ops
pad by themselves, so that only batch norm is left to be folded.
"""

from collections.abc import Collection, Sequence

import tensorflow as tf
from absl import logging

from common import arch, hardware, models
from common.training import running_statistics
from i3d_tf import weights
from i3d_tf.model import Step, VideoModel, finite

PRECISIONS = {name: getattr(tf, name) for name in models.PRECISIONS}


def optimize(
    model: VideoModel, precision: str = "float32", endpoints: Collection[str] | None = None
) -> VideoModel:
    """A copy of a model for inference: a graph, with batch norm folded into the convolutions.

    It takes and gives what the model does; endpoints before the head are in `precision`. In
    float32, results differ by what float32 rounds.

    Args:
        model: Stays as it is.
        precision: One of `PRECISIONS`; the head computes in float32.
        endpoints: Those that a call returns, so that the memory of others is free at once; None
            are the model's.

    Raises:
        ValueError: A batch norm cannot be folded, or there is no such precision.
    """
    models.check_precision(precision)
    slow = precision == "float16" and not hardware.has_float16()
    if slow and not tf.config.list_logical_devices("GPU"):
        logging.warning(models.NO_FLOAT16)
    net, arrays = arch.folded(model.net, weights.arrays(model))
    fast = _Inference(net, PRECISIONS[precision])
    fast.returned = model.returned if endpoints is None else tuple(endpoints)
    weights.assign(fast, arrays)
    return fast


def training_model(net: arch.Network, recompute: bool = False) -> VideoModel:
    """Makes a model with initial values for training.

    Args:
        net: The network.
        recompute: Keeps the outputs of endpoints alone for the backward pass, and computes what
            lies between once more: less memory, up to 40 % more time. Known as activation
            checkpointing: Chen et al., 2016, https://arxiv.org/abs/1604.06174.
    """
    return _Recomputing(net) if recompute else VideoModel(net)


class _Recomputing(VideoModel):
    """A model that keeps the outputs of endpoints alone."""

    def _steps(self, dropout: tf.Tensor | None) -> list[tuple[str, Step]]:
        own = weights.variables(self)
        trained = [p for p in arch.parameters(self.net) if p.trainable]
        *trunk, features, logits, predictions = super()._steps(dropout)
        return [
            *(
                (name, _recomputed(step, [own[p.name] for p in trained if p.unit[0] == name]))
                for name, step in trunk
            ),
            features,
            logits,
            predictions,
        ]


def _recomputed(step: Step, own: Sequence[tf.Variable]) -> Step:
    """What a step computes with its own variables, once more in the backward pass; for graphs.

    `tf.recompute_grad` looks for the variables itself, and finds none that each replica has alone.
    """

    def run(x: tf.Tensor, is_training: bool) -> tf.Tensor:
        if not is_training:
            return step(x, is_training)

        @tf.custom_gradient
        def forward(x: tf.Tensor, *_: tf.Tensor):
            def backward(dy: tf.Tensor, variables: Sequence[tf.Variable] = ()):
                # Not before the gradient is there, or both would be computed at once.
                with tf.control_dependencies([dy]):
                    again = tf.identity(x)
                with tf.GradientTape() as tape, running_statistics.kept():
                    tape.watch([again, *own])
                    y = step(again, is_training)
                zero = tf.UnconnectedGradients.ZERO
                found = tape.gradient(y, [again, *own], dy, unconnected_gradients=zero)
                return found, [None] * len(variables)

            return step(x, is_training), backward

        return forward(x, *(variable.read_value() for variable in own))

    return run


class _Inference(VideoModel):
    """A model for inference in one graph, which computes in another precision than its clips'."""

    def __init__(self, net: arch.Network, dtype: tf.DType):
        super().__init__(net)
        self.dtype = dtype

    def __call__(
        self,
        clips: tf.Tensor,
        is_training: bool = False,
        final_endpoint: str | None = None,
        dropout: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        clips = tf.convert_to_tensor(clips)
        arch.check_dtype(self.net, clips.dtype.name)
        return self._run(finite(self.net, clips), is_training, final_endpoint, dropout)

    @tf.function(autograph=False)
    def _run(
        self, clips: tf.Tensor, is_training: bool, final_endpoint: str | None, dropout: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        x = tf.cast(clips, self.dtype)
        return super().__call__(x, is_training, final_endpoint, dropout)
