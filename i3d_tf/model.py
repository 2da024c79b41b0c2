"""A network built from its description, and its weights; the twin of `i3d_torch/model.py`."""

import functools
import operator
import os
from collections.abc import Callable, Sequence

import numpy as np
import sonnet as snt
import tensorflow as tf

from common import arch
from common.arch import Arrays
from common.training import optim
from convert import hub
from convert.arrays import from_canonical, to_canonical
from i3d_tf import layers

Step = Callable[[tf.Tensor, bool], tf.Tensor]  # from an endpoint to the next one; True in training


class VideoModel(snt.Module):
    """A video network in TensorFlow, with the nodes of `net` as submodules of the same names.

    Attributes:
        returned: Names of the endpoints that a call returns; all, unless it is changed.
        recompute: Activation checkpointing (Chen et al., 2016, https://arxiv.org/abs/1604.06174)
            between endpoints, in graphs: less memory, up to 40 % more time.
    """

    def __init__(self, net: arch.Network):
        super().__init__(name=net.name)
        self.net = net
        self.returned = net.endpoints
        self.recompute = False
        # The names of the weights do not tell all architectures apart; a saved checkpoint does.
        name = tf.constant(list(net.name.encode()), tf.uint8)
        self.architecture = tf.Variable(name, trainable=False, name="architecture")
        parts: dict[str, snt.Module] = {}
        layers.add_layers(parts, net.nodes, net.in_channels)
        self.layers = parts

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
            clips: [B, T, H, W, C] float32, in the value range of the weights' input contract.
            is_training: Normalises with the batch's statistics and updates the running ones,
                and drops features before the classifier.
            final_endpoint: Where to stop; None runs to the end.
            dropout: What to multiply the features by; see `layers.Head`.

        Returns:
            The logits [B, num_classes], averaged over time (or, stopped earlier, the output of
            `final_endpoint`), and the endpoints on the way by name, [B, T, H, W, C].

        Raises:
            ValueError: The clips do not fit the network or are not finite, which in a graph is an
                `InvalidArgumentError`, or there is no such endpoint.
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

    def named_variables(self) -> dict[str, tf.Variable]:
        """Parameters and running statistics by canonical name, in TensorFlow's layout."""
        return {p.name: self._variable(p) for p in arch.parameters(self.net)}

    def _variable(self, parameter: arch.Parameter) -> tf.Variable:
        outer, *inner = parameter.unit
        layer = self.layers[outer]
        if inner:
            layer = functools.reduce(operator.getitem, inner, layer.parts)
        part, name = parameter.field.split(".")
        if part == "norm":
            return getattr(layer.norm, name)
        return layer.conv.w if name == "weight" else layer.conv.b

    def _steps(self, dropout: tf.Tensor | None) -> list[tuple[str, Step]]:
        """Endpoints in order, each with what computes it from the one before."""
        trunk = [(node.name, self.layers[node.name]) for node in self.net.nodes]
        name, head = trunk.pop()
        if self.recompute:
            own = self.named_variables()
            trained = [p for p in arch.parameters(self.net) if p.trainable]
            trunk = [
                (node, _recomputed(layer, [own[p.name] for p in trained if p.unit[0] == node]))
                for node, layer in trunk
            ]
        return [
            *trunk,
            (self.net.head.features, head.features),
            (name, functools.partial(head, dropout=dropout)),
            (self.net.head.predictions, lambda logits, is_training: tf.nn.softmax(logits)),
        ]


def _recomputed(layer: snt.Module, own: Sequence[tf.Variable]) -> Step:
    """A layer whose activations are computed a second time in the backward pass.

    `tf.recompute_grad` looks for the variables itself, and finds none that each replica has alone.
    """

    def run(x: tf.Tensor, is_training: bool) -> tf.Tensor:
        if not is_training:
            return layer(x, is_training)

        @tf.custom_gradient
        def forward(x: tf.Tensor, *_: tf.Tensor):
            def backward(dy: tf.Tensor, variables: Sequence[tf.Variable] = ()):
                # Not before the gradient is there, or both would be computed at once.
                with tf.control_dependencies([dy]):
                    again = tf.identity(x)
                with tf.GradientTape() as tape, optim.recomputing():
                    tape.watch([again, *own])
                    y = layer(again, is_training)
                zero = tf.UnconnectedGradients.ZERO
                found = tape.gradient(y, [again, *own], dy, unconnected_gradients=zero)
                return found, [None] * len(variables)

            return layer(x, is_training), backward

        return forward(x, *(variable.read_value() for variable in own))

    return run


def create(architecture: str, num_classes: int = 400, in_channels: int = 3) -> VideoModel:
    """Makes a network of `common.arch.ARCHITECTURES` with initial values, ready for inference."""
    return VideoModel(arch.make(architecture, num_classes, in_channels))


def finite(net: arch.Network, clips: tf.Tensor) -> tf.Tensor:
    """The clips, unless they have NaN, of which ReLU and max pools in TensorFlow make numbers."""
    try:
        return tf.debugging.assert_all_finite(clips, f"{net.name}: {arch.NOT_FINITE}")
    except tf.errors.InvalidArgumentError:
        raise ValueError(f"{net.name}: {arch.NOT_FINITE}") from None


def load(checkpoint: str | os.PathLike[str], architecture: str | None = None) -> VideoModel:
    """Makes the model of a published checkpoint, by name, or of a path in any format.

    `architecture` is a name in `common.arch.ARCHITECTURES`, where the weights fit several.

    Raises:
        CheckpointError: The file is damaged or not of a known kind, or fits several networks.
        FileNotFoundError: There is no such file, or no source of it answers.
    """
    weights = hub.load(checkpoint, hub.ConversionOptions(architecture=architecture))
    model = VideoModel(weights.net)
    assign(model, weights.arrays)
    return model


def save(
    model: VideoModel, path: str | os.PathLike[str], to: str | None = None, overwrite: bool = False
) -> None:
    """Writes the weights of a model; the path's ending says in which format.

    `path` may be the prefix of a TensorFlow checkpoint. `to` is the dialect, see
    `convert.hub.convert`; None takes the usual one of the format.

    Raises:
        FileExistsError: The file exists and `overwrite` is false.
        ValueError: The ending or the dialect is not known.
    """
    hub.write(hub.Weights(model.net, arrays(model)), path, to, overwrite)


def assign(model: VideoModel, arrays: Arrays) -> None:
    """Sets every parameter and running statistic from canonical arrays, exactly the model's.

    Raises:
        CheckpointError: Names or shapes differ; nothing is changed then.
    """
    arch.check_arrays(model.net, arrays)
    for name, variable in model.named_variables().items():
        set_array(variable, arrays[name])


def arrays(model: VideoModel) -> dict[str, np.ndarray]:
    """Copies of every parameter and running statistic, by canonical name and layout."""
    return {name: to_array(variable) for name, variable in model.named_variables().items()}


def set_array(variable: tf.Variable, array: np.ndarray) -> None:
    """Sets a variable to an array in the canonical layout."""
    variable.assign(from_canonical(array, _layout(variable)))


def to_array(variable: tf.Variable | tf.Tensor) -> np.ndarray:
    """A copy of a variable in the canonical layout."""
    return np.ascontiguousarray(to_canonical(variable.numpy(), _layout(variable)))


def _layout(variable: tf.Variable | tf.Tensor) -> str:
    return "THWIO" if variable.shape.rank == 5 else "C"
