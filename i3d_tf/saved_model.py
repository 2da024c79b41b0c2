"""SavedModels: folders that TensorFlow runs without this project.

    signature  serving_default
    input      clips        [B, T, H, W, C] float32, all free but the channels
    outputs    logits       [B, classes], averaged over all positions
               predictions  [B, classes], their softmax
               features     [B, T, H, W, C], pooled

Clips that are too small are an error of the graph. The files of variables have the same bytes every
time, `saved_model.pb` has not: TensorFlow numbers the functions that it traces.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from common import arch
from common.io import CheckpointError
from convert.arrays import Array, to_canonical
from convert.dialects import DIALECTS
from convert.formats import FORMATS
from i3d_tf.model import VideoModel, assign


def write(path: Path, net: arch.Network, arrays: Mapping[str, Array]) -> None:
    """Writes a network with its weights into a new folder; `CheckpointError` if they do not fit."""
    model = VideoModel(net)
    assign(model, arrays)

    def serve(clips: Any) -> dict[str, Any]:
        least, text = arch.smallest_size(net), f"{net.name}: the clips are too small [T, H, W]"
        fits = tf.debugging.assert_greater_equal(tf.shape(clips)[1:4], least, text)
        with tf.control_dependencies([fits]):
            logits, endpoints = model(tf.identity(clips))
        return {
            "logits": logits,
            "predictions": endpoints[net.head.predictions],
            "features": endpoints[net.head.features],
        }

    clips = tf.TensorSpec([None, None, None, None, net.in_channels], tf.float32, name="clips")
    signature = tf.function(serve, input_signature=[clips], autograph=False)
    tf.saved_model.save(model, str(path), signatures={"serving_default": signature})


def read_back(path: Path, net: arch.Network) -> dict[str, Array]:
    """The parameters in a folder of `write`, as views of the file; `CheckpointError` if damaged."""
    variables = FORMATS["tf2_checkpoint"].read(path)
    found = {}
    for native in DIALECTS["sonnet"].natives(net):
        if native.name not in variables:
            raise CheckpointError(f"{path}: has no variable {native.name} of {net.name}")
        (layout,) = native.shapes
        found[str(native.canonical)] = to_canonical(variables[str(native.name)], layout)
    arch.check_arrays(net, found)
    return found


def run(path: Path, clips: Array) -> dict[str, Array]:
    """Returns the outputs for clips [B, T, H, W, C] by endpoint."""
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    return {name.capitalize(): x.numpy() for name, x in serve(clips=tf.constant(clips)).items()}
