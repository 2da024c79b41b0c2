"""Reads and writes annotation files in three JSON formats, told apart by their content.

Native (version 1): one file a fold, one record a line.

    {"format": "i3d-annotations", "version": 1, "dataset": "ucf101", "variant": "1",
     "classes": ["ApplyEyeMakeup", ...], "counts": {"training": 9537, "validation": 3783},
     "records": [
      {"name": "YoYo/v_YoYo_g08_c01", "path": "YoYo/v_YoYo_g08_c01.avi", "subset": "training",
       "labels": [100]}, ...]}

A record has the fields of `common.annotations.Record` whose values are not the default; its
actions are objects: `{"label": 7, "start": 1.5, "end": 4}`. "counts" holds the number of records
of each subset, so that a truncated or merged file is noticed.

kenshohara: 3D-ResNets-PyTorch and the MindSpore models (`ucf101_01.json`).

    {"labels": ["ApplyEyeMakeup", ...],
     "database": {"v_ApplyEyeMakeup_g08_c01": {"subset": "training",
                  "annotations": {"label": "ApplyEyeMakeup", "segment": [1, 121]}}}}

The key is the last part of a clip's name. Its frames lie in `LABEL/KEY`, or in `test/KEY` without
a label, which only clips of the testing subset may lack. The segment holds the first frame
number, from 1, and the number after the last: 120 frames here ([0, 120] for frames in HDF5
files). It is missing if the number of frames is unknown.

piergiaj: pytorch-i3d (`charades.json`).

    {"7UPGT": {"subset": "training", "duration": 23.21, "actions": [[149, 16.0, 22.2]]}}

The key is the record's name, a label is a class index, and times are seconds; there are no
subjects, frame counts, rates or boxes. pytorch-i3d takes its frame rate from frames / duration and
labels frames by the rule "strict" (`common.annotations.frame_labels`). Spans in frames become
frame / fps, rounded down to microseconds: with the rule "half_open" and the same rate, reading
them back gives the same frames.
"""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from common.annotations import SUBSETS, Action, Annotations, Record, check
from common.annotations.frame_labels import as_written
from common.io import check_json, json_field, listing, load_json, shown, write_text

_NATIVE = "i3d-annotations"

_VERSION = 1

_HEADER = {
    **dict.fromkeys(("format", "dataset", "variant"), str),
    **dict.fromkeys(("classes", "records"), list),
    "version": int,
    "counts": dict,
}

_RECORD = {
    **dict.fromkeys(("name", "path", "subset", "unit", "boxes"), str),
    **dict.fromkeys(("labels", "actions"), list),
    **dict.fromkeys(("start", "end", "duration", "fps"), float),
    "frames": int,
}

_ACTION = {"label": int, "start": float, "end": float, "subject": int}

_UNLABELLED = "test"  # kenshohara's folder of clips without a label


@dataclasses.dataclass(frozen=True)
class Format:
    """An annotation format.

    Attributes:
        recognises: Whether a JSON document has this format.
        read: Converts such a document; raises ValueError if it is malformed.
        text: Returns the content of a file; raises ValueError for what the format cannot express.
    """

    recognises: Callable[[Any], bool]
    read: Callable[[Any], Annotations]
    text: Callable[[Annotations], str]


def read(path: str | os.PathLike[str]) -> Annotations:
    """Reads a file in any of the formats.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The format is unknown, or the content is malformed; the text names the file.
    """
    path = Path(path)
    document = load_json(path)
    for row in FORMATS.values():
        if row.recognises(document):
            try:
                content = row.read(document)
                check(content)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
            return content
    raise ValueError(
        f"{path}: not annotations in a known format ({', '.join(FORMATS)}). "
        "`python -m common.prepare.make_annotations` makes them from a data set's own files."
    )


def text(content: Annotations, container: str = "native") -> str:
    """Returns the content of a file in the format `container`; it is deterministic.

    Raises:
        ValueError: `content` is invalid, or the format cannot express it.
    """
    check(content)
    return FORMATS[container].text(content)


def write(path: str | os.PathLike[str], content: Annotations, container: str = "native") -> None:
    """Writes `text(content, container)` atomically; raises the same errors."""
    write_text(path, text(content, container))


def _is_native(document: Any) -> bool:
    return isinstance(document, dict) and document.get("format") == _NATIVE


