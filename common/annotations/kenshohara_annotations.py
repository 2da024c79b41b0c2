"""The annotation files of 3D-ResNets-PyTorch and of the MindSpore models, `ucf101_01.json`.

    {"labels": ["ApplyEyeMakeup", ...],
     "database": {"v_ApplyEyeMakeup_g08_c01": {"subset": "training",
                  "annotations": {"label": "ApplyEyeMakeup", "segment": [1, 121]}}}}

The key is the last part of a clip's name; its frames lie in `LABEL/KEY`, or in `test/KEY` where
there is no label, which only clips of the testing subset may lack. The segment has the number of
the first frame, from 1, and that of the first that is not there any more, so 120 frames here
([0, 120] where frames are in HDF5 files). It is missing where the number is not known.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from common import annotations
from common.annotations import SUBSETS, Annotations, Record

_UNLABELLED = "test"


def recognises(document: Any) -> bool:
    """Whether this, read from JSON, is such a file."""
    return isinstance(document, dict) and {"labels", "database"} <= set(document)


def text(content: Annotations) -> str:
    """The file that says this; the same content gives the same bytes.

    Raises:
        ValueError: A clip has not one class, has spans, another's last part of the name, or a
            folder where this format would not find it; or the names of the classes are not known.
    """
    if not content.classes:
        raise ValueError("this format needs the names of the classes, which are not known.")
    database: dict[str, Any] = {}
    for record in content.records:
        if record.id in database:
            raise ValueError(f"record {record.name!r}: another one has the key {record.id!r} too.")
        database[record.id] = {"subset": record.subset, "annotations": _entry(record, content)}
    return json.dumps({"labels": content.classes, "database": database}) + "\n"


def read(document: Any) -> Annotations:
    """What such a file says; paths are those of the folders of frames.

    Raises:
        ValueError: The text names the entry, what was expected and what was received.
    """
    labels, database = document["labels"], document["database"]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"labels: expected a list of texts. Received: {labels!r:.80}.")
    if not isinstance(database, dict):
        raise ValueError(f"database: expected an object. Received: {database!r:.80}.")
    indices = {label: index for index, label in enumerate(labels)}
    records = tuple(_record(key, entry, indices) for key, entry in database.items())
    content = Annotations(classes=tuple(labels), records=records)
    annotations.check(content)
    return content


def _entry(record: Record, content: Annotations) -> dict[str, Any]:
    unlabelled = record.subset == "testing" and not record.labels
    if record.actions or not (len(record.labels) == 1 or unlabelled):
        raise ValueError(
            f"record {record.name!r}: this format has one class a clip and no spans. Received: "
            f"{len(record.labels)} classes, {len(record.actions)} spans. Take another format."
        )
    entry: dict[str, Any] = {}
    if record.labels:
        entry["label"] = content.classes[record.labels[0]]
    place = f"{entry.get('label', _UNLABELLED)}/{record.id}"
    if record.name != place:
        raise ValueError(
            f"record {record.name!r}: this format looks for its frames in {place!r}, where they "
            "are not. Take the native format."
        )
    if record.frames is not None:
        entry["segment"] = [1, record.frames + 1]
    return entry


def _record(key: str, entry: Any, indices: Mapping[str, int]) -> Record:
    subset = entry.get("subset") if isinstance(entry, dict) else None
    found = entry.get("annotations") if isinstance(entry, dict) else None
    if subset not in SUBSETS or not isinstance(found, dict):
        _wrong(key, f"a subset of {', '.join(SUBSETS)} and annotations", entry)
    frames = _frames(key, found["segment"]) if "segment" in found else None
    if subset == "testing" and "label" not in found:
        name = f"{_UNLABELLED}/{key}"
        return Record(name, name, subset, frames=frames)
    label = found.get("label")
    if not isinstance(label, str) or label not in indices:
        _wrong(key, "a label that is one of the file's labels", label)
    name = f"{label}/{key}"
    return Record(name, name, str(subset), (indices[label],), frames=frames)


def _frames(key: str, segment: Any) -> int:
    """From [1, n + 1], or [0, n] for frames in HDF5, to n."""
    integers = isinstance(segment, list) and all(type(number) is int for number in segment)
    if not integers or len(segment) != 2 or not 0 <= segment[0] <= min(1, segment[1]):
        _wrong(key, "a segment [1, frames + 1] or [0, frames]", segment)
    return int(segment[1] - segment[0])


def _wrong(key: str, expected: str, received: object) -> NoReturn:
    raise ValueError(f"entry {key!r}: expected {expected}. Received: {received!r:.80}.")
