"""Charades: 30-second videos of everyday life with the time spans of 157 actions.

G. A. Sigurdsson et al., Hollywood in Homes, ECCV 2016. Non-commercial use; license.txt of the
annotations has the terms. https://prior.allenai.org/projects/charades

The annotation folder is that of Charades.zip: `Charades_v1_{train,test}.csv` and
`Charades_v1_classes.txt`. Videos are `<id>.mp4`; frames instead of videos are in `<id>/`, at 24 fps
in the official archives. A video has any number of labels, or none.
"""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from common.annotations import Action, Record
from common.annotations.datasets import readers
from common.annotations.datasets.dataset import Dataset, Slip

CLASSES = 157

_SUBSETS = {"training": ("Charades_v1_train.csv",), "testing": ("Charades_v1_test.csv",)}
_ID = re.compile(r"[A-Z0-9]{5}", re.ASCII)
_ACTION = re.compile(r"c(\d{3}) (\d+(?:\.\d+)?) (\d+(?:\.\d+)?)", re.ASCII)
_CLASS = re.compile(r"c(\d{3}) (.+)", re.ASCII)


def records(annotations: Path, variant: str = "") -> list[Record]:
    """Returns the videos of both lists, training first.

    Spans are cut at the length of the video, if known: 30 % of them end later in the file. A span
    that ends before it starts is kept: it matches no time, but its class counts among the video's
    labels, as in the official evaluation.
    """
    names = readers.UniqueNames()
    found = []
    for subset, path in readers.subset_files(annotations, _SUBSETS).items():
        # Copies from before 2017-02-27 have no column `length`.
        for line, row in readers.csv_rows(path, ("id", "actions"), {}):
            record = _record(row, subset, path, line)
            found.append(names.add(record, path, line))
    return found


def classes(annotations: Path, variant: str = "") -> tuple[str, ...]:
    """Returns the class names, which contain slashes and so cannot name folders."""
    path = readers.require(annotations, "Charades_v1_classes.txt")
    names: list[str] = []
    for line, text in readers.lines(path):
        match = _CLASS.fullmatch(text)
        if match is None or int(match[1]) != len(names):
            readers.malformed(path, line, f"c{len(names):03d} and the name of the class", text)
        names.append(match[2].strip())
    if len(names) != CLASSES:
        raise ValueError(f"{path}: expected {CLASSES} classes, got {len(names)}.")
    return tuple(names)


def candidates(record: Record) -> Iterator[Record]:
    """Yields videos, then frame folders, in the user's folder and in the official archives."""
    for folder in ("", "Charades_v1", "Charades_v1_480"):
        yield dataclasses.replace(record, path=str(PurePosixPath(folder, record.path)))
    yield dataclasses.replace(record, path=record.name)
    yield dataclasses.replace(record, path=f"Charades_v1_rgb/{record.name}", fps=24.0)


def _record(row: dict[str, str], subset: str, path: Path, line: int) -> Record:
    name = row["id"]
    if not _ID.fullmatch(name):
        readers.malformed(path, line, "an id of five capital letters and digits", name)
    duration = None
    if "length" in row:
        number = re.fullmatch(r"\d+(\.\d+)?", row["length"], re.ASCII)
        duration = float(row["length"]) if number else 0.0
        if not duration:
            readers.malformed(path, line, "a length above 0 seconds", row["length"])
    actions = []
    for text in filter(None, row["actions"].split(";")):
        match = _ACTION.fullmatch(text.strip())
        if match is None or int(match[1]) >= CLASSES:
            readers.malformed(
                path, line, "actions such as 'c092 11.90 21.20;c147 0.00 12.60'", text
            )
        end = float(match[3])
        if duration is not None:
            end = min(end, duration)
        actions.append(Action(int(match[1]), float(match[2]), end))
    labels = tuple(sorted({action.label for action in actions}))
    return Record(name, f"{name}.mp4", subset, labels, actions=tuple(actions), duration=duration)


DATASET = Dataset(
    name="charades",
    title="Charades",
    records=records,
    classes=classes,
    class_counts={"": CLASSES},
    counts={"": {"training": (7985,), "testing": (1863,)}},
    slips=(
        Slip(
            "videos without any action: the official classification metric ignores them, and the "
            "localisation metric counts every prediction in them as wrong",
            lambda record: not record.actions,
        ),
        Slip(
            "spans reach the end of the video, or ended later and were cut",
            lambda record: any(action.end == record.duration for action in record.actions),
        ),
        Slip(
            "spans of no length, or less: they match no frame, but their class counts",
            lambda record: any(action.end <= action.start for action in record.actions),
        ),
        Slip(
            "videos of unknown length: an old copy of the lists, without the column `length`",
            lambda record: record.duration is None,
        ),
    ),
    candidates=candidates,
)
