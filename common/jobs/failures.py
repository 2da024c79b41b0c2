"""failed.jsonl: the items of an output folder that could not be made, and why."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from common.io import sync
from common.jobs import run_item
from common.jobs.run_item import Outcome
from common.jobs.task import Item

NAME = "failed.jsonl"

# By item and command, the fields of a line.
_Lines = dict[tuple[str, str], dict[str, str]]


def read(output: Path) -> _Lines:
    """What failed so far.

    Raises:
        ValueError: A line is not what `update` writes.
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


def update(output: Path, command: str, outcomes: Mapping[Item, Outcome]) -> None:
    """Adds the items that failed and removes the others, atomically; runs may share the file."""
    path, key = output / NAME, run_item.key(NAME)
    if not path.exists() and all(each.state != "failed" for each in outcomes.values()):
        return
    held = run_item.lock(output, key, wait=True)
    assert held is not None
    with held, run_item.workspace(output, key) as folder:
        before = read(output)
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
            (folder / NAME).write_text(text, encoding="ascii")
            sync(folder / NAME)
            os.replace(folder / NAME, path)
