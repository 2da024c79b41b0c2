"""Claims: who works on what, among any number of processes on one folder.

A claim is a lock on a file. The kernel releases it when its process ends, however it ends, so
there is no claim without a living owner and nothing to clean up by hand.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class TakenError(Exception):
    """A key is shared by others, with another text: `text` is theirs."""

    def __init__(self, text: str):
        super().__init__(text)
        self.text = text


class Claim:
    """A claim that is held; a context manager that gives it back."""

    def __init__(self, path: Path, descriptor: int):
        self._path = path
        self._descriptor = descriptor

    def __enter__(self) -> "Claim":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Unlinked while it is still locked: whoever waits for it finds out that it is gone.
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def claim(folder: Path, key: str) -> Claim | None:
    """Claims `key`, or returns None when somebody else holds it.

    Args:
        folder: Where claims are kept; it is made, and anybody may remove it when it is empty.
        key: A short name for a file.

    Raises:
        OSError: The folder cannot be written, or its file system has no locks.
    """
    try:
        return Claim(folder / key, _lock(folder, key, fcntl.LOCK_EX | fcntl.LOCK_NB))
    except BlockingIOError:
        return None


def wait_for(folder: Path, key: str) -> Claim:
    """Claims `key`, as soon as nobody else holds it; else as `claim`."""
    return Claim(folder / key, _lock(folder, key, fcntl.LOCK_EX))


@contextlib.contextmanager
def shared(folder: Path, key: str, text: str) -> Iterator[None]:
    """Shares `key` with all who give the same text, and keeps it from any other use meanwhile.

    The file stays, in nobody's hands, for whoever claims it next.

    Raises:
        TakenError: Others share it, and gave another text.
        OSError: As `claim`.
    """
    descriptor = _share(folder, key, text.encode() + b"\n")
    try:
        yield
    finally:
        os.close(descriptor)


def _share(folder: Path, key: str, content: bytes) -> int:
    while True:
        try:
            descriptor = _lock(folder, key, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            descriptor = _lock(folder, key, fcntl.LOCK_SH)
        else:  # we are alone: what was in it is of the dead
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, content, 0)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        # A lock is given up before it becomes another, and somebody may have been quicker.
        there = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        if there == content and _is_at(descriptor, folder / key):
            return descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if there.endswith(b"\n"):
                raise TakenError(there.decode().removesuffix("\n")) from None
        finally:
            os.close(descriptor)


def _lock(folder: Path, key: str, how: int) -> int:
    """The descriptor of the key's file, locked."""
    path = folder / key
    while True:
        try:
            with contextlib.suppress(FileExistsError):
                folder.mkdir(parents=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # somebody removed the folder in between
            continue
        held = False
        try:
            fcntl.flock(descriptor, how)
            # The file may have been given back, and another made, since it was opened.
            held = _is_at(descriptor, path)
            if held:
                return descriptor
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise OSError(
                    f"{folder}: this file system has no locks ({error.strerror}), which keep "
                    "processes out of each other's way. Mount it with flock, or write elsewhere."
                ) from error
            raise
        finally:
            if not held:
                os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one of this name."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False
