"""UCF101: 13,320 clips of 101 classes, with three folds of training and test lists.

The annotations are the folder `ucfTrainTestlist`; the videos lie as `CLASS/v_CLASS_gXX_cYY.avi`.
Its lists of tests are the "validation" subset here, as everybody uses them. The class of a clip
is its folder: the files of HandstandPushups are spelled otherwise. Labels are those of
`classInd.txt`, less one: sorted without regard to case, which is not how folders are sorted.
"""

from pathlib import Path, PurePosixPath

from common import label_maps
from common.annotations import Record
from common.datasets import Dataset, Slip, _files


def records(annotations: Path, fold: str) -> list[Record]:
    """The clips of a fold: those of its training list, then those of its test list."""
    indices = {name: index for index, name in enumerate(classes(annotations, fold))}
    names = _files.Names()
    found = []
    for subset, name in (("training", "trainlist"), ("validation", "testlist")):
        path = _files.require(annotations, f"{name}0{fold}.txt")
        for number, line in _files.lines(path):
            record = _record(line, subset, indices, path, number)
            found.append(names.add(record, path, number))
    return found


def classes(annotations: Path, fold: str) -> tuple[str, ...]:
    """The 101 names; `classInd.txt` must say the same."""
    names = label_maps.load(label_maps.UCF101)
    path = _files.require(annotations, "classInd.txt")
    listed = _files.lines(path)
    for index, (number, line) in enumerate(listed):
        expected = f"{index + 1} {names[index]}" if index < len(names) else "no more classes"
        if line.split() != expected.split():
            _files.malformed(path, number, repr(expected), line)
    if len(listed) < len(names):
        raise ValueError(f"{path}: expected {len(names)} classes. Received: {len(listed)}.")
    return names


def _record(line: str, subset: str, indices: dict[str, int], path: Path, number: int) -> Record:
    video, *label = line.split()
    parts = PurePosixPath(video).parts
    if len(parts) != 2 or not video.endswith(".avi") or len(label) > 1:
        _files.malformed(path, number, "'CLASS/NAME.avi', or that and a label", line)
    if subset == "training" and not label:
        _files.malformed(path, number, "'CLASS/NAME.avi LABEL'", line)
    labels = _files.label_of(indices, parts[0], path, number, "classInd.txt")
    if label and label[0] != str(labels[0] + 1):
        _files.malformed(path, number, f"label {labels[0] + 1}, that of {parts[0]}", label[0])
    return Record(video.removesuffix(".avi"), video, subset, labels)


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
