"""The restricted unpickler: the only way in which this project opens a pickle.

Python's own unpickler runs whatever functions a file names, and allocates whatever sizes it
declares. Here a pickle passes two gates:

1. a scan that executes nothing: known opcodes, sizes that the file really has, memo numbers,
   nesting and expansion within bounds, and no name outside the caller's table;
2. `pickle.Unpickler`, which finds only the names in that table. They stand for functions of ours
   that record what the file says; nothing of NumPy or torch is called with its content.
"""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np

from common.io import CheckpointError
from convert.formats._mapped_file import Bytes, release
from convert.formats._pickle_scan import Allowed, Refused, admit, scan

_LARGE = 2**16  # bytes of a read whose mapped pages are let go of


class Stream(Protocol):
    """What is needed of an open file."""

    def read(self, size: int, /) -> bytes: ...
    def readline(self) -> bytes: ...
    def seek(self, offset: int, whence: int = ..., /) -> int: ...
    def tell(self) -> int: ...


def load(
    stream: Stream | bytes | Bytes,
    *,
    allowed: Allowed,
    persistent_load: Callable[[Any], Any] | None = None,
    encoding: str = "latin1",
    source: str | Path,
) -> Any:
    """The object of the next pickle in `stream`.

    Args:
        stream: The pickle, or an open file, which is left right behind the pickle's end.
        allowed: What each (module, name) stands for; every other name is refused.
        persistent_load: Gives the object for a persistent id; without it such ids are refused.
        encoding: For the byte strings of Python 2.
        source: The file's path, which starts every error text.

    Raises:
        CheckpointError: The pickle is malformed or names something outside `allowed`.
    """
    opened = Cursor(stream) if isinstance(stream, (bytes, np.ndarray)) else stream
    start = opened.tell()
    try:
        opened.seek(0, io.SEEK_END)
        limit = opened.tell()
        opened.seek(start)
        scan(_Limited(opened, limit), allowed, with_ids=persistent_load is not None)
        end = opened.tell()
        opened.seek(start)
        budget = 4 * (end - start) + 2**20
        file = _Limited(opened, end)
        result = _Unpickler(file, allowed, persistent_load, encoding, budget).load()
        if opened.tell() != end:
            raise ValueError("its end is not where a scan found it")
        return result
    except CheckpointError:
        raise
    except Refused as error:
        raise CheckpointError(f"{source}: {error}") from error
    except Exception as error:
        text = f"{type(error).__name__}: {str(error)[:200]}"
        raise CheckpointError(f"{source}: not a well-formed pickle ({text})") from error


class Cursor:
    """A file over bytes that are mapped: reads copy only what they return."""

    def __init__(self, data: bytes | Bytes) -> None:
        self._data = memoryview(data) if isinstance(data, bytes) else data.data
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        end = len(self._data) if size < 0 else min(self._at + size, len(self._data))
        view = self._data[self._at : end]
        piece = view.tobytes()
        if len(piece) >= _LARGE:  # now they are in memory twice
            release(np.frombuffer(view, np.uint8))
        self._at = max(self._at, end)
        return piece

    def readline(self) -> bytes:
        end = self._at
        while True:  # in small steps: a missing line end must not copy the rest of a large file
            piece = self._data[end : end + 256].tobytes()
            if (found := piece.find(b"\n")) >= 0:
                return self.read(end + found + 1 - self._at)
            if not piece:
                return self.read()
            end += len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = offset + (len(self._data) if whence == io.SEEK_END else 0)
        return self._at

    def tell(self) -> int:
        return self._at


class _Limited:
    """Reads of at most what is there, so that a declared length never sizes an allocation."""

    def __init__(self, file: Stream, limit: int) -> None:
        self._file = file
        self._limit = limit
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        return self._file.read(max(0, min(size, self._limit - self._file.tell())))

    def readline(self) -> bytes:
        return self._file.readline()


class _Unpickler(pickle.Unpickler):
    """`pickle.Unpickler` that finds only what it was given."""

    def __init__(
        self,
        file: _Limited,
        allowed: Allowed,
        persistent: Callable[[Any], Any] | None,
        encoding: str,
        budget: int,
    ) -> None:
        super().__init__(file, encoding=encoding)
        self._allowed = allowed
        self._persistent = persistent
        self._budget = [budget]

    def find_class(self, module: str, name: str) -> Any:
        admit(module, name, self._allowed)
        found = self._allowed[module, name]
        return _Function(found, self._budget) if callable(found) else found

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise Refused("refused a persistent id, which this format has not")
        return self._persistent(pid)


class _Function:
    """A function as a pickle sees it: it can be called, and neither changed nor instantiated.

    Without this, the opcode BUILD could set attributes of the function itself, for good.
    """

    __slots__ = ("_budget", "_function")

    def __init__(self, function: Callable[..., Any], budget: list[int]) -> None:
        self._function = function
        self._budget = budget

    def __call__(self, *args: Any) -> Any:
        # A pickle may pass one large string or container to any number of calls that copy it.
        copied = (str, list, tuple, dict)
        self._budget[0] -= sum(len(arg) for arg in args if isinstance(arg, copied))
        if self._budget[0] < 0:
            raise Refused("gives the same data to too many function calls")
        return self._function(*args)

    def __setstate__(self, state: object) -> NoReturn:
        raise Refused("refused to change the state of a function")
