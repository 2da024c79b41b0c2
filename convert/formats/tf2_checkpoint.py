"""TensorFlow 2's checkpoints of objects (`tf.train.Checkpoint`): a bundle with an object graph.

`read` takes a SavedModel's folder, too; `write` is for `tf.train.Checkpoint(model).restore`. A
variable's name is its path through attributes, dictionary keys and list positions, without the
ending: `layers/Conv3d_1a_7x7/conv/w`. A "." in a part of the path is written as "..", "/" as ".S".

Sources: tensorflow/core/protobuf/trackable_object_graph.proto, python/trackable/trackable_utils.py.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from convert.arrays import Array, renamed
from convert.formats import _raw, tf1_checkpoint
from convert.formats._wire import field

NAME = "tf2_checkpoint"
SUFFIXES = (".tf2.ckpt",)

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_SAVE_COUNTER = "save_counter"  # which `restore` expects

_ESCAPED = re.compile(r"(?:[^.]|\.[.S])+")
_ESCAPES = {"..": ".", ".S": "/"}
_HAS_VALUES = field(5, field(1, 1))  # a BoolValue


def recognises(path: Path) -> bool:
    """Whether `path` has an index that names an object graph, or is a SavedModel's folder."""
    path = Path(path)
    place = _bundle_of(path)
    if place != path:
        return place.with_name("variables.index").is_file()
    return tf1_checkpoint.is_bundle(path) and tf1_checkpoint.has_objects(path)


def files(path: Path) -> list[Path]:
    return tf1_checkpoint.files(_bundle_of(Path(path)))


@_raw.reader
def read(path: Path) -> Mapping[str, Array]:
    """All variables but strings (the object graph is one) and TensorFlow's counter of saves."""
    stored = tf1_checkpoint.read(_bundle_of(path))
    keys = {key.removesuffix(_VALUE): key for key in stored}
    if len(keys) != len(stored):
        raise ValueError(f"a name is there twice, with and without {_VALUE}")
    keys.pop(_SAVE_COUNTER, None)
    return renamed(stored, keys)


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes `P.data-00000-of-00001` and `P.index`: variables by path, and a counter of saves."""
    saved = {_SAVE_COUNTER: np.array(1, np.int64), **arrays}
    with _raw.one_error(Path(path)):
        graph = _object_graph(sorted(saved))
    keys = {name + _VALUE: array for name, array in saved.items()}
    tf1_checkpoint.write(path, keys, strings={tf1_checkpoint.OBJECT_GRAPH: graph})


def _bundle_of(path: Path) -> Path:
    is_saved_model = (path / "saved_model.pb").is_file()
    return path / "variables" / "variables" if is_saved_model else path


def _object_graph(names: Iterable[str]) -> bytes:
    """The TrackableObjectGraph in which every component of the variables' paths is a node."""
    children: list[dict[str, int]] = [{}]  # of each node; the first is the model
    variables: dict[int, str] = {}
    for name in names:
        node = 0
        for component in name.split("/") if name else ():
            local = component  # other dots than those of escapes stay
            if _ESCAPED.fullmatch(component):
                local = re.sub(r"\.[.S]", lambda match: _ESCAPES[match[0]], component)
            if local not in children[node]:
                children[node][local] = len(children)
                children.append({})
            node = children[node][local]
        if node == 0 or variables.setdefault(node, name) != name:
            other = variables.get(node, "the model itself")
            raise ValueError(f"{name!r} and {other} stand for the same object")
    graph = b""
    for node, below in enumerate(children):  # a TrackableObject each
        message = b"".join(
            field(1, field(1, child) + field(2, local.encode())) for local, child in below.items()
        )
        if node in variables:  # its attribute: name, full name, key
            name = variables[node]
            texts = ("VARIABLE_VALUE", name, name + _VALUE)
            attribute = b"".join(field(i, text.encode()) for i, text in enumerate(texts, 1))
            message += field(2, attribute)
        graph += field(1, message + _HAS_VALUES)
    return graph
