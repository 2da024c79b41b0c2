"""SavedModels: folders that TensorFlow runs without this project.

    signature  serving_default
    input      clips        [B, T, H, W, C] float32, all free but the channels
    outputs    logits       [B, classes], averaged over all positions
               predictions  [B, classes], their softmax
               features     [B, T, H, W, C], pooled

Only the number of channels is fixed. Clips that are too small are an error of the graph, and so are
time steps that cannot be divided into the groups of a non-local block. Variables are named as in
`i3d_tf.VideoModel` (`layers/Conv3d_1a_7x7/conv/w`). Their files have the same bytes every time,
`saved_model.pb` has not: TensorFlow numbers the functions that it traces.
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
from i3d_tf.model import VideoModel
from i3d_tf.weights import assign


def write(path: Path, net: arch.Network, arrays: Mapping[str, Array]) -> None:
    """Writes a network with its weights into a new folder.

    Raises:
        CheckpointError: The arrays are not the network's.
    """
    arch.check_arrays(net, arrays)
    model = VideoModel(net)
    assign(model, arrays)

    def serve(clips: Any) -> dict[str, Any]:
        fits = tf.debugging.assert_greater_equal(
            tf.shape(clips)[1:4],
            arch.smallest_size(net),
            f"{net.name}: the clips are too small [T, H, W]",
        )
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
    """Returns the parameters in a folder that `write` wrote, as strided views of the mapped file.

    Raises:
        CheckpointError: The folder is damaged or of another network.
        FileNotFoundError: There is none.
    """
    variables = FORMATS["tf2_checkpoint"].read(path)
    found = {}
    for native in DIALECTS["sonnet"].natives(net):
        if native.name not in variables:
            raise CheckpointError(
                f"{path}: has no variable {native.name}; expected those of {net.name}"
            )
        (layout,) = native.shapes
        found[str(native.canonical)] = to_canonical(variables[str(native.name)], layout)
    arch.check_arrays(net, found)
    return found


def run(path: Path, clips: Array) -> dict[str, Array]:
    """Returns the outputs for clips [B, T, H, W, C] by endpoint."""
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    return {name.capitalize(): x.numpy() for name, x in serve(clips=tf.constant(clips)).items()}
