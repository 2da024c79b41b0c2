"""UCF101: 13,320 clips of 101 classes, with three folds of training and test lists.

The annotations are the folder `ucfTrainTestlist`; the videos lie as `CLASS/v_CLASS_gXX_cYY.avi`.
Its lists of tests are the "validation" subset here, as everybody uses them. The class of a clip
is its folder: the files of HandstandPushups are spelled otherwise. Labels are those of
`classInd.txt`, less one: sorted without regard to case, which is not how folders are sorted.
"""

from pathlib import Path

from common.annotations import Record, label_maps
from common.annotations.datasets import Dataset, Slip, _files, _lists


def records(annotations: Path, fold: str) -> list[Record]:
    """The clips of a fold: those of its training list, then those of its test list."""
    return _lists.records(annotations, fold, classes(annotations, fold))


def classes(annotations: Path, fold: str) -> tuple[str, ...]:
    """The 101 names; `classInd.txt` must say the same."""
    names = label_maps.load(label_maps.UCF101)
    path = _files.require(annotations, _lists.CLASSES)
    listed = _files.lines(path)
    for index, (number, line) in enumerate(listed):
        expected = f"{index + 1} {names[index]}" if index < len(names) else "no more classes"
        if line.split() != expected.split():
            _files.malformed(path, number, repr(expected), line)
    if len(listed) < len(names):
        raise ValueError(f"{path}: expected {len(names)} classes. Received: {len(listed)}.")
    return names


DATASET = Dataset(
    name="ucf101",
    title="UCF101",
    homepage="https://www.crcv.ucf.edu/data/UCF101.php",
    citation="K. Soomro, A. R. Zamir, M. Shah. UCF101: A Dataset of 101 Human Actions Classes "
    "From Videos in The Wild. CRCV-TR-12-01, arXiv:1212.0402, 2012.",
    records=records,
    classes=classes,
    variant="fold",
    variants=("1", "2", "3"),
    class_counts={"1": 101, "2": 101, "3": 101},
    counts={
        "1": {"training": (9_537,), "validation": (3_783,)},
        "2": {"training": (9_586,), "validation": (3_734,)},
        "3": {"training": (9_624,), "validation": (3_696,)},
    },
    slips=(
        Slip(
            "files of HandstandPushups are called v_HandStandPushups: names are found in any case",
            lambda record: record.name.startswith("HandstandPushups/v_HandStandPushups"),
        ),
    ),
    candidates=_files.also_in("UCF-101"),
)
