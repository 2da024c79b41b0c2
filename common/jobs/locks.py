"""Locks between processes: a file that one process at a time holds.

The kernel releases a lock when its process ends, however it ends, so no lock outlives its holder.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock


@contextlib.contextmanager
def held(path: Path, wait: bool = False) -> Iterator[bool]:
    """Locks the file `path`, then removes it; yields False if somebody else holds it.

    Raises `OSError` for a symbolic link, and where it cannot be created or locked.
    """
    lock = filelock.FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(blocking=wait)
    except filelock.Timeout:
        yield False
        return
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        yield True
    finally:
        # Removed while it is locked: whoever has opened it finds that it has no name any more,
        # and starts over. Windows cannot remove it; it is used again.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
