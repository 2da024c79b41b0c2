"""A model sped up for inference: the same function in fewer ops; twin of `i3d_torch/optimize.py`.

TensorFlow keeps channels last, its graphs fuse a ReLU with the convolution before it, and its ops
pad by themselves, so that only batch norm is left to be folded.
"""

import tensorflow as tf

from common import arch, recipes
from i3d_tf import weights
from i3d_tf.model import VideoModel

PRECISIONS = {name: getattr(tf, name) for name in recipes.PRECISIONS}


def optimize(model: VideoModel, precision: str = "float32") -> VideoModel:
    """A copy of a model for inference: a graph, with batch norm folded into the convolutions.

    It takes and gives what the model does; endpoints before the head are in `precision`. In
    float32, results differ by what float32 rounds.

    Args:
        model: Stays as it is.
        precision: One of `PRECISIONS`; the head computes in float32.

    Raises:
        ValueError: A batch norm cannot be folded, or there is no such precision.
    """
    recipes.check_precision(precision)
    net, arrays = arch.folded(model.net, weights.arrays(model))
    fast = _Inference(net, PRECISIONS[precision])
    weights.assign(fast, arrays)
    return fast


class _Inference(VideoModel):
    """A model that computes in another precision than it is fed; a graph for each size of clips."""

    def __init__(self, net: arch.Network, dtype: tf.DType):
        super().__init__(net)
        self.dtype = dtype

    @tf.function(autograph=False)
    def __call__(
        self,
        clips: tf.Tensor,
        is_training: bool = False,
        final_endpoint: str | None = None,
        dropout: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        x = tf.cast(clips, self.dtype)
        return super().__call__(x, is_training, final_endpoint, dropout)
