"""A small task for the tests of the runner, which worker processes import, and runs of it."""

import dataclasses
import hashlib
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.jobs import inputs, runs
from common.jobs.runs import Outcome
from common.jobs.settings import RunSettings
from common.jobs.task import Item, Task

_ERRORS = {
    "value": ValueError("a value\nof two lines"),
    "bug": KeyError("x"),
    "import": ImportError("needs x. Install it: pip install x"),
    "interrupt": KeyboardInterrupt(),
    "full": OSError(28, "No space left on device"),
}


@dataclasses.dataclass(frozen=True)
class Folders:
    """Makes a folder NAME with files of the source's content, and a file NAME.sum.

    A source "HOW: ..." does what it is told instead: it raises, hangs, or dies.

    Attributes:
        seed: A parameter, in every file.
        log: A file that gets a line for each item, "PID NAME".
        pause: Seconds before each file.
    """

    seed: int = 0
    log: Path | None = None
    pause: float = 0.0
    command: str = "make_folders"

    def parameters(self) -> Mapping[str, object]:
        return {"seed": self.seed}

    def targets(self, item: Item) -> tuple[str, ...]:
        return item.name, f"{item.name}.sum"

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        content = item.source.read_bytes() + b"%d" % self.seed
        temporary[0].mkdir()
        for k in range(3):
            time.sleep(self.pause)
            part = hashlib.sha256(content + b"%d" % k).digest() * 100
            (temporary[0] / f"image_{k:05d}.bin").write_bytes(part)
        temporary[1].write_text(hashlib.sha256(content).hexdigest())
        if self.log is not None:
            with self.log.open("a") as log:
                log.write(f"{os.getpid()} {item.name}\n")
        how = content.decode().partition(":")[0]
        if how in _ERRORS:
            raise _ERRORS[how]
        if how == "kill" or (how == "kill once" and not item.source.with_suffix(".died").exists()):
            item.source.with_suffix(".died").write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "hang":
            time.sleep(60)
        return {"files": 3}


def told(folder: Path, *hows: str) -> list[Item]:
    """Items "item 0" and so on, that do what they are told."""
    folder.mkdir(exist_ok=True)
    items = [Item(f"item {k}", folder / f"{k}.mp4") for k in range(len(hows))]
    for item, how in zip(items, hows, strict=True):
        item.source.write_text(f"{how}: {item.name}")
    return items


def settings(output: Path, **changes: Any) -> RunSettings:
    """Settings of a run in this process, unless told otherwise."""
    return RunSettings(**{"input": output, "output": output, "workers": 0, **changes})


def run(task: Task, items: Path | Sequence[Item], output: Path, **changes: Any) -> list[Outcome]:
    """Runs a task over items, or those of a folder."""
    found = inputs.items(items) if isinstance(items, Path) else items
    return runs.run(task, found, settings(output, **changes))


def states(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.state for outcome in outcomes]


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below, hidden ones too, and what is in it."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


def failed(output: Path) -> list[dict[str, str]]:
    """The lines of the list of failures, if there is one."""
    path = output / "failed.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
