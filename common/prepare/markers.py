"""Markers: what says that a target is done, by which command, of what, with which parameters.

A folder is marked by `.done` inside, a file NAME by `.NAME.done` beside it. A marker has no times
and no paths in it: a tree stays done wherever it is copied.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from common.prepare.task import Item, Task

NAME = ".done"

_MOST_BYTES = 255  # of a file's name, on every usual file system

# "same": done as it is wanted. "other": made by the command, of another source or with other
# parameters. "foreign": not made by the command, or changed since.
Found = Literal["missing", "same", "other", "foreign"]


@dataclasses.dataclass(frozen=True)
class Marker:
    """What a target must have been made of to be done.

    Attributes:
        command: Which command makes it.
        content: Command, parameters, source and span of the item, as JSON.
        hash: SHA-256 of the content.
    """

    command: str
    content: Mapping[str, object]
    hash: str

    def text(self, counts: Mapping[str, int], target: Path) -> str:
        """The marker as it is stored; `target` is the finished thing, wherever it is."""
        size = {} if target.is_dir() else {"bytes": target.stat().st_size}
        return _json({**self.content, "hash": self.hash, "counts": dict(counts), **size}) + "\n"


def wanted(task: Task, item: Item) -> Marker:
    """The marker of an item that is done.

    Raises:
        FileNotFoundError: The item's source is not there.
        TypeError: The task's parameters are no JSON.
    """
    content = {
        "command": task.command,
        "parameters": dict(task.parameters()),
        "source": _source(item.source),
        "span": [item.start, item.end],
    }
    return Marker(task.command, content, hashlib.sha256(_json(content).encode()).hexdigest())


def find(target: Path, marker: Marker) -> Found:
    """What is there of a target."""
    if not _exists(target):
        return "missing"
    there = read(target)
    if there.get("command") != marker.command:
        return "foreign"
    if not target.is_dir() and there.get("bytes") != target.stat().st_size:
        return "foreign"
    return "same" if there.get("hash") == marker.hash else "other"


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
    """Name and size of a file; of a folder the number of entries, and its marker's hash."""
    try:
        if not path.is_dir():
            return {"name": path.name, "bytes": path.stat().st_size}
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there is no such file or folder.") from error
    entries = sum(not name.startswith(".") for name in os.listdir(path))
    return {"name": path.name, "entries": entries, "hash": read(path).get("hash")}


def _exists(path: Path) -> bool:
    """Whether anything is there, a broken link too; `Path.exists` would hide a name too long."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _json(content: object) -> str:
    return json.dumps(content, sort_keys=True, allow_nan=False)
