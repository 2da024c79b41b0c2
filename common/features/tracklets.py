"""Tracklets: where one individual is on each of consecutive frames, and the squares cut out there.

Boxes are left, upper, right, lower in pixels; right and lower are outside. They are read from
- JSON: {individual: {frame: box}}, frames 0-based;
- JSON of VidOR (`common.annotations.datasets.vidor`);
- text of MOTChallenge: frame, id, left, top, width, height, confidence, then x, y, z or, in ground
  truth since 2016, class and visibility. Frames and pixels count from 1;
- pickles of a dictionary of the first form, with boxes as sequences or arrays. The restricted
  unpickler of `convert` opens them, which executes nothing that a file names.
"""

import math
import os
import reprlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from numpy.typing import NDArray

from common.annotations.datasets import vidor
from common.io import escape, listing, load_json
from common.models import pickles
from common.preprocessing import crops
from common.preprocessing.crops import Frames
from common.preprocessing.frames import resize_clip

Boxes = dict[int, tuple[float, ...]]  # by frame: left, upper, right, lower

_MOST_FRAMES = 10_000_000  # four days of video; a mistyped number must not size an array
_MOST_FILLED = 5_000_000  # boxes that interpolation may add to a file; 120 MB


class Tracklet(NamedTuple):
    """Boxes [N, 4], which may leave the picture, of the frames from `first`, 0-based, on."""

    individual: str
    first: int
    boxes: NDArray[np.float32]


def find(folder: str | os.PathLike[str], suffix: str, name: str) -> Path:
    """The file with the tracklets of a video; `suffix` replaces its name from the first dot on."""
    video = Path(name)
    return Path(folder) / video.parent / (video.name.partition(".")[0] + suffix)


def read(
    path: str | os.PathLike[str], interpolate: bool = False, min_frames: int = 1
) -> tuple[Tracklet, ...]:
    """Reads the tracklets of a video, in the order of their first appearance in the file.

    Gaps are an error, or with `interpolate` filled with boxes on a straight line between their
    neighbours. Tracklets of fewer than `min_frames` frames are left out, and logged.
    `FileNotFoundError` or `ValueError` if there is no such file, or no individual in it.
    """
    path = Path(path)
    readers = {".json": _from_json, ".txt": _from_mot}
    readers |= dict.fromkeys((".pkl", ".pickle", ".p"), _from_pickle)
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: expected tracklets as {', '.join(readers)}.")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    found = readers[path.suffix.lower()](path)
    if not found or not all(found.values()):
        raise ValueError(f"{path}: expected individuals, and boxes of each. Received none.")
    filled = sum(max(boxes) - min(boxes) + 1 - len(boxes) for boxes in found.values())
    if interpolate and filled > _MOST_FILLED:
        raise ValueError(
            f"{path}: interpolation would add {filled:,} boxes, over {_MOST_FILLED:,}."
        )
    tracklets = [
        _tracklet(who, boxes, interpolate, f"{path}: tracklet {escape(who)!r}")
        for who, boxes in found.items()
    ]
    kept = tuple(each for each in tracklets if len(each.boxes) >= min_frames)
    if len(kept) < len(tracklets):
        short = listing(escape(each.individual) for each in tracklets if each not in kept)
        text = f"{path}: tracklets of fewer than {min_frames} frames are left out: {short}."
        if not kept:
            raise ValueError(f"{text} None is left: lower --min_frames.")
        logging.warning("%s", text)
    return kept


def _tracklet(who: str, boxes: Boxes, interpolate: bool, where: str) -> Tracklet:
    known = np.array(sorted(boxes), np.int64)
    values = np.array([boxes[frame] for frame in known.tolist()], np.float64)
    missing = np.flatnonzero(np.diff(known) != 1)
    if missing.size:
        if not interpolate:
            frame = known[missing[0]] + 1
            raise ValueError(f"{where}: frame {frame} is missing. --interpolate fills gaps.")
        frames = np.arange(known[0], known[-1] + 1)
        values = np.stack([np.interp(frames, known, column) for column in values.T], axis=1)
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        filled = values.astype(np.float32)
    left, upper, right, lower = filled.T
    good = np.isfinite(filled).all(axis=1) & (right > left) & (lower > upper)
    if not good.all():
        worst = int(np.argmin(good))
        raise ValueError(
            f"{where}: expected left < right and upper < lower on frame {known[0] + worst}. "
            f"Received {filled[worst].tolist()}."
        )
    return Tracklet(who, int(known[0]), filled)


def _from_json(path: Path) -> dict[str, Boxes]:
    content = load_json(path)
    if isinstance(content, dict) and {"trajectories", "version"} <= content.keys():
        # An object that is listed but never seen has no tracklet.
        return {str(tid): dict(boxes) for tid, boxes in vidor.tracklets(path).items() if boxes}
    return _individuals(content, path)


