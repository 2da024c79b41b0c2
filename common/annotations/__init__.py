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
    """A labelled time span of a clip.

    Attributes:
        label: Class index.
        start: Seconds or 0-based frame number, by the record's unit.
        end: In the same unit; a frame number is exclusive.
        subject: Track number of whoever acts, in data sets with tracklets.
    """

    label: int
    start: float
    end: float
    subject: int | None = None


@dataclasses.dataclass(frozen=True)
class Record:
    """One clip of a data set.

    Attributes:
        name: Relative path without suffix, unique in the data set, under which everything
            prepared from the clip is stored: "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01".
        path: Video file or frame folder, relative to the data set's folder.
        subset: "training", "validation" or "testing".
        labels: Class indices, ascending; empty if unknown or if no class applies.
        start: Start of the clip within the file, in seconds; None is the start of the file.
        end: End of the clip within the file, in seconds; None is the end of the file.
        actions: Labelled spans, in the order of the annotation file.
        unit: Unit of the spans: "seconds", or "frames" (0-based, as decoded).
        duration: Length of the clip in seconds, as annotated.
        fps: Annotated frame rate, to which `frames` and spans in frames refer.
        frames: Number of frames, as annotated or as prepared.
        boxes: File with the tracklets' boxes, relative to the annotation folder.
    """

    name: str
    path: str
    subset: str
    labels: tuple[int, ...] = ()
    start: float | None = None
    end: float | None = None
    actions: tuple[Action, ...] = ()
    unit: str = "seconds"
    duration: float | None = None
    fps: float | None = None
    frames: int | None = None
    boxes: str | None = None

    @property
    def id(self) -> str:
        """The last part of the name, which other formats use as their key."""
        return PurePosixPath(self.name).name


@dataclasses.dataclass(frozen=True)
class Annotations:
    """The annotations of a data set, or of one of its folds.

    Attributes:
        classes: Class names in label order; empty if the file does not name them.
        records: Clips, in the order of the data set's own files.
        dataset: Name in `common.annotations.datasets`; empty if unknown.
        variant: Fold, version or class order; empty if there is only one.

    Raises:
        ValueError: Names the record and the field, what was expected and what was received.
    """

    classes: tuple[str, ...]
    records: tuple[Record, ...]
    dataset: str = ""
    variant: str = ""

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
            received = getattr(record, field)
            raise ValueError(
                f"record {record.name!r}, {field}: expected {expected}. Received: {received!r}."
            )

    for field in ("name", "path", "boxes"):
        parts = (getattr(record, field) or "").split("/")
        relative = not {"", ".", ".."} & set(parts) and "\0" not in "".join(parts)
        absent = field == "boxes" and record.boxes is None
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
