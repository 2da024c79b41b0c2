"""Runs a task over items into an output folder; may be killed, repeated and shared at any time.

    OUTPUT/...               what the task makes, each target whole or not there, and its marker
    OUTPUT/failed.jsonl      the items that could not be made, one a line, and why
    OUTPUT/.i3d-*            what is being made; gone afterwards

An item is done, and skipped, when its targets are there with markers that hold the hash of the same
source and parameters. Items with other parameters are made anew. Files without a marker are never
touched. So a killed run is simply started again, several runs may share a folder, and all of them
end in the same bytes as one run without a break.
"""

import contextlib
import dataclasses
import errno
import functools
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from common import hardware
from common.io import escape, listing, sync
from common.jobs import markers, parallel, run_item
from common.jobs.progress import Progress
from common.jobs.run_item import Outcome
from common.jobs.task import Item, Task

__all__ = ["Item", "Report", "Settings", "Task", "run"]

FAILURES = "failed.jsonl"
_RESERVED = (markers.NAME, FAILURES)
_SHOWN = 10  # failures in a summary
_PAUSE = 1.0  # seconds between two writes of failed.jsonl


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a task is run; nothing of it changes what is made.

    Attributes:
        output: The folder to write to.
        workers: Processes, or threads. One process is not this one, so that a decoder that crashes
            costs one item; 0 does the work here, for debugging.
        overwrite: Replace targets that the command has not made.
        dry_run: Only say what would be done.
        engine: "local" for processes, "ray" for a cluster, or "threads" of this process, for a task
            that holds what processes cannot share, such as a network.
        allow_failures: How many items may fail before the status is 1.
    """

    output: Path
    workers: int = 1
    overwrite: bool = False
    dry_run: bool = False
    engine: parallel.Engine = "local"
    allow_failures: int = 0

    @property
    def threads(self) -> int:
        """Threads for the libraries in each worker: its share of the processors."""
        return max(1, hardware.processors() // max(1, self.workers))


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of the items: their names, in the order they were given.

    Attributes:
        done: Made now (or to be made, of a dry run), `replaced` among them.
        replaced: Took the place of something: made with other parameters, of another source, or
            by somebody else.
        skipped: Done before, or meanwhile by another process.
        failed: Could not be made.
        counts: Sums of what the task counts, over `done` and `skipped`.
        reasons: Why, for each name in `failed`.
        command: The task's.
        settings: How it was run.
    """

    done: tuple[str, ...]
    replaced: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: tuple[str, ...]
    counts: Mapping[str, int]
    reasons: Mapping[str, str]
    command: str
    settings: Settings

    @property
    def status(self) -> int:
        """The exit status: 1 when more items failed than may."""
        return int(len(self.failed) > self.settings.allow_failures)

    def text(self) -> str:
        """The summary: a line, and the first failures with their reasons."""
        dry = self.settings.dry_run
        done = f"{len(self.done)} {'to do' if dry else 'done'}"
        if self.replaced:
            done += f" ({len(self.replaced)} in place of what was there)"
        parts = [done, f"{len(self.skipped)} skipped", f"{len(self.failed)} failed"]
        parts += [f"{count} {name}" for name, count in sorted(self.counts.items())]
        lines = [f"{self.command}: {', '.join(parts)}"]
        for name in self.failed[:_SHOWN]:
            lines.append(f"  {escape(f'{name}: {self.reasons[name]}')}")
        if len(self.failed) > _SHOWN:
            lines.append(f"  and {len(self.failed) - _SHOWN} more")
        if self.failed and not dry:
            lines.append(f"  (all reasons: {self.settings.output / FAILURES})")
        return "\n".join(lines)


def run(task: Task, items: Iterable[Item], settings: Settings) -> Report:
    """Makes the items that are not done, and says what became of each.

    Raises:
        ValueError: Items or targets that collide, or a failed.jsonl that cannot be read.
        NotADirectoryError, PermissionError: The output cannot be written to.
        OSError: The disk is full, or has no locks.
        ImportError: The task, or the engine, needs something that is not installed.
    """
    items = [dataclasses.replace(item, source=item.source.absolute()) for item in items]
    settings = dataclasses.replace(settings, output=settings.output.absolute())
    _check_output(settings.output)
    _check_items(task, items, settings.output)
    if settings.dry_run:
        look = functools.partial(
            run_item.plan, task=task, output=settings.output, overwrite=settings.overwrite
        )
        return _report(task, settings, [look(item) for item in items])
    settings.output.mkdir(parents=True, exist_ok=True)
    outcomes: dict[Item, Outcome] = {}
    try:
        _run(task, items, settings, outcomes)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            f"the disk of {settings.output} is full; {len(items) - len(outcomes)} items are left "
            "to do. What is done is whole: free some space and run the same command again."
        ) from error
    finally:
        run_item.sweep(settings.output)
    return _report(task, settings, [outcomes[item] for item in items])


