"""MindSpore's `.ckpt`: one protocol buffer message with an entry a tensor.

    Checkpoint   1: repeated Value
    Value        1: tag (the name)    2: tensor    or 3: map tensor (an embedding table)
    TensorProto  1: repeated dims     2: tensor_type ("Float32")    3: tensor_content (raw values)

`mindspore.save_checkpoint(..., crc_check=True)` adds a CRC-32 of everything at the end;
so does `write`, and `mindspore.load_checkpoint` opens the file with and without being asked to
check it (but not in MindSpore 1, whose parser takes the last 17 bytes for a field).
Source: checkpoint.proto and train/serialization.py of MindSpore 2.10.
"""

import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from common.io import replacing
from convert.arrays import Array, LazyArrays
from convert.formats._mapped_file import (
    STORED,
    Bytes,
    crc32,
    elements,
    first_bytes,
    mapped,
    name_of,
    one_error,
    raw_bytes,
    release,
    single_file,
    values,
)
from convert.formats._protobuf import fields, header, string_field, varint_field

NAME = "mindspore_ckpt"
SUFFIXES = (".mindspore.ckpt", ".ms.ckpt")

_LARGEST = 2**29  # bytes; MindSpore stores larger tensors in slices

_NAMES = (
    *("Bool", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
    *("Float16", "Float32", "Float64", "BFloat16"),
)
_TYPES = {name.lower(): name for name in _NAMES}
# Version 1 spelled the unsigned types differently.
_DTYPES = {name: name.lower() for name in (*_NAMES, "Uint8", "Uint16", "Uint32", "Uint64")}
_STRING = "str"
_MOST_DIMS = 32

_CHECKSUM, _CHECKSUM_SIZE = b"crc_num", 10  # the marker, then a big-endian integer
_TRAILER_SIZE = len(_CHECKSUM) + _CHECKSUM_SIZE

# What encrypted files start with (AES-GCM, AES-CBC, SM4-CBC).
_ENCRYPTED = (b"\xd8\x5e\x3a\x7f", b"\xd9\x5e\x3a\x7f", b"\xda\x5e\x3a\x7f")

files = single_file


def recognises(path: Path) -> bool:
    """Whether the file starts with a tensor of a known type, or is encrypted."""
    path = Path(path)
    start = first_bytes(path, 4)
    if start in _ENCRYPTED:
        return True
    if start[:1] != header(1, 0)[:1]:
        return False
    try:
        return next(_tensors(mapped(path)))[1] in (*_DTYPES, _STRING)
    except (OSError, StopIteration, ValueError):
        return False


def read(path: Path) -> Mapping[str, Array]:
    """All tensors in stored order, as views of the mapped file (bfloat16, bool: made on access).

    The checksum is verified where there is one. Strings and map tensors are left out.

    Raises:
        CheckpointError: The file is damaged, encrypted or no MindSpore checkpoint, a name is there
            twice, a type is unknown, or there is no tensor.
    """
    path = Path(path)
    with one_error(path):
        data = mapped(path)
        if data[:4].tobytes() in _ENCRYPTED:
            raise ValueError(
                "is encrypted; load it in MindSpore with its key and save it again without one"
            )
        arrays = LazyArrays()
        seen = set()
        for name, kind, dims, content in _tensors(_checked(data)):
            if name in seen:
                raise ValueError(
                    f"{name[:200]} is in the file twice, or in slices, as MindSpore stores tensors"
                    " of 512 MB and more"
                )
            seen.add(name)
            if kind != _STRING:
                shape = _shape(name[:200], kind, dims, len(content))
                release(content)  # whose header was touched
                arrays.add(name, shape, partial(values, content, _DTYPES[kind], shape))
        if not arrays:
            raise ValueError("holds no array")
        return arrays


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes the same bytes as `mindspore.save_checkpoint` with `crc_check`.

    Raises:
        CheckpointError: An array is of a type or shape that the format lacks.
    """
    path = Path(path)
    with one_error(path), replacing(path) as temporary, temporary.open("wb") as file:
        checksum = 0
        for name, array in arrays.items():
            for piece in (_start(name, array), raw_bytes(array).data):
                checksum = zlib.crc32(piece, checksum)
                file.write(piece)
            release(array)
        file.write(_CHECKSUM + checksum.to_bytes(_CHECKSUM_SIZE, "big"))


def _checked(data: Bytes) -> Bytes:
    """The message without the checksum that may follow it."""
    trailer = data[-_TRAILER_SIZE:].tobytes()
    if len(trailer) < _TRAILER_SIZE or not trailer.startswith(_CHECKSUM):
        return data
    message = data[:-_TRAILER_SIZE]
    expected = int.from_bytes(trailer[-_CHECKSUM_SIZE:], "big")
    actual = crc32(message)
    if actual != expected:
        raise ValueError(
            f"has checksum {actual:#010x}, expected {expected:#010x}: the file is damaged"
        )
    return message


def _tensors(data: Bytes) -> Iterator[tuple[str, str, tuple[int, ...], Bytes]]:
    """Yields name, type, dimensions and content of each entry that is not a map tensor."""
    for number, _, value in fields(data, "the file (damaged, or no MindSpore checkpoint)"):
        if number != 1 or not isinstance(value, memoryview):
            raise ValueError(
                f"has an unknown field {number}: it is damaged or no MindSpore checkpoint"
            )
        entry, _ = _parts(value, (1, 2, 3), "an entry of the file")
        if 1 not in entry or len(entry) != 2:
            raise ValueError("an entry is not a tag with one tensor")
        if 2 in entry:
            name = str(entry[1], "utf-8")
            tensor, dims = _parts(entry[2], (2, 3), name[:200], dims=1)
            if len(tensor) != 2:
                raise ValueError(f"{name[:200]} lacks its type or its content")
            yield name, str(tensor[2], "utf-8"), tuple(dims), np.frombuffer(tensor[3], np.uint8)


def _parts(
    message: memoryview, known: tuple[int, ...], what: str, dims: int | None = None
) -> tuple[dict[int, memoryview], list[int]]:
    """The fields of a message that have a length, by number, and the integers of field `dims`."""
    found: dict[int, memoryview] = {}
    sizes: list[int] = []
    for number, _, value in fields(message, what):
        if number == dims and isinstance(value, int) and len(sizes) < _MOST_DIMS:
            sizes.append(value)
        elif number in known and number not in found and isinstance(value, memoryview):
            found[number] = value
        else:
            raise ValueError(
                f"{what} has an unknown or repeated field {number}, or more than {_MOST_DIMS}"
                " dimensions"
            )
    return found, sizes


def _shape(name: str, kind: str, dims: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The shape of a tensor of `size` bytes."""
    if kind not in _DTYPES:
        raise ValueError(
            f"{name} has type {kind[:40]!r}; expected one of {', '.join(sorted(_DTYPES))}"
        )
    itemsize = STORED[_DTYPES[kind]].itemsize
    if dims == (0,) and size == itemsize:  # a scalar in MindSpore 1; no dims today
        dims = ()
    if size != (expected := elements(dims) * itemsize):
        raise ValueError(
            f"{name}: {kind} {list(dims)} needs {expected} bytes, but {size} are stored: the"
            " file is cut off or damaged"
        )
    return dims


def _start(name: str, array: Array) -> bytes:
    """The bytes of a tensor's entry before its values."""
    dtype = name_of(array, name)
    if dtype not in _TYPES:
        raise ValueError(f"{name}: a MindSpore checkpoint cannot hold dtype {dtype}")
    if array.shape == (0,):
        raise ValueError(
            f"{name} has shape [0], which means a scalar in a MindSpore checkpoint; leave it out"
        )
    if array.nbytes >= _LARGEST:
        raise ValueError(f"{name} has {array.nbytes} bytes; expected less than {_LARGEST}")
    tensor = b"".join(varint_field(1, dim) for dim in array.shape)
    tensor += string_field(2, _TYPES[dtype]) + header(3, array.nbytes)
    size = len(tensor) + array.nbytes
    tag = string_field(1, name) + header(2, size)
    return header(1, len(tag) + size) + tag + tensor
