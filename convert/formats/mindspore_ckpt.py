"""MindSpore's `.ckpt`: one protocol buffer message with an entry a tensor.

    Checkpoint   1: repeated Value
    Value        1: tag (the name)    2: tensor    or 3: map tensor (an embedding table)
    TensorProto  1: repeated dims     2: tensor_type ("Float32")    3: tensor_content (raw)

`mindspore.save_checkpoint(..., crc_check=True)` adds a CRC-32 of everything at the end;
so does `write`. MindSpore 2 opens the file with and without checking it, MindSpore 1 does not.
Source: checkpoint.proto and train/serialization.py of MindSpore 2.10.
"""

import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from convert.arrays import Array, LazyArrays
from convert.formats import _raw
from convert.formats._wire import field, fields, header

NAME = "mindspore_ckpt"
SUFFIXES = (".mindspore.ckpt", ".ms.ckpt")

_LARGEST = 2**29  # bytes; MindSpore stores larger tensors in slices

_NAMES = (
    *("Bool", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
    *("Float16", "Float32", "Float64", "BFloat16"),
)
_TYPES = {name.lower(): name for name in _NAMES}
_STRING = "str"

_CHECKSUM, _CHECKSUM_SIZE = b"crc_num", 10  # the marker, then a big-endian integer
_TRAILER_SIZE = len(_CHECKSUM) + _CHECKSUM_SIZE

files = _raw.single_file


def recognises(path: Path) -> bool:
    if _raw.part(path := Path(path), 0, 1) != header(1, 0)[:1]:
        return False
    try:
        return next(_tensors(_raw.mapped(path)))[1] in (*_TYPES, _STRING)
    except (OSError, StopIteration, ValueError, LookupError):
        return False


@_raw.reader
def read(path: Path) -> Mapping[str, Array]:
    """All tensors but strings and map tensors; the checksum is verified where there is one."""
    data = _raw.mapped(path)
    trailer = data[-_TRAILER_SIZE:].tobytes()
    if trailer.startswith(_CHECKSUM):
        data = data[:-_TRAILER_SIZE]
        expected, actual = int.from_bytes(trailer[-_CHECKSUM_SIZE:], "big"), _raw.crc32(data)
        if actual != expected:
            raise ValueError(f"has checksum {actual:#x}, expected {expected:#x}: it is damaged")
    arrays, seen = LazyArrays(), set()
    for name, dtype, shape, content in _tensors(data):
        if name in seen:
            raise ValueError(f"{name[:200]} is in the file twice (MindSpore slices above 512 MB)")
        seen.add(name)
        if dtype != _STRING:
            if shape == (0,) and len(content):  # a scalar in MindSpore 1; no dims today
                shape = ()
            _raw.check_size(len(content), dtype, shape, name[:200])
            _raw.release(content)  # whose header was touched
            arrays.add(name, shape, partial(_raw.values, content, dtype, shape))
    return arrays


@_raw.writer
def write(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Writes the same bytes as `mindspore.save_checkpoint` with `crc_check`."""
    checksum = 0
    for name, array in arrays.items():
        dtype = _TYPES[_raw.name_of(array, name, _TYPES)]
        if array.shape == (0,) or array.nbytes >= _LARGEST:
            raise ValueError(
                f"{name}: MindSpore takes shape [0] for a scalar, and slices {_LARGEST} bytes"
            )
        tensor = b"".join(field(1, dim) for dim in array.shape)
        tensor += field(2, dtype.encode()) + header(3, array.nbytes)
        size = len(tensor) + array.nbytes
        tag = field(1, name.encode()) + header(2, size)
        for piece in (header(1, len(tag) + size) + tag + tensor, _raw.raw_bytes(array).data):
            checksum = zlib.crc32(piece, checksum)
            file.write(piece)
        _raw.release(array)
    file.write(_CHECKSUM + checksum.to_bytes(_CHECKSUM_SIZE, "big"))


def _tensors(data: _raw.Bytes) -> Iterator[tuple[str, str, tuple[int, ...], _raw.Bytes]]:
    """Yields name, type, shape and content of each tensor."""
    for number, _, value in fields(data.data, "the file (damaged, or no MindSpore checkpoint)"):
        entry = {tag: content for tag, _, content in fields(value, "an entry of the file")}
        if number != 1 or entry.keys() not in ({1, 2}, {1, 3}):
            raise ValueError("has something else than tensors: damaged, or no MindSpore checkpoint")
        if 2 in entry:
            name, shape = str(entry[1], "utf-8"), []
            parts = {2: memoryview(b""), 3: memoryview(b"")}
            for part, size, content in fields(entry[2], name[:200]):
                if part == 1:
                    shape.append(size)
                parts[part] = content
            dtype = str(parts[2], "utf-8").lower()  # version 1 wrote "Uint8"
            yield name, dtype, tuple(shape), np.frombuffer(parts[3], np.uint8)