def _native_text(content: Annotations) -> str:
    header = {
        "format": _NATIVE,
        "version": _VERSION,
        "dataset": content.dataset,
        "variant": content.variant,
        "classes": content.classes,
        "counts": content.counts,
    }
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in header.items())
    records = ",\n".join(json.dumps(_changed(record)) for record in content.records)
    return "{" + ",\n".join(lines) + ',\n"records": [\n' + records + "\n]}\n"


def _read_native(document: Any) -> Annotations:
    if document.get("version") != _VERSION:
        raise ValueError(
            f"expected version {_VERSION} of the format. Received: {document.get('version')!r}. "
            "Write the file again with this version of the project."
        )
    header = _fields("the file", document, _HEADER, required=_HEADER)
    content = Annotations(
        classes=tuple(check_json(name, str, "classes") for name in header["classes"]),
        records=tuple(_native_record(*item) for item in enumerate(header["records"])),
        dataset=header["dataset"],
        variant=header["variant"],
    )
    check(content)
    if content.counts != header["counts"]:
        raise ValueError(
            f"expected as many records as the file says: {header['counts']}. Received: "
            f"{content.counts}."
        )
    return content


def _native_record(number: int, value: Any) -> Record:
    where = f"record {number}"
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        where = f"record {value['name']!r}"
    fields = _fields(where, value, _RECORD, required=("name", "path", "subset"))
    labels = fields.pop("labels", ())
    actions = fields.pop("actions", ())
    return Record(
        **fields,
        labels=tuple(check_json(label, int, f"{where}, labels") for label in labels),
        actions=tuple(
            Action(**_fields(f"{where}, action {i}", action, _ACTION, ("label", "start", "end")))
            for i, action in enumerate(actions)
        ),
    )


def _fields(
    where: str, value: Any, kinds: Mapping[str, type], required: Iterable[str]
) -> dict[str, Any]:
    """Returns a copy of an object after checking its keys and the kinds of its values."""
    fields = dict(check_json(value, dict, where))
    missing = [key for key in required if key not in fields]
    unknown = [key for key in fields if key not in kinds]
    if missing or unknown:
        raise ValueError(
            f"{where}: missing fields: {listing(missing) or 'none'}; unknown fields: "
            f"{listing(unknown) or 'none'}."
        )
    for key, item in fields.items():
        check_json(item, kinds[key], f"{where}, {key}")
    return fields


def _changed(value: Record | Action) -> dict[str, Any]:
    """Returns the fields that differ from their default."""
    found = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if item != field.default:
            nested = field.name == "actions"
            found[field.name] = [_changed(action) for action in item] if nested else item
    return found


def _is_kenshohara(document: Any) -> bool:
    return isinstance(document, dict) and {"labels", "database"} <= set(document)


def _kenshohara_text(content: Annotations) -> str:
    if not content.classes:
        raise ValueError("this format needs class names, which are unknown.")
    database: dict[str, Any] = {}
    for record in content.records:
        if record.id in database:
            raise ValueError(f"record {record.name!r}: another record has the key {record.id!r}.")
        annotations = _kenshohara_entry(record, content.classes)
        database[record.id] = {"subset": record.subset, "annotations": annotations}
    return json.dumps({"labels": content.classes, "database": database}) + "\n"


def _kenshohara_entry(record: Record, classes: tuple[str, ...]) -> dict[str, Any]:
    unlabelled = record.subset == "testing" and not record.labels
    if record.actions or not (len(record.labels) == 1 or unlabelled):
        raise ValueError(
            f"record {record.name!r}: this format has one class a clip and no spans. Received: "
            f"{len(record.labels)} classes, {len(record.actions)} spans. Choose another format."
        )
    entry: dict[str, Any] = {}
    if record.labels:
        entry["label"] = classes[record.labels[0]]
    place = f"{entry.get('label', _UNLABELLED)}/{record.id}"
    if record.name != place:
        raise ValueError(
            f"record {record.name!r}: a reader of this format looks for its frames in {place!r}, "
            "where they are not. Choose another format."
        )
    if record.frames is not None:
        entry["segment"] = [1, record.frames + 1]
    return entry


def _read_kenshohara(document: Any) -> Annotations:
    labels, database = document["labels"], document["database"]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"labels: expected a list of texts. Received: {labels!r:.80}.")
    if not isinstance(database, dict):
        raise ValueError(f"database: expected an object. Received: {database!r:.80}.")
    indices = {label: index for index, label in enumerate(labels)}
    records = (_kenshohara_record(key, entry, indices) for key, entry in database.items())
    return Annotations(classes=tuple(labels), records=tuple(records))


