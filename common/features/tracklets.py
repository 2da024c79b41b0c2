"""Tracklets: where one individual is on each of consecutive frames.

Read from
- JSON: {individual: {frame: [left, upper, right, lower]}}, frames 0-based, pixels, right and lower
  outside the box;
- JSON of VidOR, whose boxes include their last pixels (`common.annotations.datasets.vidor`);
- text of MOTChallenge: frame, id, left, top, width, height, confidence, then x, y, z or, in ground
  truth since 2016, class and visibility. Frames and pixels count from 1;
- pickles of a dictionary of the first form, whose individuals are names or whole numbers and whose
  frames are whole numbers. Boxes are sequences or arrays of four; NumPy's numbers will do. Only the
  restricted unpickler of `convert` opens them, which executes nothing that a file names.
"""

import math
import os
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from numpy.typing import NDArray

from common.annotations.datasets import vidor
from common.io import CheckpointError, check_json, escape, listing, load_json
from common.models import one_error, pickles

Boxes = dict[int, tuple[float, ...]]
"""By frame: left, upper, right, lower."""

_MOST_FRAMES = 10_000_000  # four days of video; a mistyped number must not size an array
_MOST_FILLED = 5_000_000  # boxes that interpolation may add to a file; 120 MB
_PICKLES = (".pkl", ".pickle", ".p")
_MOT_COLUMNS = {9: "ground truth since 2016", 10: "MOT15 and submissions"}


class Tracklet(NamedTuple):
    """One individual on consecutive frames.

    Attributes:
        individual: Its name or number.
        first: Its first frame, 0-based.
        boxes: [N, 4] float32: left, upper, right, lower in pixels; right and lower are outside. A
            box may leave the picture.
    """

    individual: str
    first: int
    boxes: NDArray[np.float32]


def find(folder: str | os.PathLike[str], suffix: str, name: str) -> Path:
    """The file with the tracklets of a video, which need not exist.

    Args:
        folder: Folder that has the files of all videos, in the folders that the videos are in.
        suffix: What replaces everything from the first dot of the video's name on: with ".json",
            a/b.json belongs to "a/b.cut.mp4".
        name: The video's, relative to the folder of the videos.
    """
    video = Path(name)
    return Path(folder) / video.parent / (video.name.partition(".")[0] + suffix)


