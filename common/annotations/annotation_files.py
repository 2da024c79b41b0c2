"""Reads and writes annotation files in three JSON formats, told apart by their content.

Native (version 1): one file a fold, one record a line.

    {"format": "i3d-annotations", "version": 1, "dataset": "ucf101", "variant": "1",
     "classes": ["ApplyEyeMakeup", ...], "counts": {"training": 9537, "validation": 3783},
     "records": [
      {"name": "YoYo/v_YoYo_g08_c01", "path": "YoYo/v_YoYo_g08_c01.avi", "subset": "training",
       "labels": [100]}, ...]}

A record has the fields of `common.annotations.Record` that are not the default; an action is
`{"label": 7, "start": 1.5, "end": 4}`. By "counts" a truncated or merged file is noticed.

kenshohara: 3D-ResNets-PyTorch and the MindSpore models (`ucf101_01.json`).

    {"labels": ["ApplyEyeMakeup", ...],
     "database": {"v_ApplyEyeMakeup_g08_c01": {"subset": "training",
                  "annotations": {"label": "ApplyEyeMakeup", "segment": [1, 121]}}}}

Frames lie in `LABEL/KEY`, or in `test/KEY` without a label, which only clips for testing may lack.
The segment holds the first frame's number and that after the last: 120 frames here ([0, 120] for
frames in HDF5 files). It is missing if the number of frames is unknown.

piergiaj: pytorch-i3d (`charades.json`).

    {"7UPGT": {"subset": "training", "duration": 23.21, "actions": [[149, 16.0, 22.2]]}}

The key is the record's name; times are seconds. pytorch-i3d takes its frame rate from frames /
duration and labels frames by the rule "strict" (`common.annotations.frame_labels`). Spans in frames
become frame / fps, rounded down to microseconds: with the rule "half_open" and the same rate,
reading them back gives the same frames.
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
    """Reads a file in any of the formats; `ValueError` if it is malformed or in none of them."""
    document = load_json(path)
    try:
        return FORMATS[format_of(document)][0](document)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


def format_of(document: Any) -> str:
    """The format of a JSON document, a key of `FORMATS`; `ValueError` if it has none of them."""
    found = document if isinstance(document, dict) else {}
    if found.get("format") == _NATIVE:
        return "native"
    if {"labels", "database"} <= set(found):
        return "kenshohara"
    entries = found.values()
    if entries and all(isinstance(x, dict) and {"subset", "actions"} <= set(x) for x in entries):
        return "piergiaj"
    known = ", ".join(FORMATS)
    raise ValueError(f"not annotations in a known format ({known}). `make_annotations` makes them.")


def text(content: Annotations, container: str = "native") -> str:
    """The content of a file; `ValueError` if the format `container` cannot express `content`."""
    return FORMATS[container][1](content)


def write(path: str | os.PathLike[str], content: Annotations, container: str = "native") -> None:
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
    """The fields that differ from their default."""
    found = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if item != field.default:
            nested = field.name == "actions"
            found[field.name] = [_changed(action) for action in item] if nested else item
    return found


def _read_native(document: dict[str, Any]) -> Annotations:
    if document.get("version") != _VERSION:
        got = f"{document.get('version')!r}. Make the file again"
        raise ValueError(f"expected version {_VERSION} of the format. Received: {got}.")
    check_shape(document, _NATIVE_FILE, exact=True)
    records = []
    for entry in document["records"]:
        actions = tuple(Action(**action) for action in entry.get("actions", ()))
        labels = tuple(entry.get("labels", ()))
        records.append(Record(**{**entry, "labels": labels, "actions": actions}))
    classes, dataset = tuple(document["classes"]), document["dataset"]
    content = Annotations(classes, tuple(records), dataset, document["variant"])
    if content.counts != document["counts"]:
        text = f"{document['counts']}. Received: {content.counts}."
        raise ValueError(f"expected as many records as the file says: {text}")
    return content


def _kenshohara_text(content: Annotations) -> str:
    database: dict[str, Any] = {}
    for record in content.records:
        unlabelled = record.subset == "testing" and not record.labels
        label = content.classes[record.labels[0]] if content.classes and record.labels else None
        one = unlabelled or (label is not None and len(record.labels) == 1)
        place = f"{label or _UNLABELLED}/{record.id}"
        if record.actions or not one or record.name != place or record.id in database:
            raise ValueError(
                f"record {record.name!r}: this format holds clips of one class of a known name, "
                "without spans, with frames in CLASS/KEY, each key once. Choose another format."
            )
        entry: dict[str, Any] = {} if unlabelled else {"label": label}
        if record.frames is not None:
            entry["segment"] = [1, record.frames + 1]
        database[record.id] = {"subset": record.subset, "annotations": entry}
    return json.dumps({"labels": content.classes, "database": database}) + "\n"


def _read_kenshohara(document: dict[str, Any]) -> Annotations:
    check_shape(document, _KENSHOHARA_FILE)
    classes = document["labels"]
    indices = {label: index for index, label in enumerate(classes)}
    records = []
    for key, entry in document["database"].items():
        found, subset = entry["annotations"], entry["subset"]
        first, stop = found.get("segment", (0, 0))
        label = found.get("label")
        known = label in indices or (label is None and subset == "testing")
        if not known or not 0 <= first <= min(1, stop):
            raise ValueError(
                f"entry {key!r}: expected one of the file's labels, and a segment [1, frames + 1] "
                f"or [0, frames]. Received: {found}."
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
    in_frames, duration = record.unit == "frames", record.duration
    if duration is None and record.frames is not None and record.fps is not None:
        duration = float(record.frames / as_written(record.fps))
    refused = {
        "a part of a longer video": record.start is not None or record.end is not None,
        "labels without spans": not {*record.labels} <= {each.label for each in record.actions},
        "an unknown duration": duration is None,
        "spans in frames of an unknown rate": in_frames and record.fps is None,
    }
    for what in (what for what in refused if refused[what]):
        raise ValueError(
            f"{record.name}: this format holds whole videos of known duration, with labels in "
            f"spans in seconds. Received: {what}. Choose another format."
        )

    def seconds(time: float) -> float:
        if not in_frames:
            return float(time)
        return math.floor(as_written(time) / as_written(record.fps or 0) * 1_000_000) / 1_000_000

    actions = [[each.label, seconds(each.start), seconds(each.end)] for each in record.actions]
    return {"subset": record.subset, "duration": float(duration or 0), "actions": actions}


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
