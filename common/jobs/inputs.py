"""Finds items: in a video, a folder, a list, or the records of a data set."""

import os
from collections.abc import Iterable
from pathlib import Path

from common.annotations import Record
from common.flow import stamp
from common.io import listing
from common.jobs import markers
from common.jobs.task import Item
from common.video import image_folders, video_files

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def items(
    path: str | os.PathLike[str],
    annotations: Iterable[Record] | None = None,
    limit: int | None = None,
    output: str | os.PathLike[str] | None = None,
    command: str = "",
    arrays: bool = False,
) -> tuple[Item, ...]:
    """Finds the items of an input, by name; those of a list or of annotations in its order.

    Links are followed; names that begin with a dot are passed over.

    Args:
        path: A video; a folder, searched recursively for videos and for folders of frames (but not
            of stamped flow); a `.txt` list, a path a line, relative to the list's folder, "#"
            before a comment; or, with `annotations`, the folder of the data set.
        annotations: The clips of a data set. A missing file is an item too, so that it fails and
            is counted.
        limit: Takes at most so many, from the beginning.
        output: Where results go; passed over inside a folder that is searched. If it is that folder
            itself, the folders of frames that `command` made there are passed over.
        command: Name of the command.
        arrays: RGB arrays (.npy) in a folder are items, too, but neither features that a command
            has made nor flow (NAME_flow.npy).

    Raises:
        FileNotFoundError: The input does not exist, or has neither videos nor frames, or none of
            the clips of the annotations.
        NotADirectoryError: With annotations, it is a file.
        ValueError: Annotations without a clip.
    """
    path = _existing(path)
    if annotations is not None:
        return _clips(annotations, path)[:limit]
    if path.is_dir():
        found = _in_folder(path, output, command, arrays)
    elif path.suffix.lower() == ".txt":
        found = _listed(path)
    else:
        found = [Item(_name(Path(path.name)), path)]
    if not found:
        frames = "or folders of frames such as image_00001.jpg (flow and the output do not count)"
        suffixes = (*video_files.SUFFIXES, *([".npy"] if arrays else ()))
        raise _nothing("videos", path, (*suffixes, frames))
    return tuple(found[:limit])


def frame_folders(root: str | os.PathLike[str], limit: int | None = None) -> tuple[Item, ...]:
    """The folders under `root` that contain images, by name; or `root` itself.

    Raises:
        FileNotFoundError: There is no such folder, or no image in it.
        NotADirectoryError: It is a file.
    """
    root = _existing(root)
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: expected a folder of frames, got a file.")
    files = video_files.files_under(root)
    folders = {each.parent for each in files if each.suffix.lower() in IMAGE_SUFFIXES}
    if not folders:
        raise _nothing("images", root, IMAGE_SUFFIXES)
    return tuple(_by_name(_folder(each, root) for each in folders)[:limit])


def _clips(annotations: Iterable[Record], root: Path) -> tuple[Item, ...]:
    """The items of a data set's clips, whose videos or extracted frames are under `root`."""
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: expected the folder of the data set, got a file.")
    found = tuple(_item(record, root) for record in annotations)
    if not found:
        raise ValueError(f"the annotations have no clip to look for under {root}.")
    if not any(os.path.exists(item.source) for item in found):
        paths = listing((item.source.relative_to(root).as_posix() for item in found), 3)
        raise FileNotFoundError(
            f"{root} has none of the {len(found):,} clips of the annotations, looked for {paths}. "
            "Name the folder that these, or folders of frames named as the clips, are in."
        )
    return found


def _item(record: Record, root: Path) -> Item:
    source, frames = root / record.path, root / record.name
    # The rate of a video is not that of frames that were extracted from it.
    fps = None if video_files.is_video(record.path) else record.fps or None
    if not os.path.exists(source) and os.path.isdir(frames):
        return Item(record.name, frames, fps=fps)  # extracted from the span alone
    return Item(record.name, source, record.start, record.end, fps)


def _in_folder(
    root: Path, output: str | os.PathLike[str] | None, command: str, arrays: bool
) -> list[Item]:
    """The videos, and the folders of frames. Images beside videos are not frames."""
    same = output is not None and os.path.realpath(output) == os.path.realpath(root)
    files: list[Path] = []
    folders: set[Path] = set()
    others: set[Path] = set()  # folders whose images are not the frames of an item
    for path in video_files.files_under(root, None if same else output):
        if video_files.is_video(path):
            files.append(path)
            others.add(path.parent)
        elif arrays and _is_rgb(path):
            files.append(path)
        elif path.name == stamp.FILE_NAME:
            others.add(path.parent)
        elif image_folders.is_frame(path.name):
            folders.add(path.parent)
    if same:
        others |= {each for each in folders if markers.read(each).get("command") == command}
    videos = [Item(_name(path.relative_to(root)), path) for path in files]
    return _by_name([*videos, *(_folder(path, root) for path in folders - others)])


def _is_rgb(path: Path) -> bool:
    """Whether a file is an RGB array, by its name; arrays of features have markers."""
    if path.suffix.lower() != ".npy" or path.name.endswith("_flow.npy"):
        return False
    return markers.read(path).get("command") in (None, "to_numpy")


def _listed(path: Path) -> list[Item]:
    """The items of a list; those outside its folder are named from their common parent."""
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    lines = [line.strip() for line in text.split("\n")]
    paths = [Path(line) for line in lines if line and not line.startswith("#")]
    outside = {
        each: Path(os.path.abspath(path.parent / each))
        for each in paths
        if each.is_absolute() or ".." in each.parts
    }
    common = os.path.commonpath([each.parent for each in outside.values()]) if outside else ""
    names = [outside[each].relative_to(common) if each in outside else each for each in paths]
    return [Item(_name(name), path.parent / each) for name, each in zip(names, paths, strict=True)]


def _by_name(found: Iterable[Item]) -> list[Item]:
    return sorted(found, key=lambda item: (item.name, item.source))


def _folder(path: Path, root: Path) -> Item:
    name = root.absolute().name if path == root else path.relative_to(root).as_posix()
    return Item(name, path)


def _name(path: Path) -> str:
    """The name for a relative path: without the suffix of a video or array."""
    suffixed = video_files.is_video(path) or path.suffix == ".npy"
    return path.as_posix().removesuffix(path.suffix) if suffixed else path.as_posix()


def _existing(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder. Check the path.")
    return path


def _nothing(what: str, path: Path, suffixes: tuple[str, ...]) -> FileNotFoundError:
    where = "in" if path.is_file() else "under"
    return FileNotFoundError(f"0 {what} found {where} {path}, looked for {', '.join(suffixes)}.")
