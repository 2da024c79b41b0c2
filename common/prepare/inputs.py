"""What to prepare: items from a video, a folder, a list, or the records of a data set."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from common import image_folders
from common.annotations import Record
from common.prepare.task import Item

VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv",
)  # fmt: skip
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def items(
    path: str | os.PathLike[str],
    annotations: Iterable[Record] | None = None,
    limit: int | None = None,
) -> tuple[Item, ...]:
    """Finds what to prepare.

    Args:
        path: A video; a folder, searched with all in it for files that end as videos do and for
            folders of frames, by name; a `.txt` list, a path a line, relative to the list's folder,
            "#" before a comment; or, with `annotations`, the folder of the data set. Links are
            followed. Names that begin with a dot are passed over.
        annotations: The clips of a data set, in their order. A file that is not there is an item
            too, which fails when its turn comes: what is missing is counted.
        limit: Takes so many, from the beginning.

    Raises:
        FileNotFoundError: There is no such file or folder, or neither videos nor frames in it.
        NotADirectoryError: With annotations, it is a file.
        ValueError: A limit below 1, or annotations without a clip.
    """
    path = _existing(path, limit)
    if annotations is not None:
        if not path.is_dir():
            raise NotADirectoryError(f"{path}: expected the folder of the data set, got a file.")
        found = items_of(annotations, path)
    elif path.is_dir():
        found = _in_folder(path)
    elif path.suffix.lower() == ".txt":
        found = _listed(path)
    else:
        found = (Item(_name(Path(path.name)), path),)
    if not found:
        suffixes = (*VIDEO_SUFFIXES, "or folders of frames such as image_00001.jpg")
        raise _nothing("videos", path, suffixes)
    return found[:limit]


def items_of(annotations: Iterable[Record], root: Path) -> tuple[Item, ...]:
    """The items of a data set's clips, whose files, or extracted frames, are under `root`.

    Raises:
        ValueError: There is no clip.
    """
    found = tuple(_item(record, root) for record in annotations)
    if not found:
        raise ValueError(f"the annotations have no clip to look for under {root}.")
    return found


def frame_folders(root: str | os.PathLike[str], limit: int | None = None) -> tuple[Item, ...]:
    """The folders under `root` that have images in them, by name; or `root` itself.

    Raises:
        FileNotFoundError: There is no such folder, or no image in it.
        NotADirectoryError: It is a file.
        ValueError: A limit below 1.
    """
    root = _existing(root, limit)
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: expected a folder of frames, got a file.")
    images = (each for each in _files(root) if each.suffix.lower() in IMAGE_SUFFIXES)
    folders = dict.fromkeys(each.parent for each in images)
    if not folders:
        raise _nothing("images", root, IMAGE_SUFFIXES)
    return _by_name(Item(_folder_name(each, root), each) for each in folders)[:limit]


def _item(record: Record, root: Path) -> Item:
    source, frames = root / record.path, root / record.name
    if not os.path.exists(source) and os.path.isdir(frames):
        return Item(record.name, frames)  # of the clip alone: its span is all there is
    return Item(record.name, source, record.start, record.end)


def _in_folder(root: Path) -> tuple[Item, ...]:
    """The videos, and the folders of frames. Images beside videos are pictures of them."""
    videos: list[Path] = []
    folders: dict[Path, None] = {}
    for path in _files(root):
        if path.suffix.lower() in VIDEO_SUFFIXES:
            videos.append(path)
        elif image_folders.is_frame(path.name):
            folders[path.parent] = None
    for path in videos:
        folders.pop(path.parent, None)
    return _by_name(
        (
            *(Item(_name(path.relative_to(root)), path) for path in videos),
            *(Item(_folder_name(path, root), path) for path in folders),
        )
    )


def _by_name(found: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(sorted(found, key=lambda item: (item.name, item.source)))


def _folder_name(path: Path, root: Path) -> str:
    return root.absolute().name if path == root else path.relative_to(root).as_posix()


def _listed(path: Path) -> tuple[Item, ...]:
    """The items of a list; a path that leads out of the list's folder is named by its last part."""
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    lines = [line.strip() for line in text.split("\n")]
    paths = [Path(line) for line in lines if line and not line.startswith("#")]
    return tuple(
        Item(
            _name(Path(each.name) if each.is_absolute() or ".." in each.parts else each),
            path.parent / each,
        )
        for each in paths
    )


def _files(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """The files in a folder and below; a link to a folder it is in leads nowhere new."""
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
            yield from _files(path, (*above, real))
        else:
            yield path


def _name(path: Path) -> str:
    """A name of a relative path: without the suffix of a video; other dots belong to the name."""
    text = path.as_posix()
    return text[: -len(path.suffix)] if path.suffix.lower() in VIDEO_SUFFIXES else text


def _existing(path: str | os.PathLike[str], limit: int | None) -> Path:
    if limit is not None and limit < 1:
        raise ValueError(f"a limit must be at least 1, or None for all. Received: {limit}.")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder. Check the path.")
    return path


def _nothing(what: str, path: Path, suffixes: tuple[str, ...]) -> FileNotFoundError:
    where = "in" if path.is_file() else "under"
    return FileNotFoundError(f"0 {what} found {where} {path}, looked for {', '.join(suffixes)}.")
