"""Something-Something V1: 108,499 clips of 174 classes, given out as frames of 12 a second.

The annotations are `something-something-v1-{labels,train,validation,test}.csv`: no header, and
`;` between the id and the label, as labels hold commas. The frames lie as `ID/00001.jpg`. Two
orders of the classes are in use: "sorted", that of V2 and of most programs, and "file", the lines
of the labels file.
"""

from pathlib import Path

from common.annotations import Record
from common.annotations.datasets import Dataset, _files

_FPS = 12.0

_PREFIX = "something-something-v1"

_COUNTS = {"training": (86_017,), "validation": (11_522,), "testing": (10_960,)}


def records(annotations: Path, order: str) -> list[Record]:
    """The clips of all lists that are in the folder, in their order."""
    paths = _files.pick_subsets(
        annotations,
        {
            "training": (f"{_PREFIX}-train.csv",),
            "validation": (f"{_PREFIX}-validation.csv",),
            "testing": (f"{_PREFIX}-test.csv",),
        },
    )
    indices = {name: index for index, name in enumerate(classes(annotations, order))}
    names = _files.Names()
    found = []
    for subset, path in paths.items():
        for number, line in _files.lines(path):
            identity, semicolon, label = line.partition(";")
            testing = subset == "testing"
            if not (identity.isascii() and identity.isdigit()) or testing == bool(semicolon):
                expected = "an id, which is a number" if testing else "'ID;LABEL', the id a number"
                _files.malformed(path, number, expected, line)
            labels: tuple[int, ...] = ()
            if not testing:
                labels = _files.label_of(indices, label, path, number, f"{_PREFIX}-labels.csv")
            record = Record(identity, identity, subset, labels, fps=_FPS)
            found.append(names.add(record, path, number))
    return found


def classes(annotations: Path, order: str) -> tuple[str, ...]:
    """The lines of the labels file, sorted or as they are."""
    path = _files.require(annotations, f"{_PREFIX}-labels.csv")
    seen: dict[str, int] = {}
    for number, line in _files.lines(path):
        if seen.setdefault(line, number) != number:
            _files.malformed(path, number, f"a class that line {seen[line]} has not", line)
    return tuple(sorted(seen) if order == "sorted" else seen)


DATASET = Dataset(
    name="something_v1",
    title="Something-Something V1",
    homepage="https://developer.qualcomm.com/software/ai-datasets/something-something",
    citation='R. Goyal et al. The "something something" video database for learning and '
    "evaluating visual common sense. ICCV 2017, arXiv:1706.04261.",
    licence="for research, by its own terms",
    records=records,
    classes=classes,
    variant="order",
    variants=("sorted", "file"),
    class_counts={"sorted": 174, "file": 174},
    counts={"sorted": _COUNTS, "file": _COUNTS},
    candidates=_files.also_in("20bn-something-something-v1"),
)
