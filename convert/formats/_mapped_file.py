"""A file as read-only bytes that are mapped, not read; and one kind of error for its content."""

import contextlib
import errno
import mmap
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.io import CheckpointError, escape

Bytes = npt.NDArray[np.uint8]

_PIECE = 2**24  # bytes held at a time while a checksum is computed
_AROUND = 2**16  # bytes that the kernel maps on either side of a touched one

_LONGEST_TEXT = 1500  # characters of an error, which may hold names of any length

# Faults of the disk, whatever the file holds.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}

# Errors that say nothing about a file's content; the system's own text has the path.
NOT_READABLE = (FileNotFoundError, PermissionError, IsADirectoryError)


def single_file(path: Path) -> list[Path]:
    """The files of a checkpoint that is one file."""
    return [Path(path)]


def mapped(path: Path) -> Bytes:
    """The whole file as a read-only [N] uint8 array; pages are read when they are touched.

    The mapping lives as long as any array that looks into it.
    """
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:  # an empty file cannot be mapped
            return np.zeros(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def release(array: npt.NDArray[Any]) -> None:
    """Returns to the kernel the mapped pages under an array; touching them maps them again.

    The kernel reclaims such pages when it needs memory, but until then a process that has read a
    file of several GB seems to take several GB. Arrays of other memory stay as they are.
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
    if begin < end:  # no reader has negative strides, but the holder of the array may
        owner.madvise(mmap.MADV_DONTNEED, begin, end - begin)


def pieces(data: Bytes) -> Iterator[Bytes]:
    """Yields the bytes from front to back, and releases the pages behind."""
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


def first_bytes(path: Path, count: int) -> bytes:
    """The first `count` bytes; none if `path` is no readable file."""
    return _part(path, 0, count)


def last_bytes(path: Path, count: int) -> bytes:
    """The last `count` bytes (fewer in a short file); none if `path` is no readable file."""
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


@contextlib.contextmanager
def one_error(path: Path) -> Iterator[None]:
    """Turns whatever the content of `path` provokes into one CheckpointError that names it.

    The parsers inside raise ValueError with a full sentence; anything else (struct.error,
    RecursionError, ...) means a malformed file too, and its type is shown.

    Raises:
        CheckpointError: In place of every error but a file that is missing or not readable, or
            a disk that takes no more.
    """
    try:
        yield
    except (CheckpointError, *NOT_READABLE):
        raise
    except OSError as error:
        if error.errno in _DISK:
            raise
        raise CheckpointError(f"{path}: malformed ({_line(error)})") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: {_line(error)}") from error
    except Exception as error:
        text = f"malformed ({type(error).__name__}: {_line(error)})"
        raise CheckpointError(f"{path}: {text}") from error


def _address(array: npt.NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _line(error: Exception) -> str:
    """The text on one line of bounded length, without what a terminal would obey."""
    text = _shortened(str(error))
    return _shortened(escape(text))


def _shortened(text: str) -> str:
    half = _LONGEST_TEXT // 2  # a long name may stand at the start, the reason at the end
    return text if len(text) <= _LONGEST_TEXT else f"{text[:half]} ... {text[-half:]}"
