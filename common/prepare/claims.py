"""Claims: who works on what, among any number of processes on one folder.

A claim is a lock on a file. The kernel releases it when its process ends, however it ends, so
there is no claim without a living owner and nothing to clean up by hand.
"""

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


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
        return _lock(folder, key, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


def wait_for(folder: Path, key: str) -> Claim:
    """Claims `key`, as soon as nobody else holds it; else as `claim`."""
    return _lock(folder, key, fcntl.LOCK_EX)


def _lock(folder: Path, key: str, how: int) -> Claim:
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
            with contextlib.suppress(FileNotFoundError):
                held = os.path.samestat(os.fstat(descriptor), os.stat(path))
            if held:
                return Claim(path, descriptor)
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
