"""Charades: half a minute of everyday life a video, with the spans of 157 actions.

The folder of annotations is that of Charades.zip: `Charades_v1_{train,test}.csv` and
`Charades_v1_classes.txt`. Videos are `<id>.mp4`; frames, where they are used instead, are in
`<id>/`, in the official archives at 24 a second. A video has any number of labels, or none.
"""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from common.annotations import Action, Record
from common.annotations.datasets import Dataset, Slip, _files

CLASSES = 157

_SUBSETS = {"training": ("Charades_v1_train.csv",), "testing": ("Charades_v1_test.csv",)}
_ID = re.compile(r"[A-Z0-9]{5}", re.ASCII)
_ACTION = re.compile(r"c(\d{3}) (\d+(?:\.\d+)?) (\d+(?:\.\d+)?)", re.ASCII)
_CLASS = re.compile(r"c(\d{3}) (.+)", re.ASCII)


def records(annotations: Path, variant: str = "", cut_ends: bool = True) -> list[Record]:
    """The videos of both lists, training first.

    A span that ends before it starts is kept as it is: it matches no time, but its class counts
    among the video's labels, as in the official evaluation.

    Args:
        annotations: The folder.
        variant: There is but one.
        cut_ends: Spans end at the end of the video, where its length is known; three in ten are
            longer in the file. False keeps them so, as piergiaj's `charades.json` has them. No
            frame of the video gets another label by it.

    Raises:
        FileNotFoundError: There is no such folder, or it has none of the lists.
        ValueError: A malformed row; the text names the file and the line.
    """
    names = _files.Names()
    found = []
    for subset, path in _files.pick_subsets(annotations, _SUBSETS).items():
        # Copies from before 2017-02-27 have no column `length`.
        for line, row in _files.csv_rows(path, ("id", "actions"), {}):
            record = _record(row, subset, path, line, cut_ends)
            found.append(names.add(record, path, line))
    return found


def classes(annotations: Path, variant: str = "") -> tuple[str, ...]:
    """Names of the classes in the order of their indices; they hold slashes: no names for folders.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Not the classes c000 to c156, one a line.
    """
    path = _files.require(annotations, "Charades_v1_classes.txt")
    names: list[str] = []
    for line, text in _files.lines(path):
        match = _CLASS.fullmatch(text)
        if match is None or int(match[1]) != len(names):
            _files.malformed(path, line, f"c{len(names):03d} and the name of the class", text)
        names.append(match[2].strip())
    if len(names) != CLASSES:
        raise ValueError(f"{path}: expected {CLASSES} classes, got {len(names)}.")
    return tuple(names)


def candidates(record: Record) -> Iterator[Record]:
    """A video or a folder of frames, in the folder or in that of an official archive there."""
    for folder in ("", "Charades_v1", "Charades_v1_480"):
        yield dataclasses.replace(record, path=str(PurePosixPath(folder, record.path)))
    yield dataclasses.replace(record, path=record.name)
    yield dataclasses.replace(record, path=f"Charades_v1_rgb/{record.name}", fps=24.0)


def _record(row: dict[str, str], subset: str, path: Path, line: int, cut_ends: bool) -> Record:
    name = row["id"]
    if not _ID.fullmatch(name):
        _files.malformed(path, line, "an id of five capital letters and digits", name)
    duration = None
    if "length" in row:
        duration = _number(row["length"])
        if not duration:
            _files.malformed(path, line, "a length above 0 seconds", row["length"])
    actions = []
    for text in filter(None, row["actions"].split(";")):
        match = _ACTION.fullmatch(text.strip())
        if match is None or int(match[1]) >= CLASSES:
            _files.malformed(path, line, "actions such as 'c092 11.90 21.20;c147 0.00 12.60'", text)
        end = float(match[3])
        if cut_ends and duration is not None:
            end = min(end, duration)
        actions.append(Action(int(match[1]), float(match[2]), end))
    labels = tuple(sorted({action.label for action in actions}))
    spans = tuple(actions)
    return Record(name, f"{name}.mp4", subset, labels, actions=spans, duration=duration)


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII) else None


DATASET = Dataset(
    name="charades",
    title="Charades",
    homepage="https://prior.allenai.org/projects/charades",
    citation=(
        "G. A. Sigurdsson, G. Varol, X. Wang, A. Farhadi, I. Laptev, A. Gupta. Hollywood in Homes: "
        "Crowdsourcing Data Collection for Activity Understanding. ECCV 2016."
    ),
    licence="Non-commercial use; license.txt of the annotations has the terms.",
    records=records,
    classes=classes,
    class_counts={"": CLASSES},
    counts={"": {"training": (7985,), "testing": (1863,)}},
    slips=(
        Slip(
            "videos without any action: the official metric leaves them out in classification, and "
            "counts what is found in them as wrong in localisation",
            lambda record: not record.actions,
        ),
        Slip(
            "spans reach the end of the video, or end later in the file and were cut",
            lambda record: any(action.end == record.duration for action in record.actions),
        ),
        Slip(
            "spans end where or before they start: they match no frame, but their class counts",
            lambda record: any(action.end <= action.start for action in record.actions),
        ),
        Slip(
            "videos of unknown length: the lists are an old copy, without the column `length`",
            lambda record: record.duration is None,
        ),
    ),
    candidates=candidates,
)
