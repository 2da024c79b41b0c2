"""Which files are videos, and the files under a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = (
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv",
)  # fmt: skip


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file is called as videos are, in any case."""
    return os.path.splitext(path)[1].lower() in SUFFIXES


def files_under(
    folder: Path, skip: str | os.PathLike[str] | None = None, above: tuple[str, ...] = ()
) -> Iterator[Path]:
    """Yields the files in a folder and below, sorted in each, but for names that begin with a dot.

    Links are followed; one to a folder it is in leads nowhere new. The folder `skip` is passed
    over. `above` holds the real paths of the folders this one is in, and of `skip`.
    """
    if skip is not None:
        above = (*above, os.path.realpath(skip))
    real = os.path.realpath(folder)
    if real in above:
        return
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        # Only of a link a file system has to be asked what it is, and it may lead to itself.
        if path.is_dir() if entry.is_symlink() else entry.is_dir():
            yield from files_under(path, above=(*above, real))
        else:
            yield path
