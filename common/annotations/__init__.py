"""Annotations: the clips of a data set with their classes and labelled time spans."""

import dataclasses
import math
from collections import Counter
from pathlib import PurePosixPath

SUBSETS = ("training", "validation", "testing")

TASKS = ("classes", "frames")
"""One label a clip; or any number of labels a frame."""

UNITS = ("seconds", "frames")


@dataclasses.dataclass(frozen=True)
class Action:
    """A labelled time span of a clip."""

    label: int
    start: float  # seconds or 0-based frame number, by the record's unit
    end: float  # in the same unit; a frame number is exclusive
    subject: int | None = None  # track number of whoever acts, in data sets with tracklets


@dataclasses.dataclass(frozen=True)
class Record:
    """One clip of a data set.

    Everything that is prepared from it is stored under its name, a relative path without suffix,
    unique in the data set: "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01".
    """

    name: str
    path: str  # video file or frame folder, relative to the data set's folder
    subset: str  # one of `SUBSETS`
    labels: tuple[int, ...] = ()  # ascending; empty if unknown or if no class applies
    start: float | None = None  # seconds within the file; None is its start
    end: float | None = None  # seconds within the file; None is its end
    actions: tuple[Action, ...] = ()  # in the order of the annotation file
    unit: str = "seconds"  # of the actions; or "frames" (0-based, as decoded)
    duration: float | None = None  # seconds, as annotated
    fps: float | None = None  # as annotated, to which `frames` and actions in frames refer
    frames: int | None = None  # as annotated or as prepared
    boxes: str | None = None  # file of the tracklets' boxes, relative to the annotation folder

    @property
    def id(self) -> str:
        """The last part of the name, which other formats use as their key."""
        return PurePosixPath(self.name).name


@dataclasses.dataclass(frozen=True)
class Annotations:
    """The annotations of a data set or fold; `ValueError` names a wrong record and its field."""

    classes: tuple[str, ...]  # in label order; empty if the file does not name them
    records: tuple[Record, ...]  # in the order of the data set's own files
    dataset: str = ""  # name in `common.annotations.datasets`; empty if unknown
    variant: str = ""  # fold, version or class order; empty if there is only one

    def __post_init__(self) -> None:
        if "" in self.classes or len(set(self.classes)) < len(self.classes):
            repeated = [name for name, count in Counter(self.classes).items() if count > 1]
            raise ValueError(
                f"class names must be unique and not empty. Received: {repeated or ['']}."
            )
        names = set()
        for record in self.records:
            _check(record, len(self.classes) or math.inf)
            if record.name in names:
                raise ValueError(f"record {record.name!r} appears twice; names must be unique.")
            names.add(record.name)

    @property
    def counts(self) -> dict[str, int]:
        """Number of clips in each subset that has any."""
        found = Counter(record.subset for record in self.records)
        return {subset: found[subset] for subset in SUBSETS if found[subset]}


def _check(record: Record, classes: float) -> None:
    def need(right: bool, field: str, expected: str) -> None:
        if not right:
            raise ValueError(
                f"record {record.name!r}, {field}: expected {expected}. Received: "
                f"{getattr(record, field)!r}."
            )

    for field in ("name", "path", "boxes"):
        value = getattr(record, field)
        relative = not {"", ".", ".."} & {*(value or "").split("/")} and "\0" not in (value or "")
        absent = field == "boxes" and value is None
        need(absent or relative, field, "a relative path with / and without empty parts, . and ..")
    need(record.subset in SUBSETS, "subset", f"one of {', '.join(SUBSETS)}")
    need(record.unit in UNITS, "unit", f"one of {', '.join(UNITS)}")
    labels = [*record.labels, *(action.label for action in record.actions)]
    need(all(0 <= x < classes for x in labels), "labels", f"labels from 0, below {classes}")
    need(list(record.labels) == sorted(set(record.labels)), "labels", "ascending labels")
    for field in ("start", "end", "duration", "fps", "frames"):
        value = getattr(record, field)
        need(value is None or 0 <= value < math.inf, field, "a finite number, at least 0")
    times = [time for action in record.actions for time in (action.start, action.end)]
    need(all(map(math.isfinite, times)), "actions", "finite times")
    need(record.end is None or (record.start or 0) < record.end, "end", "a time after the start")
