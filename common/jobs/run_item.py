"""Makes one item: plans it, locks it, makes it apart from its targets, and renames it into place.

Two names in the output folder belong to an item while it is made; a run removes nothing else:

    .i3d-KEY.lock    held by the process that makes the item
    .i3d-KEY.tmp     a folder with the unfinished targets, and with those they replace

KEY is a hash of the command and of the item's name. A killed process releases its lock, and the
next run removes its files. A symbolic link of such a name is never followed.
"""

import contextlib
import dataclasses
import errno
import hashlib
import os
import re
import shutil
import stat
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Literal

from common.io import sync
from common.jobs import locks, markers
from common.jobs.locks import Lock
from common.jobs.task import Item, Task

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LEFTOVER = re.compile(r"\.i3d-([0-9a-f]{32})\.(lock|tmp)")
_SYNCS = 16  # files synced at a time: the file system then commits them together


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of an item.

    Attributes:
        name: The item's.
        state: "replaced" is done where something else was; "locked" is with another process.
        counts: What the task counted, now or when it was done.
        error: The error's class, if it failed.
        reason: The error's text.
    """

    name: str
    state: Literal["done", "replaced", "skipped", "locked", "failed"]
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    error: str = ""
    reason: str = ""


def plan(item: Item, *, task: Task, output: Path, overwrite: bool) -> Outcome:
    """Returns what `run_item` would do; writes nothing."""
    try:
        return _plan(item, task, output, overwrite)
    except Exception as error:
        return _failure(item, error)


def run_item(
    item: Item, *, task: Task, output: Path, overwrite: bool, wait: bool = False
) -> Outcome:
    """Makes an item unless it is done, or another process is making it.

    Args:
        item: The item.
        task: What makes it.
        output: The folder of the targets.
        overwrite: Replace targets that the task has not made.
        wait: Wait for another process that is making it, and then look again.

    Raises:
        OSError: The disk is full (ENOSPC), or locks are impossible.
        ImportError: The task needs something that is not installed.
    """
    outcome = plan(item, task=task, output=output, overwrite=overwrite)
    if outcome.state == "skipped":
        return outcome
    name = key(task.command, item.name)
    held = lock(output, name, wait)
    if held is None:
        return Outcome(item.name, "locked")
    with held:
        try:
            # Again: another process may have finished it a moment ago.
            outcome = _plan(item, task, output, overwrite)
            if outcome.state == "skipped":
                return outcome
            with workspace(output, name) as folder:
                counts = _make(item, task, output, overwrite, folder)
        except ImportError:
            raise
        except Exception as error:
            if _is_full(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(output)) from error
            return _failure(item, error)
    return dataclasses.replace(outcome, counts=counts)


def sweep(output: Path) -> None:
    """Removes what killed processes left in the output folder."""
    matches = [found for name in os.listdir(output) if (found := _LEFTOVER.fullmatch(name))]
    for name in {match[1] for match in matches}:
        with contextlib.suppress(OSError):  # a link: not ours
            if held := lock(output, name):
                with held:
                    _discard(output / f".i3d-{name}.tmp")


def key(*names: str) -> str:
    """A short file name that stands for these names, whatever is in them."""
    return hashlib.sha256(os.fsencode("\0".join(names))).hexdigest()[:32]


def lock(output: Path, name: str, wait: bool = False) -> Lock | None:
    """The lock of a `key`; None if another process holds it."""
    return locks.acquire(output / f".i3d-{name}.lock", wait)


@contextlib.contextmanager
def workspace(output: Path, name: str) -> Iterator[Path]:
    """An empty folder for the holder of the lock of a `key`; removed afterwards.

    Raises:
        FileExistsError: Something that no run has made has the folder's name.
    """
    folder = output / f".i3d-{name}.tmp"
    _discard(folder)
    try:
        folder.mkdir()
    except FileExistsError:
        raise FileExistsError(
            f"{folder} is in the way, and no run has made it: expected a folder, or nothing. "
            "Remove it."
        ) from None
    try:
        yield folder
    finally:
        _discard(folder)


def _discard(folder: Path) -> None:
    """Removes a temporary folder; a file, or a link to a folder, is not ours and stays."""
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(os.lstat(folder).st_mode):
            shutil.rmtree(folder, ignore_errors=True)


def _plan(item: Item, task: Task, output: Path, overwrite: bool) -> Outcome:
    marker = markers.wanted(task, item)
    targets = [output / target for target in task.targets(item)]
    for target in targets:
        # A target inside another command's would be lost when that is made again.
        for parent in target.parents[: len(target.relative_to(output).parts)]:
            if maker := markers.read(parent).get("command"):
                raise FileExistsError(
                    f"{target} would be inside {parent}, which {maker} has made, and "
                    f"be lost when that is made again. Choose another --output for {task.command}."
                )
    found = {_found(target, marker, overwrite) for target in targets}
    if found == {"same"}:
        return Outcome(item.name, "skipped", markers.read(targets[0]).get("counts", {}))
    return Outcome(item.name, "replaced" if found & {"other", "foreign"} else "done")


def _found(target: Path, marker: markers.Marker, overwrite: bool) -> markers.Found:
    """What is there of a target; raises `FileExistsError` if it must not be replaced."""
    found, why = markers.find(target, marker)
    if found == "foreign" and not overwrite:
        raise FileExistsError(
            f"{target} exists and was not made by {marker['command']}, or was changed since "
            f"({why}); it stays as it is. --overwrite replaces it."
        )
    return found


def _make(item: Item, task: Task, output: Path, overwrite: bool, folder: Path) -> Mapping[str, int]:
    """Makes the targets in `folder`, then renames them into place."""
    marker = markers.wanted(task, item)
    targets = task.targets(item)
    temporary = []
    for k, target in enumerate(targets):
        (folder / str(k)).mkdir()
        # Short, so that a task may append to a name that is as long as names may be.
        temporary.append(folder / str(k) / f"target{PurePosixPath(target).suffix}")
    counts = dict(task.make(item, tuple(temporary)))
    marks = []
    for path, target in zip(temporary, targets, strict=True):
        if not path.exists():
            raise RuntimeError(f"{task.command} made no {target}")
        marks.append((path if path.is_dir() else path.parent) / markers.NAME)
        marks[-1].write_text(markers.text(marker, counts, path), encoding="ascii")
    # No rename may outlive the content in a power cut.
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    with ThreadPoolExecutor(_SYNCS) as pool:
        list(pool.map(sync, files))
    for path, mark, target in zip(temporary, marks, targets, strict=True):
        place = output / target
        place.parent.mkdir(parents=True, exist_ok=True)
        if _found(place, marker, overwrite) != "missing":
            os.rename(place, path.with_name("old"))
        if not path.is_dir():  # the marker first: a file without one counts as somebody else's
            os.replace(mark, markers.beside(place))
        os.rename(path, place)
    return counts


def _failure(item: Item, error: Exception) -> Outcome:
    """The outcome of an item that raised `error`; a bug is named with its line."""
    reason, kind = str(error), type(error).__name__
    if not reason or not isinstance(error, (ValueError, OSError)):
        frames = traceback.extract_tb(error.__traceback__)
        last = [frame for frame in frames if "site-packages" not in frame.filename][-1]
        at = f"{Path(last.filename).name}:{last.lineno}"
        reason = f"{kind}: {reason or 'no text'} ({at})"
    return Outcome(item.name, "failed", error=kind, reason=reason)


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False
