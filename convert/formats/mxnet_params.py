"""MXNet's `.params`, as GluonCV publishes its networks: arrays, then their names. Read only.

    u64 0x112, u64 0, u64 number of arrays
    each array   u32 magic, i32 storage type 0 (dense), i32 ndim, i64 sizes[ndim],
                 i32 device type, i32 device number, i32 type code, raw values
    u64 number of names; each name   u64 length, bytes

All integers are little-endian. The magic says whether NumPy's shapes were in force: without them
an array of no dimensions is one that was never filled, with them a scalar.
Source: src/ndarray/ndarray.cc (NDArray::Save and Load) of MXNet 1.9, and files that it wrote.
"""

import struct
from pathlib import Path

from convert.arrays import Array
from convert.formats._mapped_file import (
    STORED,
    Bytes,
    elements,
    first_bytes,
    mapped,
    one_error,
    single_file,
    values,
)

NAME = "mxnet_params"
SUFFIXES = ()  # GluonCV's own files end in .params

_START = struct.pack("<QQ", 0x112, 0)
_PLAIN, _NUMPY_SHAPES = 0xF993FAC9, 0xF993FACA
_LEAST = 25  # bytes of the smallest array: a scalar of one byte
_MOST_DIMS = 32

# mshadow's type codes.
_DTYPES = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool")
_SPARSE = {1: "row_sparse", 2: "csr"}

files = single_file


class _Reader:
    """Takes one piece after the other from a mapped file."""

    def __init__(self, data: Bytes) -> None:
        self.rest = data

    def take(self, size: int, what: str) -> Bytes:
        if size > len(self.rest):
            raise ValueError(
                f"is cut off or damaged: {what} needs {size} bytes, {len(self.rest)} are left"
            )
        piece, self.rest = self.rest[:size], self.rest[size:]
        return piece

    def integers(self, layout: str, what: str) -> tuple[int, ...]:
        """The integers of a `struct` layout."""
        form = struct.Struct(f"<{layout}")
        return form.unpack(self.take(form.size, what).tobytes())


def recognises(path: Path) -> bool:
    """Whether the file starts with the magic of a list of arrays."""
    return first_bytes(Path(path), len(_START)) == _START


def read(path: Path) -> dict[str, Array]:
    """All arrays in stored order, as views of the mapped file (bool: copies).

    The prefixes `arg:` and `aux:` are taken off. One array under several names, as GluonCV stores
    blocks that are registered twice, comes under each of them.

    Raises:
        CheckpointError: The file is damaged, of an MXNet before 1.0 or without names, an array is
            sparse, never filled or of an unknown type, a name is there twice, or there is no array.
    """
    path = Path(path)
    with one_error(path):
        reader = _Reader(mapped(path))
        if reader.take(len(_START), "its start").tobytes() != _START:
            raise ValueError("does not start like MXNet's list of arrays")
        (count,) = reader.integers("Q", "the number of arrays")
        if count > len(reader.rest) // _LEAST:
            raise ValueError(
                f"is cut off or damaged: {count} arrays cannot be {len(reader.rest)} bytes"
            )
        stored = [_array(reader, f"array {i} of {count}") for i in range(count)]
        (named,) = reader.integers("Q", "the number of names")
        if named != count:
            raise ValueError(
                f"has {named} names for {count} arrays; save a dictionary, not a list, in MXNet"
            )
        arrays: dict[str, Array] = {}
        for i, array in enumerate(stored):
            (size,) = reader.integers("Q", f"name {i}")
            name = str(reader.take(size, f"name {i}").data, "utf-8")
            # Exported modules tell weights from running statistics by these prefixes.
            name = name.removeprefix("arg:").removeprefix("aux:")
            if name in arrays:
                raise ValueError(f"{name[:200]} is in the file twice")
            arrays[name] = array
        if len(reader.rest):
            raise ValueError(f"{len(reader.rest)} bytes follow its last name")
        if not arrays:
            raise ValueError("holds no array")
        return arrays


def _array(reader: _Reader, what: str) -> Array:
    magic, storage, ndim = reader.integers("Iii", what)
    if magic not in (_PLAIN, _NUMPY_SHAPES):
        raise ValueError(
            f"{what} has magic {magic:#x}, expected {_PLAIN:#x} or {_NUMPY_SHAPES:#x}: it is"
            " damaged, or of an MXNet before 1.0 (load and save it in a newer one)"
        )
    if storage != 0:
        raise ValueError(
            f"{what} has storage type {_SPARSE.get(storage, storage)}; only dense arrays can be"
            " read (`tostype('default')` in MXNet makes one)"
        )
    if ndim < 0 or (ndim == 0 and magic == _PLAIN):
        raise ValueError(f"{what} was never filled; initialise the network before it is saved")
    if ndim > _MOST_DIMS:
        raise ValueError(f"{what} has {ndim} dimensions; expected at most {_MOST_DIMS}")
    shape = reader.integers(f"{ndim}q", what)
    _, _, code = reader.integers("iii", what)  # whichever device it was on
    if not 0 <= code < len(_DTYPES):
        raise ValueError(f"{what} has type code {code}; expected 0 to {len(_DTYPES) - 1}")
    dtype = _DTYPES[code]
    size = elements(shape) * STORED[dtype].itemsize
    return values(reader.take(size, what), dtype, shape)
