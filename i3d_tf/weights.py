"""Weights in and out of a model; the twin of `i3d_torch/weights.py`."""

import functools
import operator
import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from common import arch
from convert import hub
from convert.arrays import from_canonical, to_canonical
from i3d_tf.model import VideoModel


def load(checkpoint: str | os.PathLike[str], architecture: str | None = None) -> VideoModel:
    """Makes the model that a checkpoint belongs to, with its weights, ready for inference.

    Args:
        checkpoint: Name of a published checkpoint, or path of one in any format.
        architecture: A name in `common.arch.ARCHITECTURES`, where the weights fit several.

    Raises:
        CheckpointError: The file is damaged or not of a known kind, or fits several networks.
        FileNotFoundError: There is no such file, or no source of it answers.
    """
    weights = hub.load(checkpoint, hub.ConversionOptions(architecture=architecture))
    model = VideoModel(weights.net)
    assign(model, weights.arrays)
    return model


def save(
    model: VideoModel,
    path: str | os.PathLike[str],
    to: str | None = None,
    overwrite: bool = False,
) -> None:
    """Writes the weights of a model; the path's ending says in which format.

    Args:
        model: The model.
        path: The file to write, or the prefix of a TensorFlow checkpoint.
        to: The dialect, see `convert.hub.convert`; None takes the usual one of the format.
        overwrite: Replaces an existing file.

    Raises:
        FileExistsError: The file exists and `overwrite` is false.
        ValueError: The ending or the dialect is not known.
    """
    hub.write(hub.Weights(model.net, arrays(model)), path, to, overwrite)


def assign(model: VideoModel, arrays: Mapping[str, np.ndarray]) -> None:
    """Sets every parameter and running statistic from canonical arrays, exactly the model's.

    Raises:
        CheckpointError: Names or shapes differ; nothing is changed then.
    """
    arch.check_arrays(model.net, arrays)
    own = variables(model)
    for parameter in arch.parameters(model.net):
        native = from_canonical(arrays[parameter.name], layout(parameter))
        own[parameter.name].assign(native)


def arrays(model: VideoModel) -> dict[str, np.ndarray]:
    """Copies of every parameter and running statistic, by canonical name and layout."""
    own = variables(model)
    return {
        parameter.name: np.ascontiguousarray(
            to_canonical(own[parameter.name].numpy(), layout(parameter))
        )
        for parameter in arch.parameters(model.net)
    }


def variables(model: VideoModel) -> dict[str, tf.Variable]:
    """The model's own variables by canonical name, in TensorFlow's layout (see `layout`)."""
    return {parameter.name: _variable(model, parameter) for parameter in arch.parameters(model.net)}


def layout(parameter: arch.Parameter) -> str:
    """How TensorFlow lays out a parameter; a name of `convert.arrays`."""
    return "THWIO" if parameter.field == "conv.weight" else "C"


def _variable(model: VideoModel, parameter: arch.Parameter) -> tf.Variable:
    outer, *inner = parameter.unit
    layer = model.layers[outer]
    if inner:
        layer = functools.reduce(operator.getitem, inner, layer.parts)
    part, name = parameter.field.split(".")
    if part == "norm":
        return getattr(layer.norm, name)
    return layer.conv.w if name == "weight" else layer.conv.b
