"""The lists of UCF101 and of all that is laid out like it: `trainlist01.txt`, `testlist01.txt`.

A line is a video as `CLASS/NAME.avi`, and in lists for training its label, counted from 1. Lists of
tests are the "validation" subset here, as everybody uses them. The class of a clip is its folder.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from common.annotations import Record
from common.annotations.datasets import _files
from common.video import video_files

CLASSES = "classInd.txt"


def records(annotations: Path, number: str, classes: Sequence[str]) -> list[Record]:
    """The clips of the training list of this number, then those of its test list.

    Raises:
        FileNotFoundError: The folder or a list is not there.
        ValueError: A malformed line, an unknown class, another label, or a clip listed twice.
    """
    indices = {name: index for index, name in enumerate(classes)}
    names = _files.Names()
    found = []
    for subset, name in (("training", "trainlist"), ("validation", "testlist")):
        path = _files.require(annotations, f"{name}0{number}.txt")
        for line_number, line in _files.lines(path):
            record = _record(line, subset, indices, path, line_number)
            found.append(names.add(record, path, line_number))
    return found


def _record(line: str, subset: str, indices: dict[str, int], path: Path, number: int) -> Record:
    name, *label = [line] if video_files.is_video(line) else line.rsplit(maxsplit=1)
    video = PurePosixPath(name)
    if len(video.parts) != 2 or not video_files.is_video(video):
        _files.malformed(path, number, "'CLASS/NAME.avi', or that and a label", line)
    if subset == "training" and not label:
        _files.malformed(path, number, "'CLASS/NAME.avi LABEL'", line)
    class_name = video.parts[0]
    labels = _files.label_of(indices, class_name, path, number, CLASSES)
    if label and label[0] != str(labels[0] + 1):
        _files.malformed(path, number, f"label {labels[0] + 1}, that of {class_name}", label[0])
    return Record(str(video.with_suffix("")), str(video), subset, labels)
