"""Makes one item: is it done, claim it, make it apart, move it into place.

All of it happens in one process, which holds the claim: when that process is killed, the claim is
free and nothing writes any more. What it left is thrown away by whoever claims the item next, or
by `sweep`. (A power cut is another matter: nothing here waits for the disk.)
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import secrets
import shutil
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

from common.io import listing
from common.jobs import claims, markers
from common.jobs.task import Item, Task

CLAIMS = ".claims"
WORK = ".work"

# What no other item would fare better with.
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of an item.

    Attributes:
        name: The item's.
        state: "replaced" is done where something else was; "elsewhere" is in the hands of another
            process.
        counts: What the task counted, now or when it was done.
        error: Class of the error, of a failed item.
        reason: Its text.
    """

    name: str
    state: Literal["done", "replaced", "skipped", "elsewhere", "failed"]
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    error: str = ""
    reason: str = ""


def key(*names: str) -> str:
    """A short file name that stands for these names, whatever is in them."""
    return hashlib.sha256(os.fsencode("\0".join(names))).hexdigest()[:32]


def foresee(item: Item, *, task: Task, output: Path, overwrite: bool) -> Outcome:
    """What `make` would do; touches nothing."""
    try:
        return _foresee(item, task, output, overwrite)
    except Exception as error:
        return failure(item, error)


def make(item: Item, *, task: Task, output: Path, overwrite: bool) -> Outcome:
    """Makes an item, unless it is done or somebody else is at it.

    Raises:
        OSError: There can be no claims, or the disk is full.
        ImportError: The task needs something that is not installed.
    """
    first = foresee(item, task=task, output=output, overwrite=overwrite)
    if first.state == "skipped":
        return first
    name = key(task.command, item.name)
    held = claims.claim(output / CLAIMS, name)
    if held is None:
        return Outcome(item.name, "elsewhere")
    with held:
        try:
            # Again: somebody may have done it, and given the claim back, a moment ago.
            outcome = _foresee(item, task, output, overwrite)
            if outcome.state == "skipped":
                return outcome
            with workspace(output, name) as folder:
                counts = _make(item, task, output, overwrite, folder)
        except ImportError:
            raise
        except Exception as error:
            if _is_full(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(output)) from error
            return failure(item, error)
    return dataclasses.replace(outcome, counts=counts)


def is_free(item: Item, task: Task, output: Path) -> bool:
    """Whether nobody is at an item at this moment."""
    held = claims.claim(output / CLAIMS, key(task.command, item.name))
    if held is None:
        return False
    with held:
        return True


def failure(item: Item, error: Exception) -> Outcome:
    """The outcome of an item that raised `error`; a bug is named with its place."""
    reason, kind = str(error), type(error).__name__
    if not reason or not isinstance(error, (ValueError, OSError)):
        place = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in place if "site-packages" not in frame.filename] or place
        where = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
        reason = f"{kind}: {reason or 'no text'}{where}"
    return Outcome(item.name, "failed", error=kind, reason=reason)


@contextlib.contextmanager
def together(task: Task, output: Path) -> Iterator[None]:
    """Keeps runs with other parameters out, which would make anew what this one has made.

    Raises:
        ValueError: One is at work; the text says in what it differs.
    """
    ours = json.dumps(dict(task.parameters()), sort_keys=True)
    try:
        with claims.shared(output / CLAIMS, f"run-{task.command}", ours):
            yield
    except claims.TakenError as taken:
        how = markers.differences(json.loads(ours), json.loads(taken.text))
        raise ValueError(
            f"{output}: another {task.command} is at work on it, with other parameters: this one "
            f"has {'; '.join(how)}. Wait for its end, give both the same, or choose another "
            "--output."
        ) from None


