"""Your own videos, laid out as UCF101 is: any number of classes, one or several pairs of lists.

    videos/CLASS/NAME.avi      any suffix that videos have; names may hold blanks
    lists/classInd.txt         a line "NUMBER CLASS" a class, counted from 1
    lists/trainlist01.txt      a line "CLASS/NAME.avi NUMBER" a clip to train on
    lists/testlist01.txt       a line "CLASS/NAME.avi" a clip to evaluate on, with its number or not

Labels are those numbers less one, and the class of a clip is its folder. Other divisions of the
same videos are `trainlist02.txt` and `testlist02.txt` (--fold=2), up to 9. The clips of the test
lists are the "validation" subset here, as those of UCF101.
"""

from pathlib import Path

from common.annotations import Record
from common.annotations.datasets import Dataset, _files, _lists


def records(annotations: Path, fold: str) -> list[Record]:
    """The clips of a fold: those of its training list, then those of its test list."""
    return _lists.records(annotations, fold, classes(annotations, fold))


def classes(annotations: Path, fold: str) -> tuple[str, ...]:
    """The names in `classInd.txt`, which count from 1 without a gap."""
    path = _files.require(annotations, _lists.CLASSES)
    names: list[str] = []
    for line_number, line in _files.lines(path):
        number, name = (*line.split(maxsplit=1), "")[:2]
        if number != str(len(names) + 1) or not name or "/" in name:
            _files.malformed(path, line_number, f"'{len(names) + 1} CLASS', a folder's name", line)
        if name in names:
            _files.malformed(path, line_number, "a class that is not listed before", name)
        names.append(name)
    return tuple(names)


DATASET = Dataset(
    name="own",
    title="Own videos",
    homepage="",
    citation="",
    records=records,
    classes=classes,
    variant="fold",
    variants=tuple("123456789"),
)
