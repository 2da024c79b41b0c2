"""Runs a task over items into an output folder; may be killed, repeated and shared at any time.

    OUTPUT/...               what the task makes, each target whole or not there, and its marker
    OUTPUT/failed.jsonl      the items that could not be made, one a line, and why
    OUTPUT/.i3d-KEY.lock     held by the process that makes an item
    OUTPUT/.i3d-KEY.tmp      a folder with its unfinished targets, and with those they replace

An item is skipped when its targets have markers with the hash of the same source and parameters;
with others it is made anew. Files without a marker are never touched. So a killed run is simply
started again, several may share a folder, and all end in the same bytes as one without a break.

KEY is a hash of the command and of the item's name; a link of such a name is never followed.
"""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import os
import re
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Literal

from common import hardware
from common.io import escape, sync
from common.jobs import locks
from common.jobs import task as tasks
from common.jobs.parallel import Pool, Progress, WorkerDiedError
from common.jobs.settings import RunSettings
from common.jobs.task import Item, Task

FAILURES = "failed.jsonl"

_LEFTOVER = re.compile(r"\.i3d-([0-9a-f]{32})\.(lock|tmp)")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SYNCS = 16  # files synced at a time: the file system then commits them together
_SHOWN = 10  # failures in a summary
_PAUSE = 0.5  # seconds until those items are looked at again that others are making


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of an item: what the task counted, now or when it was done; why it failed.

    "replaced" is done where something else was; "locked" is in the hands of another process.
    """

    name: str
    state: Literal["done", "replaced", "skipped", "locked", "failed"]
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    reason: str = ""


def main(task: Task, items: Iterable[Item], settings: RunSettings) -> int:
    """Runs a task over items, prints the summary, and returns the exit status."""
    outcomes = run(task, items, settings)
    print(summary(task.command, outcomes, settings))
    return int(sum(each.state == "failed" for each in outcomes) > settings.allow_failures)


def run(task: Task, items: Iterable[Item], settings: RunSettings) -> list[Outcome]:
    """Makes the items that are not done, and says what became of each.

    Raises `ValueError` for targets that collide or lead out of the output, `OSError` if that cannot
    be written to, and `ImportError` if something is not installed.
    """
    items = [dataclasses.replace(item, source=item.source.absolute()) for item in items]
    output = settings.output.absolute()
    if os.path.lexists(output) and not output.is_dir():
        raise NotADirectoryError(f"{output} is not a folder. Choose another --output.")
    _check(task, items, output)
    make = functools.partial(_run_item, task=task, output=output, overwrite=settings.overwrite)
    if settings.dry_run:
        return [make(item, dry_run=True) for item in items]
    output.mkdir(parents=True, exist_ok=True)
    cores = hardware.processors()
    workers = min(cores if settings.workers is None else settings.workers, len(items))
    threads = max(1, cores // max(1, workers))
    outcomes: dict[Item, Outcome] = {}
    try:
        with (
            contextlib.closing(Pool(make, workers, threads, settings.engine)) as pool,
            contextlib.closing(Progress(task.command, len(items))) as progress,
        ):
            while todo := [item for item in items if item not in outcomes]:
                for item, future in pool.each(todo):
                    try:
                        outcome = future.result()
                    except WorkerDiedError as error:
                        outcome = Outcome(item.name, "failed", reason=str(error))
                    if outcome.state != "locked":  # else another process is making it
                        outcomes[item] = outcome
                        progress.add(outcome.state == "failed")
                time.sleep(_PAUSE if len(outcomes) < len(items) else 0)
    finally:
        _write_failures(output, task.command, outcomes)
        _sweep(output)
    return [outcomes[item] for item in items]


def summary(command: str, outcomes: Sequence[Outcome], settings: RunSettings) -> str:
    """A line, and the first failures with their reasons."""
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    states, counts = Counter(outcome.state for outcome in outcomes), Counter[str]()
    for outcome in outcomes:
        counts.update(outcome.counts)
    done = f"{states['done'] + states['replaced']} {'to do' if settings.dry_run else 'done'}"
    if states["replaced"]:
        done += f" ({states['replaced']} in place of what was there)"
    parts = [done, f"{states['skipped']} skipped", f"{len(failed)} failed"]
    parts += [f"{count} {name}" for name, count in sorted(counts.items())]
    lines = [f"{command}: {', '.join(parts)}"]
    lines += [f"  {escape(f'{each.name}: {each.reason}')}" for each in failed[:_SHOWN]]
    if len(failed) > _SHOWN:
        lines.append(f"  and {len(failed) - _SHOWN} more")
    if failed and not settings.dry_run:
        lines.append(f"  (all reasons: {settings.output / FAILURES})")
    return "\n".join(lines)


def key(*names: str) -> str:
    """A short file name that stands for these names, whatever is in them."""
    return hashlib.sha256(os.fsencode("\0".join(names))).hexdigest()[:32]


def _run_item(
    item: Item, *, task: Task, output: Path, overwrite: bool, dry_run: bool = False
) -> Outcome:
    """Makes one item, unless it is done; raises only what ends the run."""
    name = f".i3d-{key(task.command, item.name)}"
    try:
        outcome = _plan(item, task, output, overwrite)
        if dry_run or outcome.state == "skipped":
            return outcome
        with locks.held(output / f"{name}.lock") as held:
            if not held:
                return Outcome(item.name, "locked")
            # Again: another process may have finished it a moment ago.
            outcome = _plan(item, task, output, overwrite)
            if outcome.state == "skipped":
                return outcome
            with _workspace(output / f"{name}.tmp") as folder:
                counts = _make(item, task, output, overwrite, folder)
        return dataclasses.replace(outcome, counts=counts)
    except Exception as error:
        if isinstance(error, ImportError) or getattr(error, "errno", None) in _FULL:
            raise
        reason = str(error)
        if not reason or not isinstance(error, (ValueError, OSError)):  # a bug
            last = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{error!r} ({Path(last.filename).name}:{last.lineno})"
        return Outcome(item.name, "failed", reason=reason)


@contextlib.contextmanager
def _workspace(folder: Path) -> Iterator[Path]:
    """An empty folder for the holder of its lock; links and files of its name stay as they are."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _plan(item: Item, task: Task, output: Path, overwrite: bool) -> Outcome:
    """What would become of an item; `FileExistsError` if something of others is in its place."""
    targets = [output / target for target in task.targets(item)]
    wanted = tasks.marker(task, item)
    states = {tasks.state(target, wanted, overwrite) for target in targets}
    if states == {"same"}:
        return Outcome(item.name, "skipped", tasks.read_marker(targets[0])["counts"])
    return Outcome(item.name, "replaced" if "other" in states else "done")