def _from_pickle(path: Path) -> dict[str, Boxes]:
    try:
        tree = pickles.load(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}. JSON can hold the same.") from error
    return _individuals(tree, path)


def _individuals(tree: Any, path: Path) -> dict[str, Boxes]:
    found: dict[str, Boxes] = {}
    try:
        if sum(map(len, tree.values())) > path.stat().st_size:  # one dictionary that many share
            raise ValueError("more boxes than bytes")
        for key, boxes in tree.items():
            who, own = _plain(key), Boxes()
            if type(who) not in (int, str) or str(who) in found:
                raise ValueError(f"the name {reprlib.repr(who)}, or it stands twice")
            for at, box in boxes.items():
                frame, values = int(str(_plain(at))), _plain(box)
                if not 0 <= frame < _MOST_FRAMES or frame in own:
                    raise ValueError(f"frame {frame}, or it stands twice")
                if not isinstance(values, list | tuple) or len(values) != 4:
                    raise ValueError(f"{reprlib.repr(values)} on frame {frame}")
                own[frame] = tuple(float(_plain(value)) for value in values)
            found[str(who)] = own
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path}: expected {{individual: {{frame: [left, upper, right, lower]}}}}, frames from "
            f"0 and below {_MOST_FRAMES:,}. Received something else: {error}."
        ) from error
    return found


def _plain(value: Any) -> Any:
    """A NumPy number, or array of one axis, of a pickle as Python's; anything else as it is."""
    if not pickles.is_array(value):
        return value
    array = pickles.array(value)
    # More axes, one of them empty, would be any number of lists.
    return array.tolist() if array.ndim < 2 else array


def _from_mot(path: Path) -> dict[str, Boxes]:
    found: dict[str, Boxes] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = [float(text) for text in line.split(",")]
            frame, who = map(int, values[:2])
            right = len(values) in (9, 10) and [frame, who] == values[:2] and who >= 0
            if not right or not 1 <= frame <= _MOST_FRAMES or not all(map(math.isfinite, values)):
                raise ValueError
            # Only in ground truth does a confidence of 0 mean that the row does not count.
            if values[6] == 0 and (len(values) == 9 or path.name == "gt.txt"):
                continue
            boxes = found.setdefault(str(who), {})
            if frame - 1 in boxes:
                raise ValueError
        except (ValueError, OverflowError):
            raise ValueError(
                f"{path}, line {number}: expected 9 or 10 numbers: a frame from 1 on, the number "
                "of an individual (-1 is a detection, which must be tracked first), left, top, "
                f"width, height and more, once for each frame. Received {line[:80]!r}."
            ) from None
        left, upper, width, height = values[2] - 1, values[3] - 1, *values[4:6]
        boxes[frame - 1] = (left, upper, left + width, upper + height)
    return found


def squares(
    tracklet: Tracklet,
    picture: tuple[int, int],
    resized: tuple[int, int],
    policy: str = "frame",
    margin: float = 0.0,
) -> NDArray[np.int64]:
    """The square around each box, [N, 4] whole pixels within the resized picture.

    A box is grown by the margin, then along its shorter axis to a square with the same centre,
    which is shrunk to the picture's shorter side and shifted into it. First the side is rounded,
    then the place, halves up: so a box that only moves keeps its size.

    `picture` and `resized` are height and width before and after resizing. With `policy` "union"
    all frames have the smallest box around all. `margin` is a share of a box's size, for each side.
    `ValueError` for a box outside the picture.
    """
    begin, end = np.split(tracklet.boxes, 2, axis=1)  # [N, 2] each: x and y
    good = ((begin < picture[::-1]) & (end > 0)).all(axis=1)
    if not good.all():
        worst = int(np.argmin(good))
        raise ValueError(
            f"individual {tracklet.individual!r}, frame {tracklet.first + worst}: expected a box "
            f"in the {picture[0]}x{picture[1]} picture. Received {tracklet.boxes[worst].tolist()}."
        )
    size = np.array(resized[::-1])
    begin, end = (np.float32(each * (size / picture[::-1])).astype(float) for each in (begin, end))
    if policy == "union":
        begin = np.broadcast_to(begin.min(axis=0), begin.shape)
        end = np.broadcast_to(end.max(axis=0), end.shape)
    longer = (end - begin).max(axis=1, keepdims=True) * (1 + 2 * margin)
    side = np.floor(longer + 0.5).clip(1, min(resized))
    corner = np.floor((begin + end - side) / 2 + 0.5).clip(0, size - side)
    return np.concatenate([corner, corner + side], axis=1).astype(np.int64)


def cut(frame: Frames, square: NDArray[np.int64], size: int) -> Frames:
    """Cuts a square, a row of `squares`, out of a frame [H, W, C] and resizes it; a copy."""
    left, upper, right, _ = map(int, square)
    piece = crops.crop(frame[None], (upper, left), right - left)
    return np.asarray(resize_clip(piece.copy(), size)[0])
