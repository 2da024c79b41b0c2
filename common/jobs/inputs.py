"""Finds items: in a video, a folder, a list, or the records of a data set."""

import os
from collections.abc import Iterable
from pathlib import Path

from common.annotations import Record
from common.flow import stamp
from common.io import listing
from common.jobs.task import Item, read_marker
from common.video import video_files


def items(
    path: str | os.PathLike[str],
    annotations: Iterable[Record] | None = None,
    limit: int | None = None,
    output: str | os.PathLike[str] | None = None,
    command: str = "",
    arrays: bool = False,
) -> tuple[Item, ...]:
    """Finds the items of an input, by name; those of a list or of annotations in its order.

    `path` is a video; a folder, searched recursively for videos, folders of frames (but not of
    stamped flow) and, with `arrays`, RGB arrays (.npy); a `.txt` list, a path a line, relative to
    the list's folder, "#" before a comment; or, with `annotations`, the folder of the data set: a
    clip whose file is missing is an item, too. Links are followed, and names that begin with a dot
    passed over; so is `output` inside a folder that is searched or, if it is that folder itself,
    the folders of frames that the command `command` made there. The first `limit` items are taken.

    Raises `FileNotFoundError` if there is no such input, nothing in it, or none of the clips, and
    with annotations `NotADirectoryError` for a file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder. Check the path.")
    if annotations is not None:
        found = _clips(annotations, path)
    elif path.is_dir():
        found = _in_folder(path, output, command, arrays)
    elif path.suffix.lower() == ".txt":
        found = _listed(path)
    else:
        found = [Item(_name(Path(path.name)), path)]
    if not found:
        suffixes = ", ".join((*video_files.SUFFIXES, *([".npy"] if arrays else ())))
        raise FileNotFoundError(
            f"0 videos found {'in' if path.is_file() else 'under'} {path}, looked for {suffixes}, "
            "or folders of frames such as image_00001.jpg (flow and the output do not count)."
        )
    return tuple(found[:limit])


def _clips(annotations: Iterable[Record], root: Path) -> list[Item]:
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: expected the folder of the data set, got a file.")
    found = [_clip(record, root) for record in annotations]
    if not found:
        raise ValueError("the annotations have no clip, or none with a labelled span for --spans.")
    if not any(os.path.exists(item.source) for item in found):
        paths = listing((item.source.relative_to(root).as_posix() for item in found), 3)
        raise FileNotFoundError(
            f"{root} has none of the {len(found):,} clips of the annotations, looked for {paths}."
        )
    return found


def _clip(record: Record, root: Path) -> Item:
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
    found, folders = list[Item](), set[Path]()
    others = set[Path]()  # folders whose images are not the frames of an item
    for path in video_files.files_under(root, None if same else output):
        if is_video := video_files.is_video(path):
            others.add(path.parent)
        if is_video or (arrays and _is_rgb(path)):
            found.append(Item(_name(path.relative_to(root)), path))
        elif path.name == stamp.FILE_NAME:
            others.add(path.parent)
        elif video_files.is_frame(path.name):
            folders.add(path.parent)
    for path in folders - others:
        if not (same and read_marker(path).get("command") == command):
            name = root.absolute().name if path == root else path.relative_to(root).as_posix()
            found.append(Item(name, path))
    return sorted(found, key=lambda item: (item.name, item.source))


def _is_rgb(path: Path) -> bool:
    """Whether a file is an RGB array, by its name; arrays of features have markers."""
    if path.suffix.lower() != ".npy" or path.name.endswith("_flow.npy"):
        return False
    return read_marker(path).get("command") in (None, "to_numpy")


def _listed(path: Path) -> list[Item]:
    """The items of a list; those outside its folder are named from their common parent."""
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    lines = [line.strip() for line in text.split("\n")]
    root = Path(os.path.abspath(path.parent))
    sources = [Path(os.path.abspath(root / line)) for line in lines if line[:1] not in ("", "#")]
    outside = [each.parent for each in sources if not each.is_relative_to(root)]
    common = os.path.commonpath(outside) if outside else root
    return [
        Item(_name(each.relative_to(root if each.is_relative_to(root) else common)), each)
        for each in sources
    ]


def _name(path: Path) -> str:
    """The name for a relative path: without the suffix of a video or array."""
    suffixed = video_files.is_video(path) or path.suffix == ".npy"
    return path.as_posix().removesuffix(path.suffix) if suffixed else path.as_posix()
