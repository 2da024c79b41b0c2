"""Data sets of one class a clip that come as plain lists: UCF101, HMDB51, Something-Something V1.

Own videos (`own`) are laid out like UCF101, with any number of classes and one to nine folds:

    videos/CLASS/NAME.avi      any video suffix; names may contain spaces
    lists/classInd.txt         a line "NUMBER CLASS" for each class, numbered from 1
    lists/trainlist01.txt      a line "CLASS/NAME.avi NUMBER" for each training clip
    lists/testlist01.txt       a line "CLASS/NAME.avi", with or without NUMBER, for each test clip

`--fold=2` reads `trainlist02.txt` and `testlist02.txt`. As is customary, the test lists are the
"validation" subset.
"""

import re
from pathlib import Path, PurePosixPath

from common.annotations import Record, label_maps
from common.annotations.datasets import dataset
from common.annotations.datasets.dataset import Dataset
from common.video import video_files

Read = tuple[tuple[str, ...], list[Record]]

_CLASSES = "classInd.txt"
_SOMETHING = "something-something-v1"
_HMDB51_SUBSETS = {"1": "training", "2": "validation"}


def _read_own(folder: Path, fold: str) -> Read:
    """The classes, and the training list of a fold, then its test list.

    The class of a clip is its folder: the files of HandstandPushups are spelled differently.
    """
    classes = dataset.classes(dataset.require(folder, _CLASSES), lambda index: str(index + 1))
    labels_of = dataset.labeller(classes, _CLASSES)

    def parse(line: str, subset: str) -> Record:
        name, *number = [line] if video_files.is_video(line) else line.rsplit(maxsplit=1)
        video = PurePosixPath(name)
        needed = subset == "training" and not number
        if len(video.parts) != 2 or not video_files.is_video(video) or needed:
            raise dataset.wrong("'CLASS/NAME.avi LABEL', in a test list with or without it", line)
        labels = labels_of(video.parts[0])
        if number and number[0] != str(labels[0] + 1):
            raise dataset.wrong(f"label {labels[0] + 1}, that of {video.parts[0]}", number[0])
        return Record(str(video.with_suffix("")), str(video), subset, labels)

    files = [
        (dataset.require(folder, f"{name}0{fold}.txt"), subset)
        for name, subset in (("trainlist", "training"), ("testlist", "validation"))
    ]
    return classes, dataset.read_records(files, dataset.lines, parse)


def _read_ucf101(folder: Path, fold: str) -> Read:
    classes, records = _read_own(folder, fold)
    known = label_maps.load(label_maps.UCF101)
    if classes != known:
        raise ValueError(
            f"{folder / _CLASSES}: expected the {len(known)} classes of UCF101 in its order. Use "
            "--dataset=own for others."
        )
    return classes, records


def _read_hmdb51(folder: Path, fold: str) -> Read:
    """The sorted classes, and the clips of a fold class by class; a fold leaves out code 0."""
    classes = label_maps.load(label_maps.HMDB51)

    def parse(line: str, class_name: str) -> Record | None:
        match = re.fullmatch(r"([^/]+)\.avi\s+([012])", line)
        if match is None:
            raise dataset.wrong("'NAME.avi CODE' with code 0, 1 or 2", line)
        name, subset = f"{class_name}/{match[1]}", _HMDB51_SUBSETS.get(match[2])
        return Record(name, f"{name}.avi", subset, (classes.index(class_name),)) if subset else None

    files = [(dataset.require(folder, f"{x}_test_split{fold}.txt"), x) for x in classes]
    return classes, dataset.read_records(files, dataset.lines, parse)


def _read_something(folder: Path, order: str) -> Read:
    """The classes in the order "sorted" or "file", and the clips of the lists."""
    subsets = {"training": "train", "validation": "validation", "testing": "test"}
    names = {subset: (f"{_SOMETHING}-{name}.csv",) for subset, name in subsets.items()}
    files, source = dataset.subset_files(folder, names), f"{_SOMETHING}-labels.csv"
    classes = dataset.classes(dataset.require(folder, source))
    if order == "sorted":
        classes = tuple(sorted(classes))
    labels_of = dataset.labeller(classes, source)

    def parse(line: str, subset: str) -> Record:
        name, _, label = (line, "", "") if subset == "testing" else line.partition(";")
        labels = labels_of(label) if label else ()
        if not re.fullmatch("[0-9]+", name) or bool(labels) == (subset == "testing"):
            expected = "an id" if subset == "testing" else "'ID;LABEL'"
            raise dataset.wrong(f"{expected}, the id a number", line)
        return Record(name, name, subset, labels, fps=12.0)

    return classes, dataset.read_records(files, dataset.lines, parse)


ROWS = (
    # K. Soomro, A. R. Zamir, M. Shah, CRCV-TR-12-01, arXiv:1212.0402, 2012: 13,320 clips.
    # https://www.crcv.ucf.edu/data/UCF101.php; the annotations are `ucfTrainTestlist`. Labels are
    # sorted without regard to case, which differs from the sorted folders.
    Dataset(
        name="ucf101",
        title="UCF101",
        read=_read_ucf101,
        variant="fold",
        variants=("1", "2", "3"),
        counts={
            "1": ((9_537,), (3_783,)),
            "2": ((9_586,), (3_734,)),
            "3": ((9_624,), (3_696,)),
        },
        candidates=dataset.below("", "UCF-101/"),
    ),
    # H. Kuehne, H. Jhuang, E. Garrote, T. Poggio, T. Serre, ICCV 2011: 6,766 clips. CC BY 4.0.
    # https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/; the annotations
    # are `testTrainMulti_7030_splits`, 70 training and 30 test clips a class and fold.
    Dataset(
        name="hmdb51",
        title="HMDB51",
        read=_read_hmdb51,
        variant="fold",
        variants=("1", "2", "3"),
        counts=dict.fromkeys("123", ((3_570,), (1_530,))),
        candidates=dataset.below("", "hmdb51_org/"),
    ),
    # R. Goyal et al., ICCV 2017, arXiv:1706.04261: 108,499 clips of 174 classes, published as
    # frames `ID/00001.jpg` at 12 fps. For research, under its own terms.
    # https://developer.qualcomm.com/software/ai-datasets/something-something. The .csv files have
    # no header; V2 and most programs sort the classes.
    Dataset(
        name="something_v1",
        title="Something-Something V1",
        read=_read_something,
        variant="order",
        variants=("sorted", "file"),
        counts=dict.fromkeys(("sorted", "file"), ((86_017,), (11_522,), (10_960,))),
        candidates=dataset.below("", "20bn-something-something-v1/"),
    ),
    Dataset(
        name="own",
        title="Own videos",
        read=_read_own,
        variant="fold",
        variants=tuple("123456789"),
    ),
)
