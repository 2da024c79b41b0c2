"""Where an individual is cut out of a frame: from tracked boxes to squares, and then to pixels.

A square keeps the individual's shape, since networks are fed squares. Boxes are left, upper, right,
lower in pixels; right and lower are outside.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.features.tracklets import Tracklet
from common.io import escape
from common.preprocessing import crops, resizing
from common.preprocessing.crops import Frames


def check(tracklet: Tracklet, height: int, width: int, path: Path) -> None:
    """Raises `ValueError` unless each box of a file lies at least in part in a picture."""
    left, upper, right, lower = tracklet.boxes.T
    good = (left < width) & (right > 0) & (upper < height) & (lower > 0)
    if not good.all():
        worst = int(np.argmin(good))
        raise ValueError(
            f"{path}: tracklet {escape(tracklet.individual)!r}, frame {tracklet.first + worst}: "
            f"expected a box that lies at least in part within the picture of {height}x{width} "
            f"(height x width), got {tracklet.boxes[worst].tolist()}."
        )


def squares(
    boxes: NDArray[np.float32], height: int, width: int, policy: str = "frame", margin: float = 0.0
) -> NDArray[np.int64]:
    """The square around each box, within the picture.

    A box is grown by the margin, then along its shorter axis to a square with the same centre. A
    square that is larger than the picture is shrunk to its shorter side, and one that leaves it is
    shifted back into it.

    Args:
        boxes: [N, 4] of a tracklet; they may leave the picture.
        height: Height of the picture, pixels.
        width: Width of the picture, pixels.
        policy: "frame" is the square of each box; "union" N times that of the smallest box around
            all of them, which makes a picture that does not move.
        margin: Share of a box's width added on its left and right, of its height above and below.

    Returns:
        [N, 4] whole pixels. First the side is rounded, then the place, halves up: so a box that
        only moves keeps its size.
    """
    begin, end = np.split(boxes.astype(np.float64), 2, axis=1)  # [N, 2] each: x and y
    if policy == "union":
        begin = np.broadcast_to(begin.min(axis=0), begin.shape)
        end = np.broadcast_to(end.max(axis=0), end.shape)
    longer = (end - begin).max(axis=1, keepdims=True) * (1 + 2 * margin)
    side = np.floor(longer + 0.5).clip(1, min(height, width))
    corner = np.floor((begin + end - side) / 2 + 0.5).clip(0, np.array([width, height]) - side)
    return np.concatenate([corner, corner + side], axis=1).astype(np.int64)


def cut(frame: Frames, box: Sequence[int] | NDArray[np.int64], size: int) -> Frames:
    """Cuts a square out of a frame and resizes it, bilinear; a copy.

    Args:
        frame: [H, W, C]: uint8 RGB; or float32 flow, x then y, in [-1, 1].
        box: A row of `squares`.
        size: Side of the result, pixels.

    Returns:
        [size, size, C] of the same type: RGB rounded half to even; flow with its vectors scaled
        like the sides, clipped to [-1, 1]. A box of `size` is the pixels themselves.
    """
    left, upper, right, _ = map(int, box)
    piece = crops.crop(frame[None], (upper, left), right - left)
    return np.asarray(resizing.resize_clip(piece.copy(), size)[0])
