"""A network built from its description; the twin of `i3d_torch/model.py`."""

import functools
from collections.abc import Callable

import sonnet as snt
import tensorflow as tf

from common import arch
from i3d_tf import layers

Step = Callable[[tf.Tensor, bool], tf.Tensor]
"""From an endpoint, and whether this is training, to the next one."""


class VideoModel(snt.Module):
    """A video network in TensorFlow, with the nodes of `net` as submodules of the same names.

    Attributes:
        net: The network.
        returned: Names of the endpoints that a call returns; all, unless it is changed.
    """

    def __init__(self, net: arch.Network):
        super().__init__(name=net.name)
        self.net = net
        self.returned = net.endpoints
        # The names of the weights do not tell all architectures apart; a saved checkpoint does.
        name = tf.constant(list(net.name.encode()), tf.uint8)
        self.architecture = tf.Variable(name, trainable=False, name="architecture")
        self.layers = {}
        channels = net.in_channels
        for node in net.nodes[:-1]:
            layer = layers.build(node, channels)
            self.layers[node.name] = layer
            channels = layer.out_channels
        self.layers[net.head.name] = layers.build(net.head, channels)

    # Nothing in here depends on values, and AutoGraph cannot read all of `common.arch`.
    @tf.autograph.experimental.do_not_convert
    def __call__(
        self,
        clips: tf.Tensor,
        is_training: bool = False,
        final_endpoint: str | None = None,
        dropout: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Runs a batch of clips.

        Args:
            clips: [B, T, H, W, C] float32, a tensor or an array, in the value range of the
                weights' input contract.
            is_training: Normalises with the batch's statistics and updates the running ones,
                and drops features before the classifier.
            final_endpoint: Where to stop; None runs to the end.
            dropout: What to multiply the features with, of their shape; see `layers.Head`.

        Returns:
            The logits [B, num_classes], averaged over time (or, stopped earlier, the output of
            `final_endpoint`), and the endpoints on the way by name: [B, T, H, W, C], and
            [B, num_classes] for logits and predictions.

        Raises:
            ValueError: The clips do not fit the network or are not finite, or there is no such
                endpoint.
            InvalidArgumentError: The clips are not finite, in a graph.
        """
        net = self.net
        clips = tf.convert_to_tensor(clips)
        arch.check_clips(net, clips.shape.as_list(), "BTHWC")
        arch.check_dtype(net, clips.dtype.name)
        arch.check_endpoint(net, final_endpoint)
        endpoints: dict[str, tf.Tensor] = {}
        x = output = finite(net, clips)
        for name, step in self._steps(dropout):
            x = step(x, is_training)
            if name in self.returned:
                endpoints[name] = x
            if name != net.head.predictions:
                output = x
            if name == final_endpoint:
                break
        return output, endpoints

    def _steps(self, dropout: tf.Tensor | None) -> list[tuple[str, Step]]:
        """Endpoints in order, each with what computes it from the one before."""
        head = self.layers[self.net.head.name]
        return [
            *((node.name, self.layers[node.name]) for node in self.net.nodes[:-1]),
            (self.net.head.features, head.features),
            (self.net.head.name, functools.partial(head, dropout=dropout)),
            (self.net.head.predictions, lambda logits, is_training: tf.nn.softmax(logits)),
        ]


def create(architecture: str, num_classes: int = 400, in_channels: int = 3) -> VideoModel:
    """Makes any network of `common.arch.ARCHITECTURES` with initial values, ready for inference.

    Raises:
        ValueError: There is no such architecture.
    """
    return VideoModel(arch.make(architecture, num_classes, in_channels))


def inception_i3d(num_classes: int = 400, in_channels: int = 3) -> VideoModel:
    """Makes InceptionI3D with initial values, ready for inference."""
    return VideoModel(arch.inception_i3d(num_classes, in_channels))


def finite(net: arch.Network, clips: tf.Tensor) -> tf.Tensor:
    """The clips, unless they have NaN, of which ReLU and max pools in TensorFlow make numbers."""
    try:
        return tf.debugging.assert_all_finite(clips, f"{net.name}: {arch.NOT_FINITE}")
    except tf.errors.InvalidArgumentError:
        raise ValueError(f"{net.name}: {arch.NOT_FINITE}") from None