def _run(
    task: Task, items: Sequence[Item], settings: Settings, outcomes: dict[Item, Outcome]
) -> None:
    """Fills in what became of each item; waits at the end for those that others are making."""
    _read_failures(settings.output)  # an unreadable file is an error before any work is done
    progress = Progress(task.command, len(items))
    unwritten: dict[Item, Outcome] = {}
    written = time.monotonic()
    try:
        for wait in (False, True):
            # What others are making they mostly finish; what they fail at is made here.
            todo = [item for item in items if item not in outcomes]
            progress.wait(len(todo) if wait else 0)
            make = functools.partial(
                run_item.run_item,
                task=task,
                output=settings.output,
                overwrite=settings.overwrite,
                wait=wait,
            )
            several = parallel.each(make, todo, settings.workers, settings.threads, settings.engine)
            with contextlib.closing(several) as results:
                for item, future in results:
                    try:
                        outcome = future.result()
                    except parallel.WorkerDiedError as error:
                        outcome = Outcome(item.name, "failed", {}, "WorkerDied", str(error))
                    if outcome.state == "locked":
                        continue
                    outcomes[item] = unwritten[item] = outcome
                    skipped = outcome.state == "skipped"
                    frames = 0 if skipped else outcome.counts.get("frames", 0)
                    progress.add(outcome.state == "failed", skipped, frames)
                    if time.monotonic() - written > _PAUSE:
                        _write_failures(settings.output, task.command, unwritten)
                        unwritten, written = {}, time.monotonic()
    finally:
        progress.close()
        _write_failures(settings.output, task.command, unwritten)


def _read_failures(output: Path) -> dict[tuple[str, str], dict[str, str]]:
    """The lines of failed.jsonl, by item and command; `ValueError` if one is none of ours."""
    try:
        text = (output / FAILURES).read_text(encoding="ascii")
    except FileNotFoundError:
        return {}
    lines = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            fields = json.loads(line)
            lines[fields["item"], fields["command"]] = fields
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{output / FAILURES}, line {number}: expected a JSON object with item and "
                f"command, got {line[:80]!r}. Remove the file: items that fail again are written "
                "anew."
            ) from error
    return lines


def _write_failures(output: Path, command: str, outcomes: Mapping[Item, Outcome]) -> None:
    """Adds the items that failed and removes the others, atomically; runs may share the file."""
    path, key = output / FAILURES, run_item.key(FAILURES)
    if not path.exists() and all(each.state != "failed" for each in outcomes.values()):
        return
    held = run_item.lock(output, key, wait=True)
    assert held is not None
    with held, run_item.workspace(output, key) as folder:
        before = _read_failures(output)
        lines = dict(before)
        for item, outcome in outcomes.items():
            lines.pop((item.name, command), None)
            if outcome.state == "failed":
                lines[item.name, command] = {
                    "command": command,
                    "item": item.name,
                    "source": str(item.source),
                    "error": outcome.error,
                    "reason": outcome.reason,
                }
        if not lines:
            path.unlink(missing_ok=True)
        elif lines != before:
            text = "".join(json.dumps(lines[each]) + "\n" for each in sorted(lines))
            (folder / FAILURES).write_text(text, encoding="ascii")
            sync(folder / FAILURES)
            os.replace(folder / FAILURES, path)


def _report(task: Task, settings: Settings, outcomes: Sequence[Outcome]) -> Report:
    def names(*states: str) -> tuple[str, ...]:
        return tuple(outcome.name for outcome in outcomes if outcome.state in states)

    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts.update(outcome.counts)
    return Report(
        done=names("done", "replaced"),
        replaced=names("replaced"),
        skipped=names("skipped"),
        failed=names("failed"),
        counts=dict(counts),
        reasons={each.name: each.reason for each in outcomes if each.state == "failed"},
        command=task.command,
        settings=settings,
    )


def _check_output(output: Path) -> None:
    nearest = next(path for path in (output, *output.parents) if os.path.lexists(path))
    if not nearest.is_dir():
        raise NotADirectoryError(
            f"{nearest} is not a folder, and {output} was to be written. Choose another --output."
        )
    if not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(f"{output} cannot be written: {nearest} takes no new files.")


def _check_items(task: Task, items: Sequence[Item], output: Path) -> None:
    """Finds items with the same place, or a place they must not have, before any work is done."""
    json.dumps(dict(task.parameters()), allow_nan=False)
    owners: dict[str, Item] = {}
    for item in items:
        for target in task.targets(item):
            parts = target.split("/")
            odd = {"", ".", "..", *_RESERVED}.intersection(parts) or "\0" in target
            if odd or any(part.startswith(".i3d-") for part in parts):
                raise ValueError(
                    f"{item.name!r} ({item.source}) cannot be kept as {target!r}. Expected a "
                    f"relative path without {listing(('..', '.i3d-*', *_RESERVED))}. Rename it."
                )
            if output / target in (item.source, *item.source.parents):
                raise ValueError(
                    f"{item.source} is what {item.name!r} is made of, and would be replaced by it. "
                    "Choose another --output."
                )
            if target in owners:
                raise _collision(owners[target], item, f"both be {target!r}")
            owners[target] = item
    for target, item in owners.items():
        for parent in map(str, PurePosixPath(target).parents):
            if parent in owners:
                raise _collision(owners[parent], item, f"be {parent!r} and, inside it, {target!r}")


def _collision(one: Item, other: Item, how: str) -> ValueError:
    return ValueError(
        f"what is made of {one.source} and of {other.source} would {how}. "
        "Rename one, or prepare them into different folders."
    )
