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
from collections.abc import Callable
from typing import Any

from common.annotations import Action, Annotations, Record
from common.annotations.frame_labels import as_written
from common.io import check_shape, load_json, write_text

_NATIVE = "i3d-annotations"

_VERSION = 1

# Shapes for `common.io.check_shape`.
_ACTION = {"label": int, "start": float, "end": float, "subject?": int}
_RECORD = {
    **dict.fromkeys(("name", "path", "subset", "unit?", "boxes?"), str),
    **dict.fromkeys(("start?", "end?", "duration?", "fps?"), float),
    "frames?": int,
    "labels?": [int],
    "actions?": [_ACTION],
}
_NATIVE_FILE = {
    **dict.fromkeys(("format", "dataset", "variant"), str),
    "version": int,
    "classes": [str],
    "counts": {str: int},
    "records": [_RECORD],
}
_KENSHOHARA_ENTRY = {"subset": str, "annotations": {"label?": str, "segment?": (int, int)}}
_KENSHOHARA_FILE = {"labels": [str], "database": {str: _KENSHOHARA_ENTRY}}
_PIERGIAJ_ENTRY = {"subset": str, "duration": float, "actions": [(int, float, float)]}

_UNLABELLED = "test"  # kenshohara's folder of clips without a label


def read(path: str | os.PathLike[str]) -> Annotations:
    """Reads a file in any of the formats.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The format is unknown, or the content is malformed; the text names the file.
    """
    document = load_json(path)
    try:
        return FORMATS[format_of(document)][0](document)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


def format_of(document: Any) -> str:
    """Returns the format of a JSON document: a key of `FORMATS`.

    Raises:
        ValueError: It has none of them.
    """
    keys = set(document) if isinstance(document, dict) else set()
    if "format" in keys and document["format"] == _NATIVE:
        return "native"
    if {"labels", "database"} <= keys:
        return "kenshohara"
    entries = [document[key] for key in keys]
    if keys and all(isinstance(x, dict) and {"subset", "actions"} <= set(x) for x in entries):
        return "piergiaj"
    raise ValueError(
        f"not annotations in a known format ({', '.join(FORMATS)}). "
        "`python -m common.prepare.make_annotations` makes them from a data set's own files."
    )


def text(content: Annotations, container: str = "native") -> str:
    """Returns the content of a file in the format `container`; it is deterministic.

    Raises:
        ValueError: The format cannot express `content`.
    """
    return FORMATS[container][1](content)


def write(path: str | os.PathLike[str], content: Annotations, container: str = "native") -> None:
    """Writes `text(content, container)` atomically; raises the same errors."""
    write_text(path, text(content, container))


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


def _changed(value: Record | Action) -> dict[str, Any]:
    """Returns the fields that differ from their default."""
    found = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if item != field.default:
            nested = field.name == "actions"
            found[field.name] = [_changed(action) for action in item] if nested else item
    return found


def _read_native(document: dict[str, Any]) -> Annotations:
    if document.get("version") != _VERSION:
        raise ValueError(
            f"expected version {_VERSION} of the format. Received: {document.get('version')!r}. "
            "Write the file again with this version of the project."
        )
    check_shape(document, _NATIVE_FILE, exact=True)
    content = Annotations(
        classes=tuple(document["classes"]),
        records=tuple(map(_native_record, document["records"])),
        dataset=document["dataset"],
        variant=document["variant"],
    )
    if content.counts != document["counts"]:
        raise ValueError(
            f"expected as many records as the file says: {document['counts']}. Received: "
            f"{content.counts}."
        )
    return content


def _native_record(entry: dict[str, Any]) -> Record:
    labels = tuple(entry.get("labels", ()))
    actions = tuple(Action(**action) for action in entry.get("actions", ()))
    return Record(**{**entry, "labels": labels, "actions": actions})


def _kenshohara_text(content: Annotations) -> str:
    if not content.classes:
        raise ValueError("this format needs class names, which are unknown.")
    database: dict[str, Any] = {}
    for record in content.records:
        if record.id in database:
            raise ValueError(f"record {record.name!r}: another record has the key {record.id!r}.")
        annotations = _kenshohara_annotations(record, content.classes)
        database[record.id] = {"subset": record.subset, "annotations": annotations}
    return json.dumps({"labels": content.classes, "database": database}) + "\n"


def _kenshohara_annotations(record: Record, classes: tuple[str, ...]) -> dict[str, Any]:
    unlabelled = record.subset == "testing" and not record.labels
    if record.actions or not (len(record.labels) == 1 or unlabelled):
        raise ValueError(
            f"record {record.name!r}: this format has one class a clip and no spans. Received: "
            f"{len(record.labels)} classes, {len(record.actions)} spans. Choose another format."
        )
    entry: dict[str, Any] = {} if unlabelled else {"label": classes[record.labels[0]]}
    place = f"{entry.get('label', _UNLABELLED)}/{record.id}"
    if record.name != place:
        raise ValueError(
            f"record {record.name!r}: a reader of this format looks for its frames in {place!r}, "
            "where they are not. Choose another format."
        )
    if record.frames is not None:
        entry["segment"] = [1, record.frames + 1]
    return entry


def _read_kenshohara(document: dict[str, Any]) -> Annotations:
    check_shape(document, _KENSHOHARA_FILE)
    classes = document["labels"]
    indices = {label: index for index, label in enumerate(classes)}
    records = []
    for key, entry in document["database"].items():
        found, subset = entry["annotations"], entry["subset"]
        first, stop = found.get("segment", (0, 0))
        if not 0 <= first <= min(1, stop):
            raise ValueError(
                f"entry {key!r}: expected a segment [1, frames + 1] or [0, frames]. Received: "
                f"{found['segment']}."
            )
        label = found.get("label")
        if label not in indices and (label is not None or subset != "testing"):
            raise ValueError(
                f"entry {key!r}: expected a label that is one of the file's labels. Received: "
                f"{label!r}."
            )
        name = f"{_UNLABELLED if label is None else label}/{key}"
        labels = () if label is None else (indices[label],)
        frames = stop - first if "segment" in found else None
        records.append(Record(name, name, subset, labels, frames=frames))
    return Annotations(tuple(classes), tuple(records))


def _piergiaj_text(content: Annotations) -> str:
    lines = (
        f"{json.dumps(record.name, ensure_ascii=False)}: {json.dumps(_piergiaj_entry(record))}"
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


def _read_piergiaj(document: dict[str, Any]) -> Annotations:
    check_shape(document, {str: _PIERGIAJ_ENTRY})
    records = []
    for key, entry in document.items():
        duration = float(entry["duration"])
        if duration <= 0:
            raise ValueError(f"entry {key!r}: expected a duration above 0 s, got {duration:g}.")
        actions = tuple(Action(c, float(start), float(end)) for c, start, end in entry["actions"])
        labels = tuple(sorted({action.label for action in actions}))
        records.append(
            Record(key, f"{key}.mp4", entry["subset"], labels, actions=actions, duration=duration)
        )
    return Annotations((), tuple(records))


# A function that converts a JSON document, and one that returns the content of a file.
FORMATS: dict[str, tuple[Callable[[Any], Annotations], Callable[[Annotations], str]]] = {
    "native": (_read_native, _native_text),
    "kenshohara": (_read_kenshohara, _kenshohara_text),
    "piergiaj": (_read_piergiaj, _piergiaj_text),
}