def read(
    path: str | os.PathLike[str], interpolate: bool = False, min_frames: int = 1
) -> tuple[Tracklet, ...]:
    """Reads the tracklets of a video, in the order of their first appearance in the file.

    Args:
        path: A `.json`, `.txt`, `.pkl`, `.pickle` or `.p` file as above.
        interpolate: Fill gaps with boxes on a straight line between their neighbours; otherwise a
            gap is an error.
        min_frames: Tracklets of fewer frames are left out, and logged.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Not such a file, no individual in it, or a gap; the text names the file, the
            individual or line, and the first frame that is missing.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".json", ".txt", *_PICKLES):
        raise ValueError(
            f"{path}: expected tracklets as .json, as .txt of MOTChallenge, or pickled as "
            f"{', '.join(_PICKLES)}."
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    found = {".json": _from_json, ".txt": _from_mot}.get(suffix, _from_pickle)(path)
    if not found:
        raise ValueError(f"{path}: no individual in it.")
    filled = sum(max(boxes) - min(boxes) + 1 - len(boxes) for boxes in found.values() if boxes)
    if interpolate and filled > _MOST_FILLED:
        raise ValueError(
            f"{path}: interpolation would add {filled:,} boxes, and at most {_MOST_FILLED:,} are "
            "allowed. Are its frames numbered as the video's?"
        )
    tracklets = [_tracklet(who, boxes, interpolate, path) for who, boxes in found.items()]
    short = [escape(each.individual) for each in tracklets if len(each.boxes) < min_frames]
    if short:
        text = (
            f"{path}: {len(short):,} of {len(tracklets):,} tracklets have fewer than {min_frames} "
            "frames"
        )
        if len(short) == len(tracklets):
            raise ValueError(f"{text}, and none is left. Lower min_frames, or leave the video out.")
        logging.warning("%s and are left out: %s.", text, listing(short))
    return tuple(each for each in tracklets if len(each.boxes) >= min_frames)


def _tracklet(who: str, boxes: Boxes, interpolate: bool, path: Path) -> Tracklet:
    where = f"{path}: tracklet {escape(who)!r}"
    if not boxes:
        raise ValueError(f"{where} has no box.")
    known = np.array(sorted(boxes), np.int64)
    missing = np.flatnonzero(np.diff(known) != 1)
    if missing.size and not interpolate:
        frame = known[missing[0]] + 1
        raise ValueError(f"{where}: frame {frame} is missing. --interpolate fills gaps.")
    values = np.array([boxes[frame] for frame in known.tolist()], np.float64)
    if missing.size:
        frames = np.arange(known[0], known[-1] + 1)
        values = np.stack([np.interp(frames, known, column) for column in values.T], axis=1)
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        filled = values.astype(np.float32)
    left, upper, right, lower = filled.T
    good = np.isfinite(filled).all(axis=1) & (right > left) & (lower > upper)
    if not good.all():
        worst = int(np.argmin(good))
        raise ValueError(
            f"{where}: expected left < right and upper < lower on frame {known[0] + worst}, got "
            f"{filled[worst].tolist()}."
        )
    return Tracklet(who, int(known[0]), filled)


def _from_json(path: Path) -> dict[str, Boxes]:
    content = check_json(load_json(path), dict, str(path))
    if "trajectories" in content and "version" in content:
        # An object that is listed but never seen has no tracklet.
        found = vidor.tracklets(path).items()
        return {str(tid): dict(boxes) for tid, boxes in found if boxes}
    return _individuals(content, f"{path}: ")


def _from_pickle(path: Path) -> dict[str, Boxes]:
    try:
        with one_error(path):
            tree = pickles.load(path)
            if not isinstance(tree, dict):
                raise ValueError(f"holds a {type(tree).__name__}; expected a dictionary of arrays")
            # A box takes bytes: more boxes than bytes are one dictionary shared by many.
            count = sum(len(boxes) for boxes in tree.values() if isinstance(boxes, dict))
            if count > path.stat().st_size:
                raise ValueError("has more boxes than bytes")
            return _individuals(tree, "")
    except CheckpointError as error:
        raise ValueError(
            f"{error}. Expected {{individual: {{frame: [left, upper, right, lower]}}}} of plain "
            "containers and numbers, which can be written as JSON, too."
        ) from error


def _individuals(tree: Mapping[Any, Any], where: str) -> dict[str, Boxes]:
    """Checks a dictionary that JSON or a pickle holds; `where` begins the texts of errors."""
    found: dict[str, Boxes] = {}
    for key, boxes in tree.items():
        who = _plain(key)
        if type(who) not in (str, int):
            raise ValueError(
                f"{where}expected the name or number of an individual, got {reprlib.repr(who)}"
            )
        here = f"{where}individual {reprlib.repr(str(who))}"
        if any("\ud800" <= letter <= "\udfff" for letter in str(who)):
            raise ValueError(f"{here}: its name is not valid Unicode")
        if str(who) in found:
            raise ValueError(f"{here} stands twice")
        if not isinstance(boxes, dict):
            raise ValueError(f"{here}: expected a dictionary of frames, got {reprlib.repr(boxes)}")
        own = found[str(who)] = Boxes()
        for at, box in boxes.items():
            frame, values = _plain(at), _plain(box)
            if isinstance(frame, str) and frame.isascii() and frame.isdigit() and len(frame) < 20:
                frame = int(frame)
            if type(frame) is not int or not 0 <= frame < _MOST_FRAMES:
                raise ValueError(
                    f"{here}: expected a 0-based frame below {_MOST_FRAMES:,}, got "
                    f"{reprlib.repr(frame)}"
                )
            if frame in own:
                raise ValueError(f"{here}, frame {frame} stands twice")
            own[frame] = _box(values, f"{here}, frame {frame}")
    return found


def _box(values: Any, where: str) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or len(values) != 4:
        raise ValueError(
            f"{where}: expected [left, upper, right, lower], got {reprlib.repr(values)}"
        )
    numbers = [_plain(value) for value in values]
    for number in numbers:
        if type(number) not in (int, float):
            raise ValueError(f"{where}: expected numbers, got {reprlib.repr(number)}")
    try:
        return tuple(map(float, numbers))
    except OverflowError:
        raise ValueError(f"{where}: expected numbers that fit a float, got a larger one") from None


def _plain(value: Any) -> Any:
    """A NumPy number, or array of one axis, of a pickle as Python's; anything else as it is."""
    if not pickles.is_array(value):
        return value
    array = pickles.array(value)
    # More axes, one of them empty, would be any number of lists.
    return array.tolist() if array.ndim < 2 else array


def _from_mot(path: Path) -> dict[str, Boxes]:
    found: dict[str, Boxes] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text; {error}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        frame, identity, left, upper, width, height, confidence = _mot_row(line, where)[:7]
        # Only in ground truth does a confidence of 0 mean that the row does not count.
        if confidence == 0 and (line.count(",") == 8 or path.name == "gt.txt"):
            continue
        boxes = found.setdefault(str(int(identity)), {})
        if frame - 1 in boxes:
            raise ValueError(f"{where}: stands twice, for this frame and individual.")
        left, upper = left - 1, upper - 1  # pixels count from 1
        boxes[int(frame) - 1] = (left, upper, left + width, upper + height)
    return found


def _mot_row(line: str, where: str) -> list[float]:
    texts = line.split(",")
    if len(texts) not in _MOT_COLUMNS:
        expected = " or ".join(f"{n} ({what})" for n, what in _MOT_COLUMNS.items())
        raise ValueError(f"{where}: expected {expected} values with commas, got {len(texts)}.")
    try:
        values = [float(text) for text in texts]
    except ValueError:
        values = [math.nan, math.nan]
    frame, identity = values[:2]
    finite = all(map(math.isfinite, values))
    if not finite or not frame.is_integer() or not 1 <= frame <= _MOST_FRAMES:
        raise ValueError(
            f"{where}: expected finite numbers and a 1-based frame, got {line[:80]!r}."
        )
    if not identity.is_integer() or identity < 0:
        raise ValueError(
            f"{where}: expected the number of an individual, got {texts[1].strip()[:80]}. "
            "Detections, which have -1 there, must be tracked first."
        )
    return values
