"""failed.jsonl: the items of an output folder that could not be made, and why."""

import json
import os
import time
from pathlib import Path

from common.io import sync
from common.jobs import locks, run_item
from common.jobs.run_item import Outcome
from common.jobs.task import Item

NAME = "failed.jsonl"

_PAUSE = 1.0  # seconds between two writes

# By item and command, the fields of a line.
_Lines = dict[tuple[str, str], dict[str, str]]


def read(output: Path) -> _Lines:
    """What failed so far.

    Raises:
        ValueError: A line is not what `Failures` writes.
    """
    try:
        text = (output / NAME).read_text(encoding="ascii")
    except FileNotFoundError:
        return {}
    lines: _Lines = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            fields = json.loads(line)
            lines[fields["item"], fields["command"]] = fields
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{output / NAME}, line {number}: expected a JSON object with item and command, "
                f"got {line[:80]!r}. Remove the file: items that fail again are written anew."
            ) from error
    return lines


class Failures:
    """Keeps failed.jsonl up to date; several runs may do so for one folder."""

    def __init__(self, output: Path, command: str):
        self._output = output
        self._command = command
        self._changes: dict[tuple[str, str], dict[str, str] | None] = {}
        self._written = time.monotonic()
        read(output)  # an unreadable file is an error before any work is done

    def note(self, item: Item, outcome: Outcome) -> None:
        """Takes an outcome: a failure enters the file, anything else leaves it."""
        fields = {
            "command": self._command,
            "item": item.name,
            "source": str(item.source),
            "error": outcome.error,
            "reason": outcome.reason,
        }
        self._changes[item.name, self._command] = fields if outcome.state == "failed" else None
        if time.monotonic() - self._written > _PAUSE:
            self.flush()

    def flush(self) -> None:
        """Writes what has been noted, atomically."""
        changes, self._changes = self._changes, {}
        path = self._output / NAME
        if any(changes.values()) or (changes and path.exists()):
            key = run_item.key(NAME)
            held = locks.acquire(run_item.lock_path(self._output, key), wait=True)
            assert held is not None
            with held:
                before = read(self._output)
                lines = {each: line for each, line in {**before, **changes}.items() if line}
                if not lines:
                    path.unlink(missing_ok=True)
                elif lines != before:
                    with run_item.workspace(self._output, key) as folder:
                        text = "".join(json.dumps(lines[each]) + "\n" for each in sorted(lines))
                        (folder / NAME).write_text(text, encoding="ascii")
                        sync(folder / NAME)
                        os.replace(folder / NAME, path)
        self._written = time.monotonic()
