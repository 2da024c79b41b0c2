"""Checkpoint files as mapped bytes: the values in them, checksums, and one error for damage."""

import contextlib
import errno
import math
import mmap
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from common.io import CheckpointError, escape
from convert.arrays import Array

Bytes = npt.NDArray[np.uint8]

# Element types as they are stored. NumPy lacks bfloat16: its bits are read as uint16 and widened.
STORED: dict[str, np.dtype[Any]] = {
    "bool": np.dtype("?"),
    "bfloat16": np.dtype("<u2"),
    **{
        name: np.dtype(name).newbyteorder("<")
        for name in (
            *("float16", "float32", "float64", "int8", "int16", "int32", "int64"),
            *("uint8", "uint16", "uint32", "uint64", "complex64", "complex128"),
        )
    },
}

# Errors that say nothing about a file's content; the system's own text has the path.
NOT_READABLE = (FileNotFoundError, PermissionError, IsADirectoryError)
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
_LONGEST_TEXT = 1500  # characters of an error, which may contain names of any length

_PIECE = 2**24  # bytes held at a time while a checksum is computed
_AROUND = 2**16  # bytes that the kernel maps on either side of a touched one


def single_file(path: Path) -> list[Path]:
    """The files of a checkpoint that is one file."""
    return [Path(path)]


def mapped(path: Path) -> Bytes:
    """The whole file as a read-only [N] uint8 array, mapped as long as a view of it is alive."""
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:  # an empty file cannot be mapped
            return np.zeros(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def release(array: Array) -> None:
    """Returns the mapped pages under an array to the kernel; touching them maps them again.

    Without this, a process that has read a file of several GB is charged several GB until the
    kernel needs the memory. Arrays in ordinary memory are left alone.
    """
    owner: Any = array
    while owner is not None and not isinstance(owner, mmap.mmap):
        owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
    if owner is None or not array.size or not hasattr(mmap, "MADV_DONTNEED"):
        return
    start = _address(array) - _address(np.frombuffer(owner, np.uint8))
    length = sum((n - 1) * step for n, step in zip(array.shape, array.strides, strict=True))
    begin = max(0, start - _AROUND) // mmap.PAGESIZE * mmap.PAGESIZE
    end = min(len(owner), start + length + array.itemsize + _AROUND)
    if begin < end:  # false for negative strides
        owner.madvise(mmap.MADV_DONTNEED, begin, end - begin)


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def first_bytes(path: Path, count: int) -> bytes:
    """The first `count` bytes; none if `path` is not a readable file."""
    return _part(path, 0, count)


def last_bytes(path: Path, count: int) -> bytes:
    """The last `count` bytes, fewer of a short file; none if `path` is not a readable file."""
    return _part(path, -count, count)


def _part(path: Path, start: int, count: int) -> bytes:
    try:
        if not path.is_file():  # opening a pipe would wait
            return b""
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) + start) if start < 0 else start)
            return file.read(count)
    except (OSError, ValueError):
        return b""


def elements(shape: Sequence[int]) -> int:
    """The number of elements of `shape`, in Python integers so that nothing overflows.

    Raises:
        ValueError: A dimension is not an integer in 0..2**62, or there are more than 32.
    """
    if len(shape) > 32:
        raise ValueError(f"an array of {len(shape)} dimensions; expected at most 32")
    for size in shape:
        if type(size) is not int or not 0 <= size < 2**62:
            brief = str(size)[:40] if isinstance(size, int | float) else type(size).__name__
            raise ValueError(f"a dimension of {brief}; expected an integer from 0 on")
    return math.prod(shape)


def values(raw: Bytes, dtype: str, shape: Sequence[int]) -> Array:
    """The values of raw little-endian bytes: a view, except for bfloat16 (widened) and bool."""
    return widened(raw.view(STORED[dtype]).reshape(shape), dtype)


def widened(stored: Array, dtype: str) -> Array:
    """The values of an array of any strides whose type is `STORED[dtype]`."""
    if dtype == "bfloat16":  # the upper half of a float32
        wide: Array = stored.astype(np.uint32)
        release(stored)
        wide <<= 16  # in place: one copy at a time
        return wide.view(np.float32)
    if dtype == "bool":  # NumPy misbehaves on a bool that is neither 0 nor 1
        truth: Array = stored.view(np.uint8) != 0
        return truth
    return stored


def name_of(array: Array, what: str) -> str:
    """The name in `STORED` of the type of an array, which errors call `what`.

    Raises:
        ValueError: It is not a numeric NumPy array.
    """
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{what} is a {type(array).__name__}; expected a NumPy array")
    name = array.dtype.name
    if name not in STORED or name == "bfloat16":  # ml_dtypes' has other bits than ours
        names = sorted(STORED.keys() - {"bfloat16"})
        raise ValueError(f"{what} has dtype {array.dtype}; expected one of {', '.join(names)}")
    return name


def raw_bytes(array: Array) -> Bytes:
    """[N] bytes of an array in C order, little-endian; a view if it is stored that way."""
    little: Array = array.astype(STORED[array.dtype.name], order="C", copy=False)
    raw: Bytes = little.ravel(order="C").view(np.uint8)
    return raw


def pieces(data: Bytes) -> Iterator[Bytes]:
    """Yields the bytes from front to back, releasing the pages behind."""
    for start in range(0, len(data), _PIECE):
        piece = data[start : start + _PIECE]
        yield piece
        release(piece)


def crc32(data: Bytes) -> int:
    """The CRC-32 of ZIP archives."""
    checksum = 0
    for piece in pieces(data):
        checksum = zlib.crc32(piece.data, checksum)
    return checksum


def crc32c(data: bytes | Bytes) -> int:
    """The CRC-32C (Castagnoli)."""
    checksum = 0
    # The C extension takes bytes and contiguous arrays, but no memoryview.
    for piece in pieces(np.frombuffer(data, np.uint8)) if len(data) else ():
        checksum = int(google_crc32c.extend(checksum, piece))
    return checksum


def masked_crc32c(data: bytes | Bytes) -> int:
    """The CRC-32C as TensorFlow and LevelDB store it: rotated by 15 bits, plus a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@contextlib.contextmanager
def one_error(path: Path) -> Iterator[None]:
    """Turns any error that the content of `path` provokes into one CheckpointError.

    Parsers raise ValueError with a full sentence; anything else (struct.error, RecursionError, ...)
    also means a malformed file, and its type is shown.

    Raises:
        CheckpointError: In place of every error except those of a file that is missing or not
            readable and those of the disk.
    """
    try:
        yield
    except (CheckpointError, *NOT_READABLE):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        text = escape(str(error))
        if len(text) > _LONGEST_TEXT:  # a long name may stand at the start, the reason at the end
            text = f"{text[: _LONGEST_TEXT // 2]} ... {text[-_LONGEST_TEXT // 2 :]}"
        if not isinstance(error, ValueError):
            text = f"malformed ({type(error).__name__}: {text})"
        raise CheckpointError(f"{path}: {text}") from error
