"""HMDB51: 6,766 clips of 51 classes, with three folds of 70 training and 30 test clips a class.

H. Kuehne, H. Jhuang, E. Garrote, T. Poggio, T. Serre, ICCV 2011. CC BY 4.0.
https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/

The annotations are the folder `testTrainMulti_7030_splits`, with one list for each class and fold;
the videos lie as `CLASS/NAME.avi`, and the sorted class names number the classes. As is customary,
test clips (code 2) are the "validation" subset; a fold does not use clips of code 0.
"""

import re
from pathlib import Path

from common.annotations import Record, label_maps
from common.annotations.datasets import readers
from common.annotations.datasets.dataset import Dataset, also_in

_SUBSETS = {"1": "training", "2": "validation"}

_LINE = re.compile(r"([^/]+)\.avi\s+([012])")


def read(folder: Path, fold: str) -> tuple[tuple[str, ...], list[Record]]:
    """Returns the 51 classes, and the clips of a fold class by class."""
    classes = label_maps.load(label_maps.HMDB51)
    indices = readers.indexed(classes)

    def parse(line: str, class_name: str) -> Record | None:
        match = _LINE.fullmatch(line)
        if match is None:
            raise readers.wrong("'NAME.avi CODE' with code 0, 1 or 2", line)
        name = f"{class_name}/{match[1]}"
        if match[2] == "0":
            return None
        return Record(name, f"{name}.avi", _SUBSETS[match[2]], (indices[class_name],))

    files = [(readers.require(folder, f"{name}_test_split{fold}.txt"), name) for name in classes]
    return classes, readers.records(files, readers.lines, parse)


DATASET = Dataset(
    name="hmdb51",
    title="HMDB51",
    read=read,
    variant="fold",
    variants=("1", "2", "3"),
    counts={fold: {"training": (3_570,), "validation": (1_530,)} for fold in "123"},
    oddities={
        "names contain characters that are special to shells, globs and printf": lambda record: (
            re.fullmatch(r"[A-Za-z0-9_./]*", record.name) is None
        )
    },
    candidates=also_in("hmdb51_org"),
)
