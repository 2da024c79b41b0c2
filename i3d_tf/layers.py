"""One layer class a node kind; the twin of `i3d_torch/layers.py`.

Tensors are [B, T, H, W, C]. Layers make their variables when they are built, not at the first
call as Sonnet's do, so that weights can be loaded before anything runs.
"""

import math
from collections.abc import Iterable

import sonnet as snt
import tensorflow as tf

from common import arch
from i3d_tf.batch_norm import BatchNorm


class Affine(snt.Module):
    """A scale and an offset for each channel."""

    def __init__(self, channels: int):
        super().__init__(name="norm")
        self.weight = tf.Variable(tf.ones([channels]), name="weight")
        self.bias = tf.Variable(tf.zeros([channels]), name="bias")

    def __call__(self, x: tf.Tensor, is_training: bool = False) -> tf.Tensor:
        del is_training
        return tf.cast(tf.cast(x, tf.float32) * self.weight + self.bias, x.dtype)


class Conv(snt.Module):
    """Convolution, then batch norm and ReLU where the node has them."""

    def __init__(self, node: arch.Conv, in_channels: int):
        super().__init__(name=node.name)
        self.node = node
        self.out_channels = node.out_channels
        # Sonnet's initial values are the release's: truncated normal, 1 / sqrt(fan-in).
        self.conv = snt.Conv3D(
            node.out_channels,
            node.kernel,
            node.stride,
            padding=_op_padding(node),
            with_bias=node.bias,
            name="conv",
        )
        self.conv(tf.zeros([1, *node.kernel, in_channels]))
        match node.norm:
            case arch.Norm() as norm:
                self.norm = BatchNorm(norm, node.out_channels)
            case _:
                self.norm = Affine(node.out_channels) if node.norm else None

    def __call__(self, x: tf.Tensor, is_training: bool = False) -> tf.Tensor:
        node = self.node
        x, padding = _pad_for_op(x, node)
        # As Sonnet's, but in the precision of x.
        kernel = tf.cast(self.conv.w, x.dtype)
        x = tf.nn.convolution(x, kernel, node.stride, padding, data_format="NDHWC")
        if node.bias:
            x = tf.nn.bias_add(x, tf.cast(self.conv.b, x.dtype))
        if self.norm:
            x = self.norm(x, is_training)
        return tf.nn.relu(x) if node.relu else x


class Pool(snt.Module):
    """Max or average pool; padded cells never count."""

    def __init__(self, node: arch.Pool, in_channels: int):
        super().__init__(name=node.name)
        self.node = node
        self.out_channels = in_channels

    def __call__(self, x: tf.Tensor, is_training: bool = False) -> tf.Tensor:
        del is_training
        if self.node.kind == "max":
            return _max_pool(x, self.node)
        kernel, stride, padding = self.node.kernel, self.node.stride, _op_padding(self.node)
        padded = tf.nn.avg_pool3d(_pad(x, self.node), kernel, stride, padding)
        if self.node.padding in ("same", (0, 0, 0)):
            return padded  # Here the op itself leaves padded cells out.
        filled = _pad(tf.ones_like(x[:1, ..., :1]), self.node)
        return padded / tf.nn.avg_pool3d(filled, kernel, stride, padding)


class Branches(snt.Module):
    """Runs all branches on the same input and concatenates their channels."""

    def __init__(self, node: arch.Branches, in_channels: int):
        super().__init__(name=node.name)
        self.node = node
        self.out_channels = 0
        self.parts = {}
        for name, branch in node.branches:
            parts: dict[str, snt.Module] = {}
            self.out_channels += add_layers(parts, branch, in_channels)
            self.parts[name] = parts

    def __call__(self, x: tf.Tensor, is_training: bool = False) -> tf.Tensor:
        outputs = []
        for name, _ in self.node.branches:
            outputs.append(x)
            for part in self.parts[name].values():
                outputs[-1] = part(outputs[-1], is_training)
        return tf.concat(outputs, axis=-1)


class Residual(snt.Module):
    """Adds what the body makes of the input to the input, or to its projection."""

    def __init__(self, node: arch.Residual, in_channels: int):
        super().__init__(name=node.name)
        self.node = node
        parts: dict[str, snt.Module] = {}
        self.out_channels = add_layers(parts, node.body, in_channels)
        if node.shortcut:
            add_layers(parts, [node.shortcut], in_channels)
        self.parts = parts

    def __call__(self, x: tf.Tensor, is_training: bool = False) -> tf.Tensor:
        y = x
        for conv in self.node.body:
            y = self.parts[conv.name](y, is_training)
        shortcut = self.node.shortcut
        return tf.nn.relu(y + (self.parts[shortcut.name](x, is_training) if shortcut else x))


