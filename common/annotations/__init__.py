"""What is known of the clips of a data set: one format for all, and how others write it."""

import dataclasses
import math
from collections import Counter
from pathlib import PurePosixPath

SUBSETS = ("training", "validation", "testing")

UNITS = ("seconds", "frames")


@dataclasses.dataclass(frozen=True)
class Action:
    """A labelled span of a clip.

    Attributes:
        label: Index of the class.
        start: In the record's unit: seconds, or the 0-based number of the first frame.
        end: In the record's unit; a frame number is the first that no longer belongs to it.
        subject: Who acts: the number of a tracklet, where the data set has tracklets.
    """

    label: int
    start: float
    end: float
    subject: int | None = None


@dataclasses.dataclass(frozen=True)
class Record:
    """One clip of a data set.

    Attributes:
        name: Where prepared things of it are kept, relative, without suffix, unique in the data
            set: "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01".
        path: The video file, or the folder of frames, relative to the data set's folder.
        subset: "training", "validation" or "testing".
        labels: Indices of its classes, ascending; empty where they are not known, or none applies.
        start: Where the clip begins in the file, seconds; None is its beginning.
        end: Where it ends, seconds; None is the end of the file.
        actions: Spans with labels, in the order of the annotation file.
        unit: Of the spans: "seconds", or "frames" (0-based, as decoded).
        duration: Of the clip in seconds, as the annotation says.
        fps: Frames a second, as the annotation says: of `frames`, and of spans in frames.
        frames: How many frames there are, as the annotation says, else as prepared.
        boxes: The file with the tracklets' boxes, relative to the annotations' folder.
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
    """What is known of a data set, or of one fold of it.

    Attributes:
        classes: Names, in the order of the labels; empty where the file does not say them.
        records: Clips, in the order of the data set's own files.
        dataset: Its name in `common.annotations.datasets`; empty where that is not known.
        variant: Which fold, version or order of classes; empty where there is but one.
    """

    classes: tuple[str, ...]
    records: tuple[Record, ...]
    dataset: str = ""
    variant: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Clips of each subset that has any."""
        found = Counter(record.subset for record in self.records)
        return {subset: found[subset] for subset in SUBSETS if found[subset]}


def check(annotations: Annotations) -> None:
    """Sees to it that everything in there can be relied upon.

    Raises:
        ValueError: The text names the record, what was expected and what was received.
    """
    classes = annotations.classes
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice or "" in classes:
        raise ValueError(f"classes must have names, each its own. Received: {twice or ['']}.")
    names = set()
    for record in annotations.records:
        _check_record(record, len(classes))
        if record.name in names:
            raise ValueError(f"record {record.name!r} is there twice; names must be unique.")
        names.add(record.name)


def _check_record(record: Record, classes: int) -> None:
    def need(right: bool, field: str, expected: str) -> None:
        if not right:
            received = getattr(record, field)
            raise ValueError(
                f"record {record.name!r}, {field}: expected {expected}. Received: {received!r}."
            )

    relative = "a relative path with / and without empty parts, . and .."
    need(_is_relative(record.name), "name", relative)
    need(_is_relative(record.path), "path", relative)
    need(record.boxes is None or _is_relative(record.boxes), "boxes", relative)
    need(record.subset in SUBSETS, "subset", f"one of {', '.join(SUBSETS)}")
    need(record.unit in UNITS, "unit", f"one of {', '.join(UNITS)}")
    labels = [*record.labels, *(action.label for action in record.actions)]
    limit = classes or math.inf  # no classes: not known
    need(all(0 <= label < limit for label in labels), "labels", f"labels from 0, below {limit}")
    need(list(record.labels) == sorted(set(record.labels)), "labels", "ascending labels")
    for field in ("start", "end", "duration", "fps", "frames"):
        value = getattr(record, field)
        need(value is None or 0 <= value < math.inf, field, "a number from 0 on")
    times = [time for action in record.actions for time in (action.start, action.end)]
    need(all(map(math.isfinite, times)), "actions", "finite times")
    need(record.end is None or (record.start or 0) < record.end, "end", "a time after the start")


def _is_relative(path: str) -> bool:
    return not {"", ".", ".."} & set(path.split("/")) and "\0" not in path
