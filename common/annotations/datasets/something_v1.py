"""Something-Something V1: 108,499 clips of 174 classes, published as frames at 12 fps.

R. Goyal et al., ICCV 2017, arXiv:1706.04261. For research, under its own terms.
https://developer.qualcomm.com/software/ai-datasets/something-something

The annotations are `something-something-v1-{labels,train,validation,test}.csv`, without a header
and with `;` between id and label, because labels contain commas. The frames lie as `ID/00001.jpg`.
Two class orders are in use: "sorted", as in V2 and most programs, and "file", that of the labels
file.
"""

from pathlib import Path

from common.annotations import Record
from common.annotations.datasets import readers
from common.annotations.datasets.dataset import Dataset, also_in

_FPS = 12.0

_PREFIX = "something-something-v1"

_COUNTS = {"training": (86_017,), "validation": (11_522,), "testing": (10_960,)}


def records(annotations: Path, order: str) -> list[Record]:
    """Returns the clips of the lists in the folder, in their order."""
    parts = {"training": "train", "validation": "validation", "testing": "test"}
    files = {subset: (f"{_PREFIX}-{part}.csv",) for subset, part in parts.items()}
    indices = {name: index for index, name in enumerate(classes(annotations, order))}
    names = readers.UniqueNames()
    found = []
    for subset, path in readers.subset_files(annotations, files).items():
        for number, line in readers.lines(path):
            identity, semicolon, label = line.partition(";")
            testing = subset == "testing"
            if not (identity.isascii() and identity.isdigit()) or testing == bool(semicolon):
                expected = "an id, which is a number" if testing else "'ID;LABEL', the id a number"
                readers.malformed(path, number, expected, line)
            labels: tuple[int, ...] = ()
            if not testing:
                labels = readers.label_of(indices, label, path, number, f"{_PREFIX}-labels.csv")
            record = Record(identity, identity, subset, labels, fps=_FPS)
            found.append(names.add(record, path, number))
    return found


def classes(annotations: Path, order: str) -> tuple[str, ...]:
    """Returns the lines of the labels file, sorted or in file order."""
    path = readers.require(annotations, f"{_PREFIX}-labels.csv")
    seen: dict[str, int] = {}
    for number, line in readers.lines(path):
        if seen.setdefault(line, number) != number:
            readers.malformed(path, number, f"another class than line {seen[line]}", line)
    return tuple(sorted(seen) if order == "sorted" else seen)


DATASET = Dataset(
    name="something_v1",
    title="Something-Something V1",
    records=records,
    classes=classes,
    variant="order",
    variants=("sorted", "file"),
    class_counts={"sorted": 174, "file": 174},
    counts={"sorted": _COUNTS, "file": _COUNTS},
    candidates=also_in("20bn-something-something-v1"),
)