def _kenshohara_record(key: str, entry: Any, indices: Mapping[str, int]) -> Record:
    def wrong(expected: str, received: object) -> NoReturn:
        raise ValueError(f"entry {key!r}: expected {expected}. Received: {received!r:.80}.")

    subset = entry.get("subset") if isinstance(entry, dict) else None
    found = entry.get("annotations") if isinstance(entry, dict) else None
    if subset not in SUBSETS or not isinstance(found, dict):
        wrong(f"a subset of {', '.join(SUBSETS)} and annotations", entry)
    frames = None
    if "segment" in found:
        segment = found["segment"]
        integers = isinstance(segment, list) and all(type(number) is int for number in segment)
        if not integers or len(segment) != 2 or not 0 <= segment[0] <= min(1, segment[1]):
            wrong("a segment [1, frames + 1] or [0, frames]", segment)
        frames = int(segment[1] - segment[0])
    if subset == "testing" and "label" not in found:
        name = f"{_UNLABELLED}/{key}"
        return Record(name, name, subset, frames=frames)
    label = found.get("label")
    if not isinstance(label, str) or label not in indices:
        wrong("a label that is one of the file's labels", label)
    name = f"{label}/{key}"
    return Record(name, name, str(subset), (indices[label],), frames=frames)


def _is_piergiaj(document: Any) -> bool:
    return (
        isinstance(document, dict)
        and bool(document)
        and all(
            isinstance(entry, dict) and {"subset", "actions"} <= set(entry)
            for entry in document.values()
        )
    )


def _piergiaj_text(content: Annotations) -> str:
    lines = (
        f"{json.dumps(record.name, ensure_ascii=False)}: "
        f"{json.dumps(_piergiaj_entry(record), allow_nan=False)}"
        for record in content.records
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _piergiaj_entry(record: Record) -> dict[str, object]:
    if record.start is not None or record.end is not None:
        raise ValueError(
            f"{record.name}: a part of a longer video (from {record.start} to {record.end} s), "
            "which this format cannot express. Cut the video, or choose another format."
        )
    missing = {*record.labels} - {action.label for action in record.actions}
    if missing:
        raise ValueError(
            f"{record.name}: has labels without spans ({sorted(missing)}), and this format holds "
            "only spans. Choose another format."
        )
    duration = record.duration
    if duration is None and record.frames is not None and record.fps is not None:
        duration = float(record.frames / as_written(record.fps))
    if duration is None:
        raise ValueError(
            f"{record.name}: this format needs the duration, and neither it nor frame count and "
            "rate are known. Use annotations that have it (new copies of Charades have a `length`)."
        )
    actions = [
        [action.label, _seconds(record, action.start), _seconds(record, action.end)]
        for action in record.actions
    ]
    return {"subset": record.subset, "duration": float(duration), "actions": actions}


def _seconds(record: Record, time: float) -> float:
    if record.unit == "seconds":
        return float(time)
    if record.fps is None:
        raise ValueError(
            f"{record.name}: its spans are in frames of an unknown rate, so they cannot be "
            "written as seconds."
        )
    return math.floor(as_written(time) / as_written(record.fps) * 1_000_000) / 1_000_000


def _read_piergiaj(document: Any) -> Annotations:
    records = (_piergiaj_record(key, entry) for key, entry in document.items())
    return Annotations(classes=(), records=tuple(records))


def _piergiaj_record(key: str, entry: Any) -> Record:
    where = f"entry {shown(key)}"
    subset = json_field(entry, "subset", str, where)
    duration = float(json_field(entry, "duration", float, where))
    if duration <= 0:
        raise ValueError(f"{where}: expected a duration above 0 seconds, got {duration:g}.")
    actions = tuple(
        _piergiaj_action(action, f"{where}: action {number}")
        for number, action in enumerate(json_field(entry, "actions", list, where))
    )
    labels = tuple(sorted({action.label for action in actions}))
    return Record(key, f"{key}.mp4", subset, labels, actions=actions, duration=duration)


def _piergiaj_action(action: Any, where: str) -> Action:
    if len(check_json(action, list, where)) != 3:
        raise ValueError(f"{where}: expected [class, start, end], got {shown(action)}.")
    label = check_json(action[0], int, where)
    start, end = (float(check_json(time, float, where)) for time in action[1:])
    return Action(label, start, end)


# In the order in which they are tried.
FORMATS = {
    "native": Format(_is_native, _read_native, _native_text),
    "kenshohara": Format(_is_kenshohara, _read_kenshohara, _kenshohara_text),
    "piergiaj": Format(_is_piergiaj, _read_piergiaj, _piergiaj_text),
}
