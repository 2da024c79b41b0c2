"""Small tasks for the tests of the runner, which worker processes import, and runs of them."""

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
from common.jobs.runs import Item, Report, Settings, Task


@dataclasses.dataclass(frozen=True)
class Folders:
    """Makes a folder NAME with `files` files of the source's content, and a file NAME.sum.

    Attributes:
        files: How many.
        pause: Seconds before each.
        log: A file that gets a line for each item, "PID NAME".
        sums: Whether NAME.sum is made.
        seed: A parameter, in every file.
    """

    files: int = 3
    pause: float = 0.0
    log: Path | None = None
    sums: bool = True
    seed: int = 0
    command: str = "make_folders"

    def parameters(self) -> Mapping[str, object]:
        return {"files": self.files, "seed": self.seed}

    def targets(self, item: Item) -> tuple[str, ...]:
        return (item.name, f"{item.name}.sum") if self.sums else (item.name,)

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        if self.log is not None:
            with self.log.open("a") as log:
                log.write(f"{os.getpid()} {item.name}\n")
        content = item.source.read_bytes() + b"%d" % self.seed
        temporary[0].mkdir()
        for k in range(self.files):
            time.sleep(self.pause)
            part = hashlib.sha256(content + b"%d" % k).digest() * 100
            (temporary[0] / f"image_{k:05d}.bin").write_bytes(part)
        if self.sums:
            temporary[1].write_text(hashlib.sha256(content).hexdigest())
        return {"files": self.files}


_ERRORS = {
    "value": ValueError("a value\nof two lines"),
    "os": FileNotFoundError("no such thing"),
    "bug": KeyError("x"),
    "memory": MemoryError(),
    "import": ImportError("needs x. Install it: pip install x"),
    "interrupt": KeyboardInterrupt(),
    "exit": SystemExit(3),
}


@dataclasses.dataclass(frozen=True)
class Behaves:
    """Makes a file NAME.txt and does what the source says, so that each item has its own way.

    Attributes:
        folder: Where an item leaves a note of its process, before it hangs or dies once.
    """

    folder: Path
    command: str = "behave"

    def parameters(self) -> Mapping[str, object]:
        return {}

    def targets(self, item: Item) -> tuple[str, ...]:
        return (f"{item.name}.txt",)

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        how, note = item.source.read_text(), self.folder / item.name
        temporary[0].write_text("made")
        if how in _ERRORS:
            raise _ERRORS[how]
        if how == "kill" or (how == "kill once" and not note.exists()):
            note.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "full":
            with open("/dev/full", "wb", buffering=0) as full:
                full.write(b"x")
        elif how == "wrapped full":
            try:
                Path("/dev/full").write_text("x")
            except OSError as error:
                raise ValueError("could not write") from error
        elif how == "hang":
            note.write_text(str(os.getpid()))
            time.sleep(60)
        elif how == "nothing":
            temporary[0].unlink()
        elif how == "threads":
            temporary[0].write_text(os.environ["OMP_NUM_THREADS"])
        return {"good": 1}


def run(task: Task, videos: Path, output: Path, **settings: Any) -> Report:
    """Runs a task over a folder, in this process unless told otherwise."""
    return runs.run(task, inputs.items(videos), Settings(output, **{"workers": 0, **settings}))


def run_one(task: Task, item: Item, output: Path, **settings: Any) -> Report:
    """Runs a task over one item, in this process."""
    return runs.run(task, [item], Settings(output, workers=0, **settings))


def told(tmp_path: Path, *hows: str) -> list[Item]:
    """Items for `Behaves(tmp_path / "notes")`, "item 0" and so on, that do what they are told."""
    (tmp_path / "notes").mkdir(exist_ok=True)
    for k, how in enumerate(hows):
        (tmp_path / f"{k}.how").write_text(how)
    return [Item(f"item {k}", tmp_path / f"{k}.how") for k in range(len(hows))]


def behave(tmp_path: Path, *hows: str, **settings: Any) -> Report:
    """Runs items that do what they are told, in this process unless told otherwise."""
    how = Settings(tmp_path / "out", **{"workers": 0, **settings})
    return runs.run(Behaves(tmp_path / "notes"), told(tmp_path, *hows), how)


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
