"""The project's own annotation files: JSON, one file a fold, one record a line. Version 1.

    {"format": "i3d-annotations", "version": 1,
     "dataset": "ucf101", "variant": "1",
     "classes": ["ApplyEyeMakeup", ...],
     "counts": {"training": 9537, "validation": 3783},
     "records": [
      {"name": "YoYo/v_YoYo_g08_c01", "path": "YoYo/v_YoYo_g08_c01.avi", "subset": "training",
       "labels": [100]},
      ...]}

A record has the fields of `common.annotations.Record`; those that are as by default are left
out. Its actions are objects with the fields of `Action`: `{"label": 7, "start": 1.5, "end": 4}`.
"counts" has the subsets that have records, so that a file that was cut or merged shows.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from common import annotations
from common.annotations import Action, Annotations, Record
from common.io import check_json, listing

_FORMAT = "i3d-annotations"

_VERSION = 1

_HEADER = {
    "format": str,
    "version": int,
    "dataset": str,
    "variant": str,
    "classes": list,
    "counts": dict,
    "records": list,
}

_RECORD = {
    "name": str,
    "path": str,
    "subset": str,
    "labels": list,
    "start": float,
    "end": float,
    "actions": list,
    "unit": str,
    "duration": float,
    "fps": float,
    "frames": int,
    "boxes": str,
}

_ACTION = {"label": int, "start": float, "end": float, "subject": int}


def recognises(document: Any) -> bool:
    """Whether this, read from JSON, is such a file."""
    return isinstance(document, dict) and document.get("format") == _FORMAT


def text(content: Annotations) -> str:
    """The file that says this; the same content gives the same bytes."""
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "dataset": content.dataset,
        "variant": content.variant,
        "classes": content.classes,
        "counts": content.counts,
    }
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in header.items())
    records = ",\n".join(json.dumps(_changed(record)) for record in content.records)
    return "{" + ",\n".join(lines) + ',\n"records": [\n' + records + "\n]}\n"


def read(document: Any) -> Annotations:
    """What such a file says.

    Raises:
        ValueError: Another version, a field that is missing, unknown or of the wrong kind, or
            counts that are not those of the records; the text names the record.
    """
    if document.get("version") != _VERSION:
        raise ValueError(
            f"expected version {_VERSION} of the format. Received: {document.get('version')!r}. "
            "Write the file again with this version of the project."
        )
    header = _checked("the file", document, _HEADER, required=_HEADER)
    content = Annotations(
        classes=tuple(check_json(name, str, "classes") for name in header["classes"]),
        records=tuple(_record(value, number) for number, value in enumerate(header["records"])),
        dataset=header["dataset"],
        variant=header["variant"],
    )
    annotations.check(content)
    if content.counts != header["counts"]:
        raise ValueError(
            f"expected the records that the file counts: {header['counts']}. Received: "
            f"{content.counts}."
        )
    return content


def _record(value: Any, number: int) -> Record:
    where = f"record {number}"
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        where = f"record {value['name']!r}"
    fields = _checked(where, value, _RECORD, required=("name", "path", "subset"))
    labels = fields.pop("labels", ())
    actions = fields.pop("actions", ())
    return Record(
        **fields,
        labels=tuple(check_json(label, int, f"{where}, labels") for label in labels),
        actions=tuple(
            Action(
                **_checked(f"{where}, action {index}", action, _ACTION, ("label", "start", "end"))
            )
            for index, action in enumerate(actions)
        ),
    )


def _checked(
    where: str, value: Any, kinds: Mapping[str, type], required: Iterable[str]
) -> dict[str, Any]:
    """A copy of an object with the fields it should have, each of its kind."""
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
    """The fields that are not as by default."""
    found = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if item != field.default:
            nested = field.name == "actions"
            found[field.name] = [_changed(action) for action in item] if nested else item
    return found
