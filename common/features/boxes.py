"""Where an individual is cut out of a frame: from tracked boxes to squares, and then to pixels.

A square keeps the individual's shape, for networks are fed squares. Boxes are left, upper, right,
lower in pixels; right and lower are outside.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.io import listing
from common.preprocessing import crops

POLICIES = ("frame", "union")


def check(boxes: NDArray[np.float32], height: int, width: int, first: int = 0) -> None:
    """Raises `ValueError` unless each box has an area and lies in the picture, at least in part.

    Args:
        boxes: [N, 4], N from 1 on.
        height: Of the picture, pixels.
        width: Of the picture, pixels.
        first: The frame of the first box, for the text; each box is of the next frame.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise ValueError(f"expected boxes [N, 4] with N from 1 on, got {list(boxes.shape)}.")
    left, upper, right, lower = boxes.T
    good = np.isfinite(boxes).all(axis=1) & (left < right) & (upper < lower)
    good &= (left < width) & (right > 0) & (upper < height) & (lower > 0)
    if not good.all():
        worst = int(np.argmin(good))
        raise ValueError(
            f"frame {first + worst}: expected a box that lies at least in part within the picture "
            f"of {height}x{width} (height x width), got {boxes[worst].tolist()}."
        )


def squares(
    boxes: NDArray[np.float32],
    height: int,
    width: int,
    policy: str = "frame",
    margin: float = 0.0,
) -> NDArray[np.int64]:
    """The square around each box, within the picture.

    A box is grown by the margin, then along its shorter axis to a square with the same centre. A
    square that is larger than the picture is shrunk to its shorter side, and one that leaves it is
    shifted back into it.

    Args:
        boxes: [N, 4], as a `Tracklet` has them; they may leave the picture.
        height: Of the picture, pixels.
        width: Of the picture, pixels.
        policy: "frame" is the square of each box; "union" N times that of the smallest box around
            all of them, which makes a picture that does not move.
        margin: Share of a box's width that is added on its left and right, and of its height above
            and below it.

    Returns:
        [N, 4] whole pixels. First the side is rounded, then the place, halves up: so a box that
        only moves keeps its size.

    Raises:
        ValueError: See `check`; an unknown policy, or a margin that is negative or not finite.
    """
    check(boxes, height, width)
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {listing(POLICIES)}. Received: {policy!r}.")
    if not 0 <= margin < np.inf:
        raise ValueError(f"margin must be at least 0 and finite. Received: {margin}.")
    begin, end = np.split(boxes.astype(np.float64), 2, axis=1)  # [N, 2] each: x and y
    if policy == "union":
        begin = np.broadcast_to(begin.min(axis=0), begin.shape)
        end = np.broadcast_to(end.max(axis=0), end.shape)
    longer = (end - begin).max(axis=1, keepdims=True) * (1 + 2 * margin)
    side = _rounded(longer).clip(1, min(height, width))
    corner = _rounded((begin + end - side) / 2).clip(0, np.array([width, height]) - side)
    return np.concatenate([corner, corner + side], axis=1).astype(np.int64)


def cut(
    frame: NDArray[np.uint8 | np.float32], box: Sequence[int] | NDArray[np.int64], size: int
) -> NDArray[np.uint8 | np.float32]:
    """Cuts a square out of a frame and resizes it, bilinear; a copy.

    Args:
        frame: [H, W, C]: RGB, uint8; or flow, x then y, float32 in [-1, 1].
        box: A row of `squares`.
        size: Afterwards, pixels.

    Returns:
        [size, size, C] of the same type: RGB rounded half to even; flow with its vectors as much
        longer as the sides, clipped to [-1, 1]. A box of `size` is the pixels themselves.

    Raises:
        ValueError: The box is no square, or leaves the frame; or a size below 1.
    """
    from common.preprocessing import resizing  # numba takes a moment

    left, upper, right, lower = map(int, box)
    if right - left != lower - upper:
        raise ValueError(f"expected a square box, got {[left, upper, right, lower]}.")
    piece = crops.crop(frame[None], (upper, left), right - left)
    return np.asarray(resizing.resize_clip(piece.copy(), size)[0])


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.floor(values + 0.5))