def sweep(output: Path) -> None:
    """Removes what killed processes left; what is claimed stays."""
    names = set()
    for folder in (WORK, CLAIMS):
        with contextlib.suppress(FileNotFoundError):
            entries = os.listdir(output / folder)
            names |= {each if folder == CLAIMS else each.partition("-")[0] for each in entries}
    for name in names:
        held = claims.claim(output / CLAIMS, name)
        if held is not None:
            with held:
                _discard(output, name)
    for folder in (WORK, CLAIMS):
        with contextlib.suppress(OSError):  # missing, or not empty: others are at work
            (output / folder).rmdir()


def _foresee(item: Item, task: Task, output: Path, overwrite: bool) -> Outcome:
    marker = markers.wanted(task, item)
    targets = [output / target for target in task.targets(item)]
    for target in targets:
        _check_parents(target, task, output)
    found = [markers.find(target, marker) for target in targets]
    if all(each == "same" for each in found):
        return Outcome(item.name, "skipped", markers.read(targets[0]).get("counts", {}))
    for target, each in zip(targets, found, strict=True):
        if each == "foreign" and not overwrite:
            raise _foreign(target, task)
    replaces = any(each in ("other", "foreign") for each in found)
    return Outcome(item.name, "replaced" if replaces else "done")


def _make(item: Item, task: Task, output: Path, overwrite: bool, folder: Path) -> Mapping[str, int]:
    """Makes the targets in `folder` and moves them into place."""
    marker = markers.wanted(task, item)
    targets = task.targets(item)
    temporary = []
    for k, target in enumerate(targets):
        (folder / str(k)).mkdir()
        temporary.append(folder / str(k) / PurePosixPath(target).name)
    counts = dict(task.make(item, tuple(temporary)))
    for path, target in zip(temporary, targets, strict=True):
        if not path.exists():
            raise RuntimeError(f"{task.command} made no {target}")
    for path, target in zip(temporary, targets, strict=True):
        text = marker.text(counts, path)
        found = markers.find(output / target, marker)
        if found == "same":  # kept, should the locks ever let two through: the bytes are the same
            continue
        if found == "foreign" and not overwrite:
            raise _foreign(output / target, task)
        if found != "missing":
            os.rename(output / target, path.parent.with_name(f"{path.parent.name}.old"))
        (output / target).parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            (path / markers.NAME).write_text(text, encoding="ascii")
        else:  # The marker first, for a file without one would count as somebody else's.
            mark = path.parent.with_name(f"{path.parent.name}.done")
            mark.write_text(text, encoding="ascii")
            os.replace(mark, markers.beside(output / target))
        try:
            os.rename(path, output / target)
        except OSError:
            if markers.find(output / target, marker) != "same":
                raise
    return counts


@contextlib.contextmanager
def workspace(output: Path, name: str) -> Iterator[Path]:
    """An empty folder for whoever holds the claim `name`; removed afterwards."""
    _discard(output, name)
    folder = output / WORK / f"{name}-{secrets.token_hex(4)}"
    while not folder.exists():
        # Somebody may remove .work in between.
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _discard(output: Path, name: str) -> None:
    """Removes leftovers; only for whoever holds the claim `name`."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.listdir(output / WORK):
            if entry.partition("-")[0] == name:
                shutil.rmtree(output / WORK / entry, ignore_errors=True)


def _check_parents(target: Path, task: Task, output: Path) -> None:
    """Refuses to put something into what is done: whoever makes that again would delete it."""
    for parent in target.parents[: len(target.relative_to(output).parts)]:
        if maker := markers.read(parent).get("command"):
            raise FileExistsError(
                f"{target} would be inside {parent}, which {maker} has made, and "
                f"be lost when that is made again. Choose another --output for {task.command}."
            )


def _foreign(target: Path, task: Task) -> FileExistsError:
    maker = markers.read(target).get("command")
    by = f"was made by {maker}" if maker else "has no marker of it"
    if maker == task.command:
        added = listing(markers.added(target)) if target.is_dir() else ""
        by = f"holds more than it made: {added}" if added else "has another size"
    return FileExistsError(
        f"{target} exists and was not made by {task.command}, or was changed since ({by}); it "
        "stays as it is. --overwrite replaces it."
    )


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__ or error.__context__
    return False
