"""Writes that are all or nothing: a temporary file beside the target, then a rename."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path in the same folder and renames it to `path` at the end.

    When the block raises, the temporary file is removed and `path` is as it was.
    Missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_target(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Refuses a file that could not be written, before the work for it is done.

    Raises:
        FileExistsError: It exists and `overwrite` is false.
        IsADirectoryError: It is a folder.
        PermissionError: Its folder, or the nearest that exists, takes no new files.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file to write.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already and stays as it is; --overwrite replaces it.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written: {folder} takes no new files.")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text` as UTF-8, all or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
