"""Something-Something V1: 108,499 clips of 174 classes, published as frames at 12 fps.

R. Goyal et al., ICCV 2017, arXiv:1706.04261. For research, under its own terms.
https://developer.qualcomm.com/software/ai-datasets/something-something

The annotations are `something-something-v1-{labels,train,validation,test}.csv`, without a header
and with `;` between id and label, because labels contain commas. The frames lie as `ID/00001.jpg`.
Two class orders are in use: "sorted", as in V2 and most programs, and "file", that of the labels
file.
"""

import re
from pathlib import Path

from common.annotations import Record
from common.annotations.datasets import readers
from common.annotations.datasets.dataset import Dataset, also_in

_PREFIX = "something-something-v1"

_FILES = {
    "training": (f"{_PREFIX}-train.csv",),
    "validation": (f"{_PREFIX}-validation.csv",),
    "testing": (f"{_PREFIX}-test.csv",),
}


def read(folder: Path, order: str) -> tuple[tuple[str, ...], list[Record]]:
    """Returns the classes in the order "sorted" or "file", and the clips of the lists."""
    files = readers.subset_files(folder, _FILES)
    source = f"{_PREFIX}-labels.csv"
    classes = readers.classes(readers.require(folder, source))
    if order == "sorted":
        classes = tuple(sorted(classes))
    indices = readers.indexed(classes)

    def parse(line: str, subset: str) -> Record:
        labels: tuple[int, ...] = ()
        if subset == "testing":
            name = line
        else:
            name, _, label = line.partition(";")
            if label:
                labels = readers.label_of(indices, label, source)
        if not re.fullmatch("[0-9]+", name) or bool(labels) == (subset == "testing"):
            expected = "an id" if subset == "testing" else "'ID;LABEL'"
            raise readers.wrong(f"{expected}, the id a number", line)
        return Record(name, name, subset, labels, fps=12.0)

    return classes, readers.records(files, readers.lines, parse)


_COUNTS = {"training": (86_017,), "validation": (11_522,), "testing": (10_960,)}

DATASET = Dataset(
    name="something_v1",
    title="Something-Something V1",
    read=read,
    variant="order",
    variants=("sorted", "file"),
    num_classes=174,
    counts={"sorted": _COUNTS, "file": _COUNTS},
    candidates=also_in("20bn-something-something-v1"),
)
