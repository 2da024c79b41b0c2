"""Markers: files that say that a target is done, by which command, of which source and parameters.

A folder has its marker inside, `.done`; a file NAME has it beside itself, `.NAME.done`. Markers
contain no times and no paths, so a tree stays done wherever it is copied. They do contain the size
of each file, so that lost and truncated files are found, and files that others have added.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from common.io import listing
from common.jobs.task import Item, Task
from common.video import image_folders, layouts

NAME = ".done"

_MOST_BYTES = 255  # of a file's name, on every usual file system
_EDGE = 2**16  # bytes of a source that are hashed, at its beginning and at its end
_OBJECTS = ("parameters", "counts", "files")  # fields that are JSON objects

Marker = dict[str, Any]
"""Command, parameters, source, span and rate of an item, and the SHA-256 of all this as JSON."""

Found = Literal["missing", "same", "other", "foreign"]
"""What is there of a target.

"same": it is done as wanted. "other": the command made it of another source or with other
parameters, or files of it are lost or truncated. "foreign": the command did not make it, or it was
changed since.
"""


def wanted(task: Task, item: Item) -> Marker:
    """The marker of an item that is done, but for its counts and sizes.

    Raises:
        OSError: The item's source does not exist, or cannot be read.
        TypeError: The task's parameters are not JSON.
    """
    marker: Marker = {
        "command": task.command,
        "parameters": dict(task.parameters()),
        "source": _source(item.source),
        "span": [item.start, item.end],
    }
    if item.fps is not None:
        marker["fps"] = item.fps
    if item.also:
        marker["also"] = [_source(path) for path in item.also]
    return {**marker, "hash": hashlib.sha256(_json(marker).encode()).hexdigest()}


def text(marker: Marker, counts: Mapping[str, int], target: Path) -> str:
    """The content of a marker's file for a finished target, wherever that is now."""
    size = {"files": _sizes(target)} if target.is_dir() else {"bytes": target.stat().st_size}
    return _json({**marker, "counts": dict(counts), **size}) + "\n"


def find(target: Path, marker: Marker) -> tuple[Found, str]:
    """Compares a target with the marker it should have; says why it is foreign."""
    try:
        target.lstat()  # finds a broken link, too
    except (FileNotFoundError, NotADirectoryError):
        return "missing", ""
    there = read(target)
    maker, right = there.get("command"), there.get("hash") == marker["hash"]
    if maker != marker["command"]:
        return "foreign", f"was made by {maker}" if maker else "has no marker of it"
    if not target.is_dir():
        if there.get("bytes") != target.stat().st_size:
            return "foreign", "has another size"
    elif "files" not in there:  # of an earlier version, which did not note them
        if not right:
            return "foreign", "its marker does not say what is in it"
    else:
        sizes = _sizes(target)
        if added := sizes.keys() - there["files"].keys():
            return "foreign", f"holds more than it made: {listing(sorted(added))}"
        right = right and sizes == there["files"]
    return "same" if right else "other", ""


def read(target: Path) -> dict[str, Any]:
    """The content of a target's marker; empty if it has none, or none that is well formed."""
    path = target / NAME if target.is_dir() else beside(target)
    try:
        content = json.loads(path.read_bytes()) if path.is_file() else {}
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return content if all(isinstance(content.get(name, {}), dict) for name in _OBJECTS) else {}


def beside(target: Path) -> Path:
    """The path of a file's marker."""
    name = f".{target.name}{NAME}"
    if len(os.fsencode(name)) > _MOST_BYTES:
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()}{NAME}"
    return target.with_name(name)


def _source(path: Path) -> dict[str, object]:
    """Name, size and digest of a file; of a folder the number of frames, and its marker's hash.

    The digest is of both ends of the file, or of the folder's first and last frame.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file or folder.") from None
    if not path.is_dir():
        return {"name": path.name, "bytes": size, "digest": _digest([path])}
    frames = sorted(filter(image_folders.is_frame, os.listdir(path)))
    ends = dict.fromkeys((*frames[:1], *frames[-1:]))
    return {
        "name": path.name,
        "frames": len(frames),
        "digest": _digest(path / name for name in ends),
        "hash": read(path).get("hash"),
    }


def _digest(paths: Iterable[Path]) -> str:
    """SHA-256 of both ends of files; anything else, such as a pipe, is not opened."""
    digest = hashlib.sha256()
    for path in filter(Path.is_file, paths):
        with path.open("rb") as file:
            digest.update(file.read(_EDGE))
            file.seek(max(file.tell(), os.fstat(file.fileno()).st_size - _EDGE))
            digest.update(file.read(_EDGE))
    return digest.hexdigest()


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file in a folder and below, hidden ones aside.

    They are 0 for folders ("u/"), and for `n_frames`, which `count_frames` may write anew.
    """
    sizes: dict[str, int] = {}
    for path, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        above = os.path.relpath(path, folder) if path != str(folder) else ""
        sizes |= {os.path.join(above, name, ""): 0 for name in folders}
        for name in files:
            if not name.startswith("."):
                size = 0 if name == layouts.N_FRAMES else os.lstat(os.path.join(path, name)).st_size
                sizes[os.path.join(above, name)] = size
    return sizes


def _json(content: object) -> str:
    return json.dumps(content, sort_keys=True, allow_nan=False)
