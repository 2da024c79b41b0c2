"""Locks between processes: a file that one process at a time holds.

The kernel releases a lock when its process ends, however it ends, so no lock outlives its holder.
"""

import contextlib
import errno
from pathlib import Path

import filelock

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Lock(contextlib.AbstractContextManager["Lock"]):
    """A lock that is held; a context manager that releases it and removes its file."""

    def __init__(self, lock: filelock.BaseFileLock):
        self._lock = lock

    def __exit__(self, *error: object) -> None:
        # Removed while it is locked: whoever has opened it finds that it has no name any more,
        # and starts over. Windows cannot remove it; it is used again.
        with contextlib.suppress(OSError):
            Path(self._lock.lock_file).unlink()
        self._lock.release()


def acquire(path: Path, wait: bool = False) -> Lock | None:
    """Locks the file `path`, creating it; None if somebody else holds it and `wait` is false.

    Raises:
        OSError: It is a symbolic link, it cannot be created, or the file system has no locks.
    """
    lock = filelock.FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(blocking=wait)
    except filelock.Timeout:
        return None
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            raise OSError(
                f"{path.parent}: this file system has no locks ({error.strerror}), which keep "
                "processes out of each other's way. Mount it with flock, or write elsewhere."
            ) from error
        raise
    return Lock(lock)
