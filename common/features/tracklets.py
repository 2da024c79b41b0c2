"""Tracklets: where one individual is on each of consecutive frames.

Read from
- JSON: {individual: {frame: [left, upper, right, lower]}}, frames 0-based, pixels, right and lower
  outside the box;
- JSON of VidOR, whose boxes include their last pixels (`common.annotations.datasets.vidor`);
- text of MOTChallenge: frame, id, left, top, width, height, confidence, then x, y, z or, in ground
  truth since 2016, class and visibility. Frames and pixels count from 1;
- pickles of a dictionary of the first form, whose individuals are names or whole numbers and whose
  frames are whole numbers. Boxes are sequences or arrays of four; NumPy's numbers will do. Only the
  restricted unpickler of `convert` opens them, which runs nothing that a file names.
"""

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.annotations.datasets import vidor
from common.io import CheckpointError, check_json, escape, load_json, shown

Box = tuple[float, float, float, float]  # left, upper, right, lower

_MOST_FRAMES = 10_000_000  # four days of video; a mistyped number must not size an array
_PICKLES = (".pkl", ".pickle", ".p")
_MOT_COLUMNS = {9: "ground truth since 2016", 10: "MOT15 and submissions"}


@dataclasses.dataclass(frozen=True, eq=False)
class Tracklet:
    """One individual on consecutive frames.

    Attributes:
        individual: Its name or number.
        frames: [N] whole numbers, 0-based, each one more than the last.
        boxes: [N, 4] float32: left, upper, right, lower in pixels; right and lower are outside. A
            box may leave the picture.

    Raises:
        ValueError: There is no frame, frames are negative or not consecutive, shapes differ, or a
            box is not finite or has no area.
    """

    individual: str
    frames: NDArray[np.int64]
    boxes: NDArray[np.float32]

    def __post_init__(self) -> None:
        who = f"tracklet {escape(self.individual)!r}"
        count = len(self.frames)
        if self.frames.shape != (count,) or self.boxes.shape != (count, 4) or not count:
            raise ValueError(
                f"{who}: expected [N] frames and [N, 4] boxes with N from 1 on, got "
                f"{list(self.frames.shape)} and {list(self.boxes.shape)}."
            )
        if self.frames[0] < 0:
            raise ValueError(f"{who}: frames count from 0, got {self.frames[0]}.")
        gaps = np.flatnonzero(np.diff(self.frames) != 1)
        if gaps.size:
            raise ValueError(f"{who}: frame {self.frames[gaps[0]] + 1} is missing or out of order.")
        left, upper, right, lower = self.boxes.T
        good = np.isfinite(self.boxes).all(axis=1) & (right > left) & (lower > upper)
        if not good.all():
            worst = int(np.argmin(good))
            raise ValueError(
                f"{who}: expected left < right and upper < lower on frame {self.frames[worst]}, "
                f"got {self.boxes[worst].tolist()}."
            )


