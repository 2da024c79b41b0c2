"""The annotation format of piergiaj/pytorch-i3d: one JSON file with the spans of every video.

    {"7UPGT": {"subset": "training", "duration": 23.21, "actions": [[149, 16.0, 22.2]]}}

The key is the record's name, a label is the index of a class, and times are seconds. It holds no
subjects, frame counts, rates or boxes. pytorch-i3d reads "training" for training and "testing" for
evaluation, takes its rate from frames / duration, and labels frames by the rule "strict"
(`common.frame_labels`): a frame right on a span's start is left out.

Spans in frames become frame / fps, rounded down to microseconds: read back with the rule
"half_open" and the same rate, they are the same frames.
"""

import json
import math
import os
from collections.abc import Iterable
from typing import Any

from common import files, json_files
from common.annotations import SUBSETS, Action, Record
from common.frame_labels import as_written


def read(path: str | os.PathLike[str], suffix: str = ".mp4") -> list[Record]:
    """Reads records, in the order of the file.

    Args:
        path: The JSON file.
        suffix: Of the videos: the path of a record is its key and this.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not of this format; the text names the file and the entry.
    """
    entries = json_files.check(json_files.load(path), dict, os.fspath(path))
    return [
        _record(key, entry, suffix, f"{path}: entry {json_files.shown(key)}")
        for key, entry in entries.items()
    ]


def write(path: str | os.PathLike[str], records: Iterable[Record]) -> None:
    """Writes records, a line each; the same records give the same bytes.

    Raises:
        ValueError: A record cannot be said in this format: it has labels without spans, is a part
            of a longer video, or its duration or frame rate is not known; or two have one name.
    """
    lines: dict[str, str] = {}
    for record in records:
        if record.name in lines:
            raise ValueError(f"{path}: two records are named {record.name!r}.")
        entry = json.dumps(_entry(record), allow_nan=False)
        lines[record.name] = f"{json.dumps(record.name, ensure_ascii=False)}: {entry}"
    files.write_text(path, "{\n" + ",\n".join(lines.values()) + "\n}\n")


def _record(key: str, entry: Any, suffix: str, where: str) -> Record:
    if not key or key.startswith("/") or ".." in key.split("/"):
        raise ValueError(f"{where}: the key is no name that could be below a folder of videos.")
    json_files.check(entry, dict, where)
    subset = json_files.field(entry, "subset", str, where)
    if subset not in SUBSETS:
        raise ValueError(f"{where}: expected subset {' or '.join(SUBSETS)}, got {subset!r}.")
    duration = float(json_files.field(entry, "duration", float, where))
    if duration <= 0:
        raise ValueError(f"{where}: expected a duration above 0 seconds, got {duration:g}.")
    actions = tuple(
        _action(action, f"{where}: action {number}")
        for number, action in enumerate(json_files.field(entry, "actions", list, where))
    )
    labels = tuple(sorted({action.label for action in actions}))
    return Record(key, key + suffix, subset, labels, actions=actions, duration=duration)


def _action(action: Any, where: str) -> Action:
    if len(json_files.check(action, list, where)) != 3:
        raise ValueError(f"{where}: expected [class, start, end], got {json_files.shown(action)}.")
    label = json_files.check(action[0], int, where)
    if label < 0:
        raise ValueError(f"{where}: expected a class from 0 on, got {label}.")
    start, end = (float(json_files.check(time, float, where)) for time in action[1:])
    return Action(label, start, end)


def _entry(record: Record) -> dict[str, object]:
    if record.start is not None or record.end is not None:
        raise ValueError(
            f"{record.name}: a part of a longer video (from {record.start} to {record.end} s), "
            "which this format cannot say. Cut the video, or choose another format."
        )
    missing = {*record.labels} - {action.label for action in record.actions}
    if missing:
        raise ValueError(
            f"{record.name}: has labels without spans ({sorted(missing)}), and this format holds "
            "only spans. Choose another format."
        )
    actions = [
        [action.label, _seconds(record, action.start), _seconds(record, action.end)]
        for action in record.actions
    ]
    return {"subset": record.subset, "duration": _duration(record), "actions": actions}


def _duration(record: Record) -> float:
    if record.duration is not None:
        return float(record.duration)
    if record.frames is not None and record.fps is not None:
        return float(record.frames / as_written(record.fps))
    raise ValueError(
        f"{record.name}: this format needs the duration, and neither it nor frame count and rate "
        "are known. Use annotations that have it (new copies of Charades have a `length`)."
    )


def _seconds(record: Record, time: float) -> float:
    if record.unit == "seconds":
        return float(time)
    if record.fps is None:
        raise ValueError(
            f"{record.name}: its spans are in frames and its rate is not known, so they cannot be "
            "written as seconds."
        )
    return math.floor(as_written(time) / as_written(record.fps) * 1_000_000) / 1_000_000
