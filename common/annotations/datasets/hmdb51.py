"""HMDB51: 6,766 clips of 51 classes, with three folds of 70 training and 30 test clips a class.

H. Kuehne, H. Jhuang, E. Garrote, T. Poggio, T. Serre, ICCV 2011. CC BY 4.0.
https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/

The annotations are the folder `testTrainMulti_7030_splits`, with one list for each class and fold;
the videos lie as `CLASS/NAME.avi`. As is customary, test clips (code 2) are the "validation"
subset; a fold does not use clips of code 0.
"""

from pathlib import Path

from common.annotations import Record, label_maps
from common.annotations.datasets import readers
from common.annotations.datasets.dataset import Dataset, Slip, also_in

_SUBSETS = {"0": None, "1": "training", "2": "validation"}

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./")

_COUNTS = {"training": (3_570,), "validation": (1_530,)}


def records(annotations: Path, fold: str) -> list[Record]:
    """Returns the clips of a fold, class by class, in the order of the lists."""
    names = readers.UniqueNames()
    found = []
    for label, class_name in enumerate(classes(annotations, fold)):
        path = readers.require(annotations, f"{class_name}_test_split{fold}.txt")
        for number, line in readers.lines(path):
            name, _, code = line.rpartition(" ")
            if not name.endswith(".avi") or "/" in name or code not in _SUBSETS:
                readers.malformed(path, number, "'NAME.avi CODE' with code 0, 1 or 2", line)
            subset = _SUBSETS[code]
            if subset is None:
                continue
            video = f"{class_name}/{name.strip()}"
            record = Record(video.removesuffix(".avi"), video, subset, (label,))
            found.append(names.add(record, path, number))
    return found


def classes(annotations: Path, fold: str) -> tuple[str, ...]:
    """Returns the 51 class names, sorted."""
    return label_maps.load(label_maps.HMDB51)


DATASET = Dataset(
    name="hmdb51",
    title="HMDB51",
    records=records,
    classes=classes,
    variant="fold",
    variants=("1", "2", "3"),
    class_counts={"1": 51, "2": 51, "3": 51},
    counts={"1": _COUNTS, "2": _COUNTS, "3": _COUNTS},
    slips=(
        Slip(
            "names contain characters that are special to shells, globs and printf",
            lambda record: not _PLAIN.issuperset(record.name),
        ),
    ),
    candidates=also_in("hmdb51_org"),
)