def read(
    path: str | os.PathLike[str], interpolate: bool = False, one_based: bool = True
) -> tuple[Tracklet, ...]:
    """Reads the tracklets of a video, in the order of their first appearance in the file.

    Args:
        path: A `.json`, `.txt`, `.pkl`, `.pickle` or `.p` file as above.
        interpolate: Fills gaps with boxes on a straight line between their neighbours; otherwise a
            gap is an error.
        one_based: Whether the pixels of a text file count from 1, as MOTChallenge has it; some
            trackers write them from 0. Its frames always count from 1.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Not such a file, no individual in it, or a gap; the text names the file, the
            individual or line, and the first frame that is missing.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        found = _from_json(path)
    elif suffix == ".txt":
        found = _from_mot(path, one_based)
    elif suffix in _PICKLES:
        found = _from_pickle(path)
    else:
        raise ValueError(
            f"{path}: expected tracklets as .json, as .txt of MOTChallenge, or pickled as "
            f"{', '.join(_PICKLES)}."
        )
    if not found:
        raise ValueError(f"{path}: no individual in it.")
    return tuple(_tracklet(who, boxes, interpolate, path) for who, boxes in found.items())


def _tracklet(who: str, boxes: Mapping[int, Box], interpolate: bool, path: Path) -> Tracklet:
    if not boxes:
        raise ValueError(f"{path}: the individual {escape(who)!r} has no box.")
    known = sorted(boxes)
    if known[-1] >= _MOST_FRAMES:
        raise ValueError(f"{path}: the individual {escape(who)!r} has a frame {known[-1]}.")
    values = np.array([boxes[frame] for frame in known], np.float64)
    frames = np.array(known, np.int64)
    if interpolate:
        frames = np.arange(known[0], known[-1] + 1)
        values = np.stack([np.interp(frames, known, column) for column in values.T], axis=1)
    try:
        with np.errstate(over="ignore"):  # infinite then, which a tracklet refuses
            return Tracklet(who, frames, values.astype(np.float32))
    except ValueError as error:
        gap = " interpolate fills gaps." if "is missing" in str(error) else ""
        raise ValueError(f"{path}: {error}{gap}") from error


def _from_json(path: Path) -> dict[str, dict[int, Box]]:
    content = check_json(load_json(path), dict, str(path))
    if "trajectories" in content and "version" in content:
        # an object that is listed but never seen is of no use here
        found = vidor.tracklets(path).items()
        return {str(tid): dict(boxes) for tid, boxes in found if boxes}
    return {
        who: _boxes(boxes, f"{path}: individual {shown(who)}") for who, boxes in content.items()
    }


def _boxes(content: Any, where: str) -> dict[int, Box]:
    found: dict[int, Box] = {}
    for key, box in check_json(content, dict, where).items():
        if not (key.isascii() and key.isdigit()):
            raise ValueError(f"{where}: expected a 0-based frame, got {shown(key)}.")
        if int(key) in found:
            raise ValueError(f"{where}: frame {int(key)} stands twice.")
        here = f"{where}, frame {int(key)}"
        if len(check_json(box, list, here)) != 4:
            raise ValueError(
                f"{here}: expected [left, upper, right, lower], got {len(box)} values."
            )
        left, upper, right, lower = (float(check_json(x, float, here)) for x in box)
        found[int(key)] = (left, upper, right, lower)
    return found


def _from_pickle(path: Path) -> dict[str, dict[int, Box]]:
    from convert.formats import _pickled_tree  # `convert` itself imports `common`
    from convert.formats._mapped_file import one_error

    try:
        with one_error(path):  # printable and short, whatever the file holds
            return _of_tree(*_pickled_tree.load(path))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there is no such file.") from error
    except CheckpointError as error:
        raise ValueError(
            f"{error}. Expected {{individual: {{frame: [left, upper, right, lower]}}}} of plain "
            "containers and numbers, which can be written as JSON, too."
        ) from error


def _of_tree(tree: Mapping[Any, Any], size: int) -> dict[str, dict[int, Box]]:
    """The dictionary of a pickle of `size` bytes."""
    # A box takes bytes: more of them than that are one dictionary, shared by many individuals.
    if sum(len(boxes) for boxes in tree.values() if isinstance(boxes, dict)) > size:
        raise ValueError("has more boxes than bytes")
    found: dict[str, dict[int, Box]] = {}
    for key, boxes in tree.items():
        who = _plain(key)
        if type(who) not in (str, int):
            raise ValueError(f"expected the name or number of an individual, got {_shown(who)}")
        where = f"individual {shown(str(who))}"
        if str(who) in found:
            raise ValueError(f"{where} stands twice")
        if not isinstance(boxes, dict):
            raise ValueError(f"{where}: expected a dictionary of frames, got {_shown(boxes)}")
        found[str(who)] = _of_frames(boxes, where)
    return found


def _of_frames(boxes: Mapping[Any, Any], where: str) -> dict[int, Box]:
    found: dict[int, Box] = {}
    for key, box in boxes.items():
        frame, values = _plain(key), _plain(box)
        if type(frame) is not int or frame < 0:
            raise ValueError(f"{where}: expected a 0-based frame, got {_shown(frame)}")
        if frame in found:
            raise ValueError(f"{where}: frame {frame} stands twice")
        if not isinstance(values, list | tuple) or len(values) != 4:
            raise ValueError(
                f"{where}, frame {frame}: expected [left, upper, right, lower], got "
                f"{_shown(values)}"
            )
        numbers = [_plain(value) for value in values]
        for number in numbers:
            if type(number) not in (int, float):
                raise ValueError(f"{where}, frame {frame}: expected numbers, got {_shown(number)}")
        left, upper, right, lower = map(float, numbers)
        found[frame] = left, upper, right, lower
    return found


def _plain(value: Any) -> Any:
    """A NumPy number, or array of one axis, of a pickle as Python's; anything else as it is."""
    from convert.formats._numpy_pickle import PickledArray, PickledScalar

    if not isinstance(value, PickledArray | PickledScalar):
        return value
    array = value.resolve()
    # more axes, one of them empty, would be any number of lists
    return array.tolist() if array.ndim < 2 else array


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"{len(value)} values"
    if isinstance(value, np.ndarray):
        return f"an array {list(value.shape)}"
    known = isinstance(value, str | int | float)
    return shown(value) if known else f"a {type(value).__name__}"


def _from_mot(path: Path, one_based: bool) -> dict[str, dict[int, Box]]:
    found: dict[str, dict[int, Box]] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there is no such file.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text; {error}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        frame, identity, *box, confidence = _mot_row(line, where)[:7]
        columns = line.count(",") + 1
        # Only in ground truth does a confidence of 0 say that the row does not count.
        if confidence == 0 and (columns == 9 or path.name == "gt.txt"):
            continue
        who, index = str(int(identity)), int(frame) - 1
        if index in found.setdefault(who, {}):
            raise ValueError(f"{where}: frame {index + 1} of individual {who} stands twice.")
        found[who][index] = _corners(box, one_based)
    return found


def _mot_row(line: str, where: str) -> list[float]:
    texts = line.split(",")
    if len(texts) not in _MOT_COLUMNS:
        expected = " or ".join(f"{n} ({what})" for n, what in _MOT_COLUMNS.items())
        raise ValueError(f"{where}: expected {expected} values with commas, got {len(texts)}.")
    try:
        values = [float(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"{where}: expected numbers, got {line[:80]!r}.") from error
    frame, identity = values[:2]
    if not all(map(math.isfinite, values)) or not frame.is_integer() or frame < 1:
        raise ValueError(
            f"{where}: expected finite numbers and a 1-based frame, got {line[:80]!r}."
        )
    if not identity.is_integer() or identity < 0:
        raise ValueError(
            f"{where}: expected the number of an individual, got {texts[1].strip()}. "
            "Detections, which have -1 there, must be tracked first."
        )
    return values


def _corners(box: Iterable[float], one_based: bool) -> Box:
    left, upper, width, height = box
    if one_based:
        left, upper = left - 1, upper - 1
    return left, upper, left + width, upper + height
