"""The annotation format of piergiaj/pytorch-i3d: one JSON file with the spans of every video.

    {"7UPGT": {"subset": "training", "duration": 23.21, "actions": [[149, 16.0, 22.2]]}}

The key is the record's name, a label is the index of a class, and times are seconds. It holds no
subjects, frame counts, rates or boxes. pytorch-i3d reads "training" for training and "testing" for
evaluation, takes its rate from frames / duration, and labels frames by the rule "strict"
(`common.annotations.frame_labels`): a frame right on a span's start is left out.

Spans in frames become frame / fps, rounded down to microseconds: read back with the rule
"half_open" and the same rate, they are the same frames.
"""

import json
import math
from typing import Any

from common.annotations import SUBSETS, Action, Annotations, Record
from common.annotations.frame_labels import as_written
from common.io import check_json, json_field, shown

_SUFFIX = ".mp4"  # the path of a record is its key and this


def recognises(document: Any) -> bool:
    """Whether this, read from JSON, is such a file."""
    return (
        isinstance(document, dict)
        and bool(document)
        and all(
            isinstance(entry, dict) and {"subset", "actions"} <= set(entry)
            for entry in document.values()
        )
    )


def text(content: Annotations) -> str:
    """The file that says this, a line a record; the same content gives the same bytes.

    Raises:
        ValueError: A record cannot be said in this format: it has labels without spans, is a part
            of a longer video, or its duration or frame rate is not known.
    """
    lines = (
        f"{json.dumps(record.name, ensure_ascii=False)}: "
        f"{json.dumps(_entry(record), allow_nan=False)}"
        for record in content.records
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read(document: Any) -> Annotations:
    """What such a file says, which does not name the classes.

    Raises:
        ValueError: The text names the entry, what was expected and what was received.
    """
    records = (_record(key, entry, f"entry {shown(key)}") for key, entry in document.items())
    return Annotations(classes=(), records=tuple(records))


def _record(key: str, entry: Any, where: str) -> Record:
    if not key or key.startswith("/") or ".." in key.split("/"):
        raise ValueError(f"{where}: the key is no name that could be below a folder of videos.")
    check_json(entry, dict, where)
    subset = json_field(entry, "subset", str, where)
    if subset not in SUBSETS:
        raise ValueError(f"{where}: expected subset {' or '.join(SUBSETS)}, got {subset!r}.")
    duration = float(json_field(entry, "duration", float, where))
    if duration <= 0:
        raise ValueError(f"{where}: expected a duration above 0 seconds, got {duration:g}.")
    actions = tuple(
        _action(action, f"{where}: action {number}")
        for number, action in enumerate(json_field(entry, "actions", list, where))
    )
    labels = tuple(sorted({action.label for action in actions}))
    return Record(key, key + _SUFFIX, subset, labels, actions=actions, duration=duration)


def _action(action: Any, where: str) -> Action:
    if len(check_json(action, list, where)) != 3:
        raise ValueError(f"{where}: expected [class, start, end], got {shown(action)}.")
    label = check_json(action[0], int, where)
    if label < 0:
        raise ValueError(f"{where}: expected a class from 0 on, got {label}.")
    start, end = (float(check_json(time, float, where)) for time in action[1:])
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
