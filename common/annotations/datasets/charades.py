"""Charades: 30-second videos of everyday life with the time spans of 157 actions.

G. A. Sigurdsson et al., Hollywood in Homes, ECCV 2016. Non-commercial use; license.txt of the
annotations has the terms. https://prior.allenai.org/projects/charades

The annotation folder is that of Charades.zip: `Charades_v1_{train,test}.csv` and
`Charades_v1_classes.txt`, whose class names contain slashes and so cannot name folders. Videos are
`<id>.mp4`; frames instead of videos are in `<id>/`, at 24 fps in the official archives. A video has
any number of labels, or none.
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path

from common.annotations import Action, Record
from common.annotations.datasets import dataset
from common.annotations.datasets.dataset import Dataset

CLASSES = 157

_FILES = {"training": ("Charades_v1_train.csv",), "testing": ("Charades_v1_test.csv",)}
_ACTION = re.compile(r"\s*c(\d{3}) (\d+(?:\.\d+)?) (\d+(?:\.\d+)?)\s*", re.ASCII)


def read(folder: Path, variant: str = "") -> tuple[tuple[str, ...], list[Record]]:
    """The classes, and the videos of both lists, training first.

    Spans are cut at the length of the video, if known: 30 % of them end later in the file. A span
    that ends before it starts is kept: it matches no time, but its class counts among the video's
    labels, as in the official evaluation.
    """
    files = dataset.subset_files(folder, _FILES)
    path = dataset.require(folder, "Charades_v1_classes.txt")
    classes = dataset.classes(path, "c{:03d}".format)
    if len(classes) != CLASSES:
        raise ValueError(f"{path}: expected {CLASSES} classes, got {len(classes)}.")
    return classes, dataset.read_records(files, _rows, _parse)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    # Copies from before 2017-02-27 have no column `length`.
    return dataset.csv_rows(path, ("id", "actions"))


def _parse(row: dict[str, str], subset: str) -> Record:
    name, length = row["id"], row.get("length")
    if not re.fullmatch("[A-Z0-9]{5}", name):
        raise dataset.wrong("an id of five capital letters and digits", name)
    duration = None
    if length is not None:
        duration = float(length) if re.fullmatch(r"\d+(\.\d+)?", length, re.ASCII) else 0.0
        if not duration:
            raise dataset.wrong("a length above 0 seconds", length)
    actions = []
    for text in filter(None, row["actions"].split(";")):
        match = _ACTION.fullmatch(text)
        if match is None or int(match[1]) >= CLASSES:
            raise dataset.wrong("actions such as 'c092 11.90 21.20;c147 0.00 12.60'", text)
        end = min(float(match[3]), duration or math.inf)
        actions.append(Action(int(match[1]), float(match[2]), end))
    labels = tuple(sorted({action.label for action in actions}))
    return Record(name, f"{name}.mp4", subset, labels, actions=tuple(actions), duration=duration)


def candidates(record: Record) -> Iterator[Record]:
    """Yields videos, then frame folders, in the user's folder and in the official archives."""
    yield from dataset.below("", "Charades_v1/", "Charades_v1_480/")(record)
    yield dataclasses.replace(record, path=record.name)
    yield dataclasses.replace(record, path=f"Charades_v1_rgb/{record.name}", fps=24.0)


DATASET = Dataset(
    name="charades",
    title="Charades",
    read=read,
    counts={"": ((7985,), (), (1863,))},
    candidates=candidates,
)
