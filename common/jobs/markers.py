"""Markers: what says that a target is done, by which command, of what, with which parameters.

A folder is marked by `.done` inside, a file NAME by `.NAME.done` beside it. A marker has no times
and no paths in it: a tree stays done wherever it is copied. It says how large a file is, and how
many names of which kind are in a folder, so that what is lost is seen, and what others added.
"""

import dataclasses
import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from common.jobs.task import Item, Task
from common.video import image_folders

NAME = ".done"

_MOST_BYTES = 255  # of a file's name, on every usual file system

_EDGE = 2**16  # bytes of a source that are looked at, at its beginning and at its end

_DIGITS = str.maketrans("0123456789", "#" * 10)

# "same": done as it is wanted. "other": made by the command, of another source or with other
# parameters, or files of it are lost. "foreign": not made by the command, or changed since.
Found = Literal["missing", "same", "other", "foreign"]


@dataclasses.dataclass(frozen=True)
class Marker:
    """What a target must have been made of to be done.

    Attributes:
        command: Which command makes it.
        content: Command, parameters, source, span and rate of the item, as JSON.
        hash: SHA-256 of the content.
    """

    command: str
    content: Mapping[str, object]
    hash: str

    def text(self, counts: Mapping[str, int], target: Path) -> str:
        """The marker as it is stored; `target` is the finished thing, wherever it is."""
        folder = target.is_dir()
        size = {"names": _names(target)} if folder else {"bytes": target.stat().st_size}
        return _json({**self.content, "hash": self.hash, "counts": dict(counts), **size}) + "\n"


def wanted(task: Task, item: Item) -> Marker:
    """The marker of an item that is done.

    Raises:
        FileNotFoundError: The item's source is not there.
        OSError: It cannot be read.
        TypeError: The task's parameters are no JSON.
    """
    content: dict[str, object] = {
        "command": task.command,
        "parameters": dict(task.parameters()),
        "source": _source(item.source),
        "span": [item.start, item.end],
    }
    if item.fps is not None:
        content["fps"] = item.fps
    if item.also:
        content["also"] = [_source(path) for path in item.also]
    return Marker(task.command, content, hashlib.sha256(_json(content).encode()).hexdigest())


def find(target: Path, marker: Marker) -> Found:
    """What is there of a target."""
    if not _exists(target):
        return "missing"
    there = read(target)
    if there.get("command") != marker.command:
        return "foreign"
    if target.is_dir():
        if added(target):
            return "foreign"
        if there["names"] != _names(target):
            return "other"
    elif there.get("bytes") != target.stat().st_size:
        return "foreign"
    return "same" if there.get("hash") == marker.hash else "other"


def added(folder: Path) -> list[str]:
    """What is in a folder that its marker knows nothing of: names, their digits as "#"."""
    known = read(folder).get("names", {})
    return sorted(name for name, count in _names(folder).items() if count > known.get(name, 0))


def differences(ours: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    """Where two sets of parameters differ: "params.warps 5 and not 2"."""
    found = []
    for name in sorted({*ours, *theirs}):
        one, other = ours.get(name), theirs.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += [f"{name}.{each}" for each in differences(one, other)]
        elif one != other:
            found.append(f"{name} {_json(one)} and not {_json(other)}")
    return found


def read(target: Path) -> dict[str, Any]:
    """The content of a target's marker; empty where there is none, or none of ours."""
    path = target / NAME if target.is_dir() else beside(target)
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def beside(target: Path) -> Path:
    """Where the marker of a file is."""
    name = f".{target.name}{NAME}"
    if len(os.fsencode(name)) > _MOST_BYTES:
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()}{NAME}"
    return target.with_name(name)


def _source(path: Path) -> dict[str, object]:
    """Name, size and digest of a file; of a folder the number of frames, and its marker's hash.

    The digest is of both ends alone: of a folder, of those of the first and of the last frame.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there is no such file or folder.") from error
    if not stat.S_ISDIR(status.st_mode):
        return {"name": path.name, "bytes": status.st_size, "digest": _digest([path])}
    frames = sorted(filter(image_folders.is_frame, os.listdir(path)))
    ends = dict.fromkeys((*frames[:1], *frames[-1:]))
    return {
        "name": path.name,
        "frames": len(frames),
        "digest": _digest(path / name for name in ends),
        "hash": read(path).get("hash"),
    }


def _digest(paths: Iterable[Path]) -> str:
    """SHA-256 of both ends of files; what is no file, such as a pipe, is not opened."""
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            with path.open("rb") as file:
                digest.update(file.read(_EDGE))
                file.seek(max(file.tell(), os.fstat(file.fileno()).st_size - _EDGE))
                digest.update(file.read(_EDGE))
    return digest.hexdigest()


def _names(folder: Path) -> dict[str, int]:
    """How many names of each kind there are in a folder and below; those with a dot are passed."""
    names: Counter[str] = Counter()
    for path, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        shown = [name for name in files if not name.startswith(".")]
        above = os.path.relpath(path, folder) if path != str(folder) else ""
        for name in (*shown, *(f"{name}/" for name in folders)):
            names[os.path.join(above, name).translate(_DIGITS)] += 1
    return dict(names)


def _exists(path: Path) -> bool:
    """Whether anything is there, a broken link too; `Path.exists` would hide a name too long."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _json(content: object) -> str:
    return json.dumps(content, sort_keys=True, allow_nan=False)
