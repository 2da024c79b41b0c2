"""UCF101, and the user's own videos (`own`) laid out like it.

K. Soomro, A. R. Zamir, M. Shah, CRCV-TR-12-01, arXiv:1212.0402, 2012.
https://www.crcv.ucf.edu/data/UCF101.php

UCF101 has 13,320 clips of 101 classes in three folds. The annotations are the folder
`ucfTrainTestlist`, and the videos lie as `CLASS/v_CLASS_gXX_cYY.avi`. Labels are the numbers in
`classInd.txt` minus one: sorted without regard to case, which differs from the sorted folders.

Own videos have any number of classes and one to nine folds:

    videos/CLASS/NAME.avi      any video suffix; names may contain spaces
    lists/classInd.txt         a line "NUMBER CLASS" for each class, numbered from 1
    lists/trainlist01.txt      a line "CLASS/NAME.avi NUMBER" for each training clip
    lists/testlist01.txt       a line "CLASS/NAME.avi", with or without NUMBER, for each test clip

The class of a clip is its folder: the files of HandstandPushups are spelled differently. As is
customary, the test lists are the "validation" subset. `--fold=2` reads `trainlist02.txt` and
`testlist02.txt`.
"""

from itertools import zip_longest
from pathlib import Path, PurePosixPath

from common.annotations import Record, label_maps
from common.annotations.datasets import readers
from common.annotations.datasets.dataset import Dataset, also_in
from common.video import video_files

_CLASSES = "classInd.txt"


def read_own(folder: Path, fold: str) -> tuple[tuple[str, ...], list[Record]]:
    """Returns the classes, and the training list of a fold, then its test list."""
    classes = readers.classes(readers.require(folder, _CLASSES), _number)
    indices = readers.indexed(classes)

    def parse(line: str, subset: str) -> Record:
        name, *number = [line] if video_files.is_video(line) else line.rsplit(maxsplit=1)
        video = PurePosixPath(name)
        if len(video.parts) != 2 or not video_files.is_video(video):
            raise readers.wrong("'CLASS/NAME.avi', or that and a label", line)
        if subset == "training" and not number:
            raise readers.wrong("'CLASS/NAME.avi LABEL'", line)
        labels = readers.label_of(indices, video.parts[0], _CLASSES)
        if number and number[0] != str(labels[0] + 1):
            raise readers.wrong(f"label {labels[0] + 1}, that of {video.parts[0]}", number[0])
        return Record(str(video.with_suffix("")), str(video), subset, labels)

    files = [
        (readers.require(folder, f"{name}0{fold}.txt"), subset)
        for name, subset in (("trainlist", "training"), ("testlist", "validation"))
    ]
    return classes, readers.records(files, readers.lines, parse)


def read(folder: Path, fold: str) -> tuple[tuple[str, ...], list[Record]]:
    """Returns what `read_own` does, after checking that the classes are those of UCF101."""
    path = readers.require(folder, _CLASSES)
    listed = readers.classes(path, _number)
    for index, pair in enumerate(zip_longest(label_maps.load(label_maps.UCF101), listed), 1):
        if pair[0] != pair[1]:
            raise ValueError(f"{path}: expected class {index} to be {pair[0]}, got {pair[1]}.")
    return read_own(folder, fold)


def _number(index: int) -> str:
    return str(index + 1)


DATASET = Dataset(
    name="ucf101",
    title="UCF101",
    read=read,
    variant="fold",
    variants=("1", "2", "3"),
    counts={
        "1": {"training": (9_537,), "validation": (3_783,)},
        "2": {"training": (9_586,), "validation": (3_734,)},
        "3": {"training": (9_624,), "validation": (3_696,)},
    },
    oddities={
        "files of HandstandPushups are named v_HandStandPushups: names are found in any case": (
            lambda record: record.name.startswith("HandstandPushups/v_HandStandPushups")
        )
    },
    candidates=also_in("UCF-101"),
)

OWN = Dataset(
    name="own",
    title="Own videos",
    read=read_own,
    variant="fold",
    variants=tuple("123456789"),
)
