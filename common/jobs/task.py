"""Items, the task that makes something of each, and the markers of what is done.

A finished folder has its marker inside, `.done`; a finished file NAME has `.NAME.done` beside it.
A marker holds a hash of everything that the result depends on, and the size of each file. It
contains no times and no paths: a tree stays done wherever it is copied.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from common.video import layouts, video_files

_EDGE = 2**16  # bytes of a source that are hashed, at its beginning and at its end


@dataclasses.dataclass(frozen=True)
class Item:
    """A clip to work on."""

    name: str  # relative path of its results, parts separated by "/", no suffix; unique in a run
    source: Path  # a video file, or a folder
    start: float | None = None  # of the clip in the source, seconds
    end: float | None = None
    fps: float | None = None  # frames a second of a folder, if its annotation says so
    also: tuple[Path, ...] = ()  # other files that its results depend on


class Task(Protocol):
    """Makes something of items; a frozen dataclass, which is pickled to worker processes."""

    @property
    def command(self) -> str: ...

    def parameters(self) -> Mapping[str, object]:
        """Everything that changes the result, as JSON."""

    def targets(self, item: Item) -> Sequence[str]:
        """Files and folders made of an item, at least one, relative to the output."""

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        """Makes the targets at the paths of `temporary`, the same bytes each time.

        Returns counts for the summary: {"frames": 250}. A `ValueError` or `OSError` says why the
        item cannot be made; a full disk and an `ImportError` end the run.
        """


def marker(task: Task, item: Item) -> dict[str, Any]:
    """The marker of an item that is done, but for counts and sizes; `OSError` without a source."""
    content = {
        "command": task.command,
        "parameters": dict(task.parameters()),
        "source": _source(item.source),
        "span": [item.start, item.end],
        "fps": item.fps,
        "also": [_source(path) for path in item.also],
    }
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return {**content, "hash": hashlib.sha256(text.encode()).hexdigest()}


def write_marker(target: Path, content: Mapping[str, Any], counts: Mapping[str, int]) -> None:
    finished = {**content, "counts": dict(counts), "files": _sizes(target)}
    marker_path(target).write_text(json.dumps(finished, sort_keys=True) + "\n", encoding="ascii")


def read_marker(target: Path) -> dict[str, Any]:
    """The content of a target's marker; empty if it has none, or none that is well formed."""
    path = marker_path(target)
    try:
        content = json.loads(path.read_bytes()) if path.is_file() else {}
        fields = [content.get(name, {}) for name in ("parameters", "counts", "files")]
    except (OSError, ValueError, RecursionError, AttributeError):
        return {}
    return content if all(isinstance(field, dict) for field in fields) else {}


def marker_path(target: Path) -> Path:
    """The path of the marker of a file, or of a folder that is there."""
    return target / ".done" if target.is_dir() else target.with_name(f".{target.name}.done")


def noted(folder: Path) -> dict[str, Any]:
    """The parameters that `extract_frames` made a folder with; empty for other folders."""
    there = read_marker(folder)
    return there.get("parameters", {}) if there.get("command") == "extract_frames" else {}


def state(
    target: Path, wanted: Mapping[str, Any], overwrite: bool
) -> Literal["missing", "same", "other"]:
    """Compares a target with the marker it should have; `FileExistsError` if it must stay."""
    if not os.path.lexists(target):
        return "missing"
    there = read_marker(target)
    then, now = there.get("files", {}), _sizes(target)
    changed = now.keys() - then.keys() or (now != then and not target.is_dir())
    if (changed or there.get("command") != wanted["command"]) and not overwrite:
        raise FileExistsError(
            f"{target} exists and was not made by {wanted['command']}, or was changed since; it "
            "stays as it is. --overwrite replaces it."
        )
    return "same" if there.get("hash") == wanted["hash"] and now == then else "other"


def _source(path: Path) -> dict[str, object]:
    """Name, size and digest of both ends of a file, or of a folder's first and last frame."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder.")
    ends: list[Path] = [path]
    size: dict[str, object] = {"bytes": path.stat().st_size}
    if path.is_dir():
        frames = sorted(filter(video_files.is_frame, os.listdir(path)))
        ends = [path / name for name in dict.fromkeys((*frames[:1], *frames[-1:]))]
        size = {"frames": len(frames), "hash": read_marker(path).get("hash")}
    digest = hashlib.sha256()
    for end in filter(Path.is_file, ends):  # a pipe is not opened
        with end.open("rb") as file:
            digest.update(file.read(_EDGE))
            file.seek(max(file.tell(), os.fstat(file.fileno()).st_size - _EDGE))
            digest.update(file.read(_EDGE))
    return {"name": path.name, **size, "digest": digest.hexdigest()}


def _sizes(target: Path) -> dict[str, int]:
    """Bytes of each file of a target by its path in there, hidden ones aside."""
    if not target.is_dir():
        return {"": target.lstat().st_size}
    sizes = {}
    for path in target.rglob("*"):
        name = path.relative_to(target)
        if not any(part.startswith(".") for part in name.parts):
            # `count_frames` may write `n_frames` anew.
            uncounted = path.is_dir() or path.name == layouts.N_FRAMES
            sizes[name.as_posix()] = 0 if uncounted else path.lstat().st_size
    return sizes