def _make(item: Item, task: Task, output: Path, overwrite: bool, folder: Path) -> Mapping[str, int]:
    """Makes the targets in `folder`, then renames them into place."""
    wanted = tasks.marker(task, item)
    targets = [output / target for target in task.targets(item)]
    # Short names, so that a task may append to a name that is as long as names may be.
    made = [folder / str(k) / f"target{target.suffix}" for k, target in enumerate(targets)]
    for path in made:
        path.parent.mkdir()
    counts = task.make(item, made)
    for path in made:
        tasks.write_marker(path, wanted, counts)
    # No rename may outlive the content in a power cut.
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    with ThreadPoolExecutor(_SYNCS) as pool:
        list(pool.map(sync, files))
    for path, target in zip(made, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        if tasks.state(target, wanted, overwrite) != "missing":
            os.rename(target, path.with_name("old"))
        if not path.is_dir():  # the marker first: a file without one counts as somebody else's
            os.replace(tasks.marker_path(path), tasks.marker_path(target))
        os.rename(path, target)
    return counts


def _sweep(output: Path) -> None:
    """Removes what killed processes left in the output folder."""
    for name in {found[1] for found in map(_LEFTOVER.fullmatch, os.listdir(output)) if found}:
        with (
            contextlib.suppress(OSError),  # a link: not ours
            locks.held(output / f".i3d-{name}.lock") as held,
        ):
            if held:
                shutil.rmtree(output / f".i3d-{name}.tmp", ignore_errors=True)


def _write_failures(output: Path, command: str, outcomes: Mapping[Item, Outcome]) -> None:
    """Adds the items that failed and removes the others; runs may share the file."""
    name, path = f".i3d-{key(FAILURES)}", output / FAILURES
    with locks.held(output / f"{name}.lock", wait=True):
        lines = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            for line in map(json.loads, path.read_text(encoding="ascii").splitlines()):
                lines[line["item"], line["command"]] = line
        for item, outcome in outcomes.items():
            lines.pop((item.name, command), None)
            if outcome.state == "failed":
                line = {"command": command, "item": item.name, "source": str(item.source)}
                lines[item.name, command] = {**line, "reason": outcome.reason}
        if not lines:
            path.unlink(missing_ok=True)
            return
        with _workspace(output / f"{name}.tmp") as folder:
            text = "".join(json.dumps(lines[each]) + "\n" for each in sorted(lines))
            (folder / FAILURES).write_text(text, encoding="ascii")
            os.replace(folder / FAILURES, path)


def _check(task: Task, items: Sequence[Item], output: Path) -> None:
    """Finds items with the same place, or a place outside, before any work is done."""
    task.parameters()  # raises for wrong settings
    owners: dict[str, Item] = {}
    for item in items:
        for target in task.targets(item):
            if PurePosixPath(target).is_absolute() or ".." in target.split("/"):
                raise ValueError(f"{item.name!r} ({item.source}) leads out of --output. Rename it.")
            if output / target in (item.source, *item.source.parents):
                raise ValueError(
                    f"{target!r} would replace {item.source}. Choose another --output."
                )
            if (other := owners.setdefault(target, item)) is not item:
                raise ValueError(
                    f"{other.source} and {item.source} would both be {target!r}. Rename one."
                )
