"""TensorFlow 2's checkpoints of objects (`tf.train.Checkpoint`): a bundle with an object graph.

    read("model.tf2.ckpt")         {path of the variable: array}; every checksum is verified
    read("saved_model")            the same for a SavedModel's folder: its variables/variables
    write("model.tf2.ckpt", ...)   for tf.train.Checkpoint(model).restore("model.tf2.ckpt")

A variable's name is its path through attributes, dictionary keys and list positions, as it is
stored but without its ending: `layers/Conv3d_1a_7x7/conv/w`. TensorFlow writes "." in a part of the
path as ".." and "/" as ".S"; names keep that, or "/" would have two meanings. Slot variables have
their long names (`PATH/.OPTIMIZER_SLOT/OPTIMIZER/SLOT`).

Sources: tensorflow/core/protobuf/trackable_object_graph.proto, python/trackable/trackable_utils.py.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from common.io import CheckpointError
from convert.arrays import Array, renamed
from convert.formats import tf1_checkpoint
from convert.formats._mapped_file import one_error
from convert.formats._protobuf import bytes_field, string_field, varint_field

NAME = "tf2_checkpoint"
SUFFIXES = (".tf2.ckpt",)

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"

# How often `tf.train.Checkpoint.save` was called. `restore` misses it where it is not there.
_SAVE_COUNTER = "save_counter"

# What every "." in a key is followed by, and what the two stand for.
_ESCAPED = re.compile(r"(?:[^.]|\.[.S])+")
_ESCAPES = {"..": ".", ".S": "/"}
_HAS_VALUES = bytes_field(5, varint_field(1, 1))  # a BoolValue


def recognises(path: Path) -> bool:
    """Whether `path` has an index that names an object graph, or is a SavedModel's folder."""
    path = Path(path)
    place = _bundle_of(path)
    if place != path:
        return place.with_name("variables.index").is_file()
    return tf1_checkpoint.is_bundle(path) and tf1_checkpoint.kind_of(path) == "objects"


def files(path: Path) -> list[Path]:
    """The data files and the index of the checkpoint at `path`, or of one to be written there."""
    return tf1_checkpoint.files(_bundle_of(Path(path)))


def read(path: Path) -> Mapping[str, Array]:
    """All variables in key order, as read-only views of the mapped data files.

    Left out are strings (the object graph is one) and TensorFlow's counter of saves.

    Raises:
        CheckpointError: Index or data are damaged, a data file is missing, a tensor is partitioned,
            or there is no variable.
        FileNotFoundError: There is no index.
    """
    path = Path(path)
    stored = tf1_checkpoint.read(_bundle_of(path))
    keys: dict[str, str] = {}
    for key in stored:
        name = key.removesuffix(_VALUE)
        if name in keys:
            raise CheckpointError(f"{path}: {name} is there twice, once as {name}{_VALUE}")
        keys[name] = key
    keys.pop(_SAVE_COUNTER, None)
    if not keys:
        raise CheckpointError(f"{path}: holds no array but the counter of saves")
    return renamed(stored, keys)


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes `P.data-00000-of-00001` and `P.index`, and nothing else in the folder.

    A counter of saves is written as well, as by `tf.train.Checkpoint.save`.

    Args:
        path: The prefix P, or the name of either file.
        arrays: Variables by path; stored in the order of the keys' bytes.

    Raises:
        CheckpointError: A name is empty, two names stand for the same object, or an array is of a
            type that the format lacks.
    """
    path = Path(path)
    saved = {_SAVE_COUNTER: np.array(1, np.int64), **arrays}
    keys = {name + _VALUE: array for name, array in saved.items()}
    with one_error(path):
        graph = _object_graph(sorted(saved))
    tf1_checkpoint.write(path, keys, strings={tf1_checkpoint.OBJECT_GRAPH: graph})


def _bundle_of(path: Path) -> Path:
    """The prefix inside a SavedModel's folder; any other path as it is."""
    if (path / "saved_model.pb").is_file():
        return path / "variables" / "variables"
    return path


def _object_graph(names: Iterable[str]) -> bytes:
    """The TrackableObjectGraph in which every component of the variables' paths is a node.

    Raises:
        ValueError: A name is empty, or two stand for the same object.
    """
    children: list[dict[str, int]] = [{}]  # of each node; the first is the model
    variables: dict[int, str] = {}
    for name in names:
        if not name:
            raise ValueError("a variable has the empty name, which is the model's own place")
        node = 0
        for component in name.split("/"):
            local = _local_name(component)
            if local not in children[node]:
                children[node][local] = len(children)
                children.append({})
            node = children[node][local]
        if variables.setdefault(node, name) != name:
            raise ValueError(f"{name} and {variables[node]} stand for the same object")
    return b"".join(
        bytes_field(1, _node(below, variables.get(node))) for node, below in enumerate(children)
    )


def _node(children: Mapping[str, int], variable: str | None) -> bytes:
    """A TrackableObject: its children, and the key of its value where it is a variable."""
    message = b"".join(
        bytes_field(1, varint_field(1, node) + string_field(2, local))
        for local, node in children.items()
    )
    if variable is not None:
        attribute = ("VARIABLE_VALUE", variable, variable + _VALUE)  # name, full name, key
        texts = (string_field(number, text) for number, text in enumerate(attribute, 1))
        message += bytes_field(2, b"".join(texts))
    return message + _HAS_VALUES


def _local_name(component: str) -> str:
    """What a path's component is called in its object: the inverse of TensorFlow's escapes.

    Names that are no paths of objects (`conv.weight`) have other dots: they stay as they are.
    """
    if not _ESCAPED.fullmatch(component):
        return component
    return re.sub(r"\.[.S]", lambda match: _ESCAPES[match[0]], component)
