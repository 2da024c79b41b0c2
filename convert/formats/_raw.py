"""Arrays as raw bytes in mapped files: their values and checksums, and one error for damage."""

import contextlib
import errno
import functools
import math
import mmap
import reprlib
import zlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import google_crc32c
import numpy as np
import numpy.typing as npt

from common.io import CheckpointError, escape, replacing
from convert.arrays import Array

Bytes = npt.NDArray[np.uint8]
_Arrays = TypeVar("_Arrays", bound=Mapping[str, Array])

# Element types as they are stored. NumPy lacks bfloat16: its bits are read as uint16 and widened.
TYPES: dict[str, np.dtype[Any]] = {
    **{"bool": np.dtype("?"), "bfloat16": np.dtype("<u2")},
    **{f"uint{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"int{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    **{f"complex{bits}": np.dtype(f"<c{bits // 8}") for bits in (64, 128)},
}

# Errors of the system that say nothing about a file's content.
_NOT_READABLE = (FileNotFoundError, PermissionError, IsADirectoryError)
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
_LONGEST_TEXT = 1500  # characters of an error, which may contain names of any length

_PIECE = 2**24  # bytes held at a time while a checksum is computed
_AROUND = 2**16  # bytes that the kernel maps on either side of a touched one


@contextlib.contextmanager
def one_error(path: Path) -> Iterator[None]:
    """Turns any error that the content of `path` provokes into one CheckpointError.

    Parsers' ValueErrors are full sentences. Errors of files not readable, and of the disk, pass.
    """
    try:
        yield
    except (CheckpointError, *_NOT_READABLE):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        text = escape(str(error))
        if len(text) > _LONGEST_TEXT:  # a long name may stand at the start, the reason at the end
            text = f"{text[: _LONGEST_TEXT // 2]} ... {text[-_LONGEST_TEXT // 2 :]}"
        if not isinstance(error, ValueError) or not text:  # some of msgpack's have none
            text = f"malformed ({type(error).__name__}: {text})"
        raise CheckpointError(f"{path}: {text}") from error


def reader(read: Callable[[Path], _Arrays]) -> Callable[[Path], _Arrays]:
    """A `read` whose errors name the file, and which refuses a file without arrays."""

    @functools.wraps(read)
    def checked(path: Path) -> _Arrays:
        path = Path(path)
        with one_error(path):
            arrays = read(path)
            if not arrays:
                raise ValueError("holds no array")
            return arrays

    return checked


def writer(
    write: Callable[[BinaryIO, Mapping[str, Array]], None],
) -> Callable[[Path, Mapping[str, Array]], None]:
    """A `write` to a path, made of one to an open file: the file appears whole or not at all."""

    @functools.wraps(write)
    def replace(path: Path, arrays: Mapping[str, Array]) -> None:
        path = Path(path)
        with one_error(path), replacing(path) as temporary, temporary.open("wb") as file:
            write(file, arrays)

    return replace


def single_file(path: Path) -> list[Path]:
    return [Path(path)]


def mapped(path: Path) -> Bytes:
    """The whole file as a read-only [N] uint8 array, mapped as long as a view of it is alive."""
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:  # an empty file cannot be mapped
            return np.zeros(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def release(array: Array) -> None:
    """Returns the mapped pages under an array to the kernel; touching them maps them again."""
    owner: Any = array
    while owner is not None and not isinstance(owner, mmap.mmap):
        owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
    if owner is None or not array.size or not hasattr(mmap, "MADV_DONTNEED"):
        return
    start = array.ctypes.data - np.frombuffer(owner, np.uint8).ctypes.data
    length = sum((n - 1) * step for n, step in zip(array.shape, array.strides, strict=True))
    begin = max(0, start - _AROUND) // mmap.PAGESIZE * mmap.PAGESIZE
    end = min(len(owner), start + length + array.itemsize + _AROUND)
    if begin < end:  # false for negative strides
        owner.madvise(mmap.MADV_DONTNEED, begin, end - begin)


def part(path: Path, start: int, count: int) -> bytes:
    """`count` bytes from `start` on, which counts from the end if negative; b"" if unreadable."""
    try:
        if not path.is_file():  # opening a pipe would wait
            return b""
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) + start) if start < 0 else start)
            return file.read(count)
    except (OSError, ValueError):
        return b""


def elements(shape: Sequence[int], what: str = "an array") -> int:
    """The number of elements of a shape from a file, which is checked."""
    if len(shape) > 32 or not all(type(size) is int and 0 <= size < 2**62 for size in shape):
        text = reprlib.repr(list(shape))
        raise ValueError(f"{what} has shape {text}; expected at most 32 integers from 0 on")
    return math.prod(shape)


def check_size(size: int, dtype: str, shape: Sequence[int], what: str) -> None:
    """Raises a ValueError unless `size` bytes hold an array of this type and shape."""
    if dtype not in TYPES:
        raise ValueError(f"{what} has dtype {dtype[:40]!r}; expected one of {', '.join(TYPES)}")
    expected = elements(shape, what) * TYPES[dtype].itemsize
    if size != expected:
        raise ValueError(f"{what}: {dtype} {list(shape)} needs {expected} bytes, not {size}")


def values(raw: Bytes, dtype: str, shape: Sequence[int], what: str = "an array") -> Array:
    """The values of raw little-endian bytes: a view, except for bfloat16 (widened) and bool."""
    check_size(len(raw), dtype, shape, what)
    return widened(raw.view(TYPES[dtype]).reshape(shape), dtype)


def widened(stored: Array, dtype: str) -> Array:
    """The values of an array of any strides whose type is `TYPES[dtype]`."""
    if dtype == "bfloat16":  # the upper half of a float32
        wide: Array = stored.astype(np.uint32)
        release(stored)
        wide <<= 16  # in place: one copy at a time
        return wide.view(np.float32)
    if dtype == "bool":  # NumPy misbehaves on a bool that is neither 0 nor 1
        return np.not_equal(stored.view(np.uint8), 0)
    return stored


def name_of(array: Array, what: str, known: Container[str] = TYPES) -> str:
    """The name in `TYPES` of an array's type; a ValueError if `known`, a format's, lack it."""
    name = array.dtype.name
    if name not in TYPES or name == "bfloat16" or name not in known:  # ml_dtypes' has other bits
        raise ValueError(f"{what} has dtype {array.dtype}, which this format cannot hold")
    return name


def raw_bytes(array: Array) -> Bytes:
    """[N] bytes of an array in C order, little-endian; a view if it is stored that way."""
    little: Array = array.astype(TYPES[array.dtype.name], order="C", copy=False)
    return little.ravel(order="C").view(np.uint8)


def _pieces(data: Bytes) -> Iterator[Bytes]:
    for start in range(0, len(data), _PIECE):
        piece = data[start : start + _PIECE]
        yield piece
        release(piece)


def crc32(data: Bytes) -> int:
    return functools.reduce(lambda crc, piece: zlib.crc32(piece.data, crc), _pieces(data), 0)


def crc32c(data: Bytes) -> int:
    # The C extension takes contiguous arrays, but no memoryview.
    return functools.reduce(google_crc32c.extend, _pieces(data), 0)


def masked_crc32c(data: bytes | Bytes) -> int:
    """The CRC-32C as TensorFlow and LevelDB store it: rotated by 15 bits, plus a constant."""
    crc = crc32c(np.frombuffer(data, np.uint8))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