class NonLocal(snt.Module):
    """Adds to every position what it attends to."""

    def __init__(self, node: arch.NonLocal, in_channels: int):
        super().__init__(name=node.name)
        self.node = node
        self.out_channels = in_channels
        self.pool = Pool(node.pool, in_channels)
        self.parts = {conv.name: Conv(conv, in_channels) for conv in (node.theta, node.phi, node.g)}
        self.parts[node.out.name] = Conv(node.out, node.theta.out_channels)

    def __call__(self, x: tf.Tensor, is_training: bool = False) -> tf.Tensor:
        b, t, h, w, c = _sizes(x)
        group = self.node.group or t
        # Groups of time steps stand side by side in the batch.
        inner = self._attend(tf.reshape(x, [b * (t // group), group, h, w, c]))
        inner = tf.reshape(inner, [b, t, h, w, self.node.theta.out_channels])
        return x + self.parts[self.node.out.name](inner, is_training)

    def _attend(self, x: tf.Tensor) -> tf.Tensor:
        pooled = self.pool(x)
        theta = _flatten(self.parts[self.node.theta.name](x))
        phi = _flatten(self.parts[self.node.phi.name](pooled))
        g = _flatten(self.parts[self.node.g.name](pooled))
        scores = tf.matmul(theta, phi, transpose_b=True) / math.sqrt(theta.shape[-1])
        attention = tf.nn.softmax(tf.cast(scores, tf.float32))
        return tf.matmul(tf.cast(attention, g.dtype), g)


class Head(snt.Module):
    """Pooled features, and from them logits averaged over all positions; in float32.

    The classifier is small, and torch has no average pool in bfloat16 on a CPU.
    """

    def __init__(self, node: arch.Head, in_channels: int):
        super().__init__(name=node.name)
        self.node = node
        self.out_channels = node.conv.out_channels
        self.pool = Pool(node.pool, in_channels) if node.pool else None
        self.parts = {node.conv.name: Conv(node.conv, in_channels)}

    def features(self, x: tf.Tensor, is_training: bool = False) -> tf.Tensor:
        """Pools [B, T, H, W, C]: one vector for each position of the window."""
        x = tf.cast(x, tf.float32)
        if self.pool:
            return self.pool(x, is_training)
        return tf.reduce_mean(x, axis=[1, 2, 3], keepdims=True)

    def time_steps(
        self, features: tf.Tensor, is_training: bool = False, dropout: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Turns features [B, T, H, W, C] into the logits of time steps, [B, T, num_classes].

        `dropout` multiplies the features, whose shape it has: 0, or 1 / (1 - rate). None leaves it
        to TensorFlow, which drops in training at the node's rate.
        """
        if dropout is None:
            x = tf.nn.dropout(features, self.node.dropout) if is_training else features
        else:
            x = features * dropout
        x = self.parts[self.node.conv.name](x, is_training)
        return tf.reduce_mean(x, axis=[2, 3])

    def __call__(
        self, features: tf.Tensor, is_training: bool = False, dropout: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Turns features [B, T, H, W, C] into logits [B, num_classes]; see `time_steps`."""
        return tf.reduce_mean(self.time_steps(features, is_training, dropout), axis=1)


LAYERS = {
    arch.Conv: Conv,
    arch.Pool: Pool,
    arch.Branches: Branches,
    arch.Residual: Residual,
    arch.NonLocal: NonLocal,
    arch.Head: Head,
}


def add_layers(layers: dict[str, snt.Module], nodes: Iterable[arch.Node], in_channels: int) -> int:
    """Adds the layers of nodes that follow each other; returns the channels of the last one."""
    for node in nodes:
        layers[node.name] = layer = LAYERS[type(node)](node, in_channels)
        in_channels = layer.out_channels
    return in_channels


def _max_pool(x: tf.Tensor, node: arch.Pool) -> tf.Tensor:
    """Max pool over H and W, then over T, for the sake of the gradient.

    The gradient of TensorFlow's 3-D op goes, whole, to every cell within 1e-5 of the largest, and
    repeated values are common behind another pool. Those of the 2-D op, and of torch, go to the
    first. The values are the same.
    """
    x = _pad(x, node, value=-math.inf)
    padding = _op_padding(node)
    kernel, stride = node.kernel, node.stride
    b, t, h, w, c = _sizes(x)
    x = tf.reshape(x, [b * t, h, w, c])
    x = tf.nn.max_pool2d(x, kernel[1:], stride[1:], padding)
    _, h, w, _ = _sizes(x)
    x = tf.reshape(x, [b, t, h * w, c])
    x = tf.nn.max_pool2d(x, [kernel[0], 1], [stride[0], 1], padding)
    return tf.reshape(x, [b, _sizes(x)[1], h, w, c])


def _sizes(x: tf.Tensor) -> list[int | tf.Tensor]:
    """Sizes of all axes: numbers where they are known, tensors where they are not."""
    sizes = zip(x.shape, tf.unstack(tf.shape(x)), strict=True)
    return [dynamic if known is None else known for known, dynamic in sizes]


def _flatten(x: tf.Tensor) -> tf.Tensor:
    """[B, T, H, W, C] to [B, T * H * W, C]."""
    b, t, h, w, c = _sizes(x)
    return tf.reshape(x, [b, t * h * w, c])


def _op_padding(node: arch.Conv | arch.Pool) -> str:
    return "SAME" if node.padding == "same" else "VALID"


def _pad(x: tf.Tensor, node: arch.Conv | arch.Pool, value: float = 0.0) -> tf.Tensor:
    """Pads where the node says how much; "same" is the op's own."""
    if node.padding in ("same", (0, 0, 0)):
        return x
    around = [(cells, cells) for cells in node.padding]
    return tf.pad(x, [(0, 0), *around, (0, 0)], constant_values=value)


def _pad_for_op(x: tf.Tensor, node: arch.Conv) -> tuple[tf.Tensor, str]:
    """Pads what the op does not, and returns the padding left to it.

    Where an input is hardly longer than its padding all of it is added here: there, oneDNN's
    gradient of a bfloat16 kernel is wrong.
    """
    if x.dtype != tf.float32 and None not in x.shape[1:4]:
        pads = arch.pads(x.shape[1:4], node.kernel, node.stride, node.padding)
        if x.shape[1] <= sum(pads[0]):
            return tf.pad(x, [(0, 0), *pads, (0, 0)]), "VALID"
    return _pad(x, node), _op_padding(node)
