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

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from common.annotations import Record, label_maps
from common.annotations.datasets import readers
from common.annotations.datasets.dataset import Dataset, Slip, also_in
from common.video import video_files

_CLASSES = "classInd.txt"


def _listed(annotations: Path) -> dict[str, int]:
    """Returns the class names in `classInd.txt`, numbered from 1 without gaps, and their lines."""
    path = readers.require(annotations, _CLASSES)
    names: dict[str, int] = {}
    for line_number, line in readers.lines(path):
        number, name = (*line.split(maxsplit=1), "")[:2]
        if number != str(len(names) + 1) or not name or "/" in name:
            readers.malformed(path, line_number, f"'{len(names) + 1} CLASS', a folder's name", line)
        if name in names:
            readers.malformed(path, line_number, "a class that is not listed before", name)
        names[name] = line_number
    return names


def _own_classes(annotations: Path, fold: str) -> tuple[str, ...]:
    return tuple(_listed(annotations))


def _ucf101_classes(annotations: Path, fold: str) -> tuple[str, ...]:
    names = label_maps.load(label_maps.UCF101)
    path = annotations / _CLASSES
    listed = _listed(annotations)
    for expected, (name, line) in zip(names, listed.items(), strict=False):
        if name != expected:
            readers.malformed(path, line, f"the class {expected}", name)
    if len(listed) != len(names):
        raise ValueError(f"{path}: expected {len(names)} classes. Received: {len(listed)}.")
    return names


def _reader(
    classes: Callable[[Path, str], Sequence[str]],
) -> Callable[[Path, str], list[Record]]:
    """Returns a function that reads the training list of a fold, then its test list."""

    def records(annotations: Path, fold: str) -> list[Record]:
        indices = {name: index for index, name in enumerate(classes(annotations, fold))}
        names = readers.UniqueNames()
        found = []
        for subset, name in (("training", "trainlist"), ("validation", "testlist")):
            path = readers.require(annotations, f"{name}0{fold}.txt")
            for number, line in readers.lines(path):
                record = _record(line, subset, indices, path, number)
                found.append(names.add(record, path, number))
        return found

    return records


def _record(line: str, subset: str, indices: dict[str, int], path: Path, number: int) -> Record:
    name, *label = [line] if video_files.is_video(line) else line.rsplit(maxsplit=1)
    video = PurePosixPath(name)
    if len(video.parts) != 2 or not video_files.is_video(video):
        readers.malformed(path, number, "'CLASS/NAME.avi', or that and a label", line)
    if subset == "training" and not label:
        readers.malformed(path, number, "'CLASS/NAME.avi LABEL'", line)
    class_name = video.parts[0]
    labels = readers.label_of(indices, class_name, path, number, _CLASSES)
    if label and label[0] != str(labels[0] + 1):
        readers.malformed(path, number, f"label {labels[0] + 1}, that of {class_name}", label[0])
    return Record(str(video.with_suffix("")), str(video), subset, labels)


DATASET = Dataset(
    name="ucf101",
    title="UCF101",
    records=_reader(_ucf101_classes),
    classes=_ucf101_classes,
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
            "files of HandstandPushups are named v_HandStandPushups: names are found in any case",
            lambda record: record.name.startswith("HandstandPushups/v_HandStandPushups"),
        ),
    ),
    candidates=also_in("UCF-101"),
)

OWN = Dataset(
    name="own",
    title="Own videos",
    records=_reader(_own_classes),
    classes=_own_classes,
    variant="fold",
    variants=tuple("123456789"),
)
