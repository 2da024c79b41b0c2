"""SavedModels of the TensorFlow backend: folders that TensorFlow runs without this project.

    signature  serving_default
    input      clips        [B, T, H, W, C] float32, all free but the channels
    outputs    logits       [B, classes], averaged over all positions
               predictions  [B, classes], their softmax
               features     [B, T, H, W, C], pooled

Nothing but the number of channels is fixed. Clips that are too small are an error of the graph, and
so are time steps that cannot be divided into the groups of a non-local block.

Writing needs TensorFlow and Sonnet, reading back needs neither. Variables are called as in
`i3d_tf.VideoModel` (`layers/Conv3d_1a_7x7/conv/w`). Their files have the same bytes every time,
`saved_model.pb` has not: TensorFlow numbers the functions that it traces.
"""

import importlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import arch
from convert import layouts
from convert.dialects.sonnet import SONNET
from convert.formats import tf2_checkpoint
from convert.formats._mapped_file import one_error
from convert.formats._raw_values import Array

NAME = "saved_model"
SUFFIXES = (".savedmodel",)

_GRAPH = "saved_model.pb"


def files(path: Path) -> list[Path]:
    """The folder, as one."""
    return [Path(path)]


def replaceable(path: Path) -> bool:
    """Whether a SavedModel is there, and not somebody's other folder."""
    return (Path(path) / _GRAPH).is_file()


def write(path: Path, net: arch.Network, arrays: Mapping[str, Array]) -> None:
    """Writes a network with its weights; an older SavedModel at `path` is replaced.

    Raises:
        CheckpointError: The arrays are not the network's.
        FileExistsError: `path` is there and no SavedModel.
        ImportError: TensorFlow or Sonnet is not installed; the text names the extra.
    """
    path = Path(path)
    if path.exists() and not (path / _GRAPH).is_file():
        raise FileExistsError(f"{path} is no SavedModel and stays as it is; name another folder.")
    arch.check_arrays(net, arrays)
    i3d_tf = importlib.import_module("i3d_tf")  # says what to install
    model = i3d_tf.VideoModel(net)
    i3d_tf.assign(model, arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        _save(model, scratch / "new")
        if path.exists():
            os.replace(path, scratch / "old")
        os.replace(scratch / "new", path)
    finally:
        shutil.rmtree(scratch)


def read_back(path: Path, net: arch.Network) -> dict[str, Array]:
    """The parameters in a folder that `write` wrote, as strided views of the mapped file.

    Raises:
        CheckpointError: The folder is damaged or of another network.
        FileNotFoundError: There is none.
    """
    path = Path(path)
    variables = tf2_checkpoint.read(path)
    with one_error(path):
        found = {}
        for native in SONNET.natives(net):
            if native.name not in variables:
                raise ValueError(f"has no variable {native.name}; expected those of {net.name}")
            (layout,) = native.shapes
            found[str(native.canonical)] = layouts.to_canonical(variables[str(native.name)], layout)
        arch.check_arrays(net, found)
        return found


def _save(model: Any, folder: Path) -> None:
    """Saves an `i3d_tf.VideoModel` with its signature."""
    import i3d_tf  # noqa: F401  # before TensorFlow, see there

    # isort: split
    import tensorflow as tf

    net = model.net
    smallest = arch.smallest_size(net)

    def serve(clips: Any) -> dict[str, Any]:
        fits = tf.debugging.assert_greater_equal(
            tf.shape(clips)[1:4], smallest, f"{net.name}: the clips are too small [T, H, W]"
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
    tf.saved_model.save(model, str(folder), signatures={"serving_default": signature})
