"""Crops and flips: corners as numbers, for both frameworks, and cut out of NumPy frames.

Random choices are made apart from the pixels, so that RGB and flow can share them. Sizes are in
pixels; a corner is the (top, left) of a square of `size`. Frames are [T, H, W, C], in any range
unless a function says otherwise. A crop larger than the frames, or frames with other axes, are a
`ValueError`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8 | np.float32]
Corner = tuple[int, int]

AXES = "frames [T, H, W, C]"


def resized_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Returns height and width with a shorter side of `short_side` and the same aspect ratio.

    The longer side is rounded to whole pixels, halves to even.
    """
    if short_side < 1:
        raise ValueError(f"the short side must be at least 1 pixel, got {short_side}.")
    short = min(height, width)
    return round(height * short_side / short), round(width * short_side / short)


def center_corner(height: int, width: int, size: int) -> Corner:
    """Returns the corner of the centre crop; odd margins are one pixel larger below and right."""
    if size < 1 or min(height, width) < size:
        raise ValueError(
            f"cannot cut {size}x{size} out of frames of {height}x{width} (height x width). "
            "Resize the short side to at least the crop first."
        )
    return (height - size) // 2, (width - size) // 2


def three_corners(height: int, width: int, size: int) -> tuple[Corner, Corner, Corner]:
    """Returns start, middle and end of the longer side (the width of a square), centred across.

    With frames of short side 256 and a size of 256, these are the spatial crops that non-local
    networks are tested on (Wang et al., CVPR 2018).
    """
    top, left = center_corner(height, width, size)
    if height > width:
        return (0, left), (top, left), (height - size, left)
    return (top, 0), (top, left), (top, width - size)


def five_corners(height: int, width: int, size: int) -> tuple[Corner, ...]:
    """Returns top left, top right, centre, bottom left, bottom right."""
    center = center_corner(height, width, size)
    bottom, right = height - size, width - size
    return (0, 0), (0, right), center, (bottom, 0), (bottom, right)


def random_corner(height: int, width: int, size: int, rng: np.random.Generator) -> Corner:
    """Draws a corner, uniformly among those that fit."""
    center_corner(height, width, size)
    top, left = rng.integers(0, (height - size + 1, width - size + 1))
    return int(top), int(left)


def random_short_side(rng: np.random.Generator, low: int = 256, high: int = 320) -> int:
    """Draws a short side for scale jitter, uniformly from `low` to `high`, both included.

    The defaults are those of non-local networks (Wang et al., CVPR 2018), which crop 224.
    """
    if not 1 <= low <= high:
        raise ValueError(f"expected 1 <= low <= high, got low {low} and high {high}.")
    return int(rng.integers(low, high, endpoint=True))


def random_flip(rng: np.random.Generator) -> bool:
    """Draws whether to mirror, with probability one half."""
    return bool(rng.random() < 0.5)


def crop(frames: Frames, corner: Corner, size: int) -> Frames:
    """Cuts [T, size, size, C] out of [T, H, W, C] at (top, left); a view."""
    check_corner(*size_of(frames), corner, size)
    top, left = corner
    return frames[:, top : top + size, left : left + size]


def center_crop(frames: Frames, size: int = 224) -> Frames:
    """Cuts [T, size, size, C] out of the middle of [T, H, W, C]; a view."""
    return crop(frames, center_corner(*size_of(frames), size), size)


def three_crop(frames: Frames, size: int = 256) -> Frames:
    """Cuts [3, T, size, size, C] along the longer side: see `three_corners`."""
    corners = three_corners(*size_of(frames), size)
    return np.stack([crop(frames, corner, size) for corner in corners])


def ten_crop(frames: Frames, size: int = 224, flow: bool = False) -> Frames:
    """Cuts [10, T, size, size, C]: four corners and the centre, then each of them mirrored.

    The order is top left, top right, centre, bottom left, bottom right, then the same five
    mirrored: 5 + i is crop i mirrored. (In torchvision the centre is the last of the five, and the
    second five are cut after mirroring, so that left and right change places.)
    """
    corners = five_corners(*size_of(frames), size)
    five = [crop(frames, corner, size) for corner in corners]
    return np.stack([*five, *(flip(part, flow) for part in five)])


def flip(frames: Frames, flow: bool = False) -> Frames:
    """Mirrors left and right; the x component of flow changes its sign as well.

    Args:
        frames: [T, H, W, C], or any shape that ends so.
        flow: Whether it is flow: float, in pixels or any range around 0; or uint8 as stored, where
            x becomes 255 - x, which is exact: p * 40 / 255 - 20 changes its sign.

    Raises:
        ValueError: Flow does not have two channels, or has integers other than uint8.
    """
    mirrored = frames[..., ::-1, :].copy()
    if flow:
        check_flow(frames.shape[-1])
        x = mirrored[..., 0]
        mirrored[..., 0] = 255 - x if is_stored(frames.dtype.name) else -x
    return mirrored


def size_of(frames: Frames) -> tuple[int, int]:
    """Returns height and width; raises `ValueError` unless the axes are [T, H, W, C]."""
    check_axes(frames.shape, AXES)
    height, width = frames.shape[1:3]
    return height, width


def check_corner(height: int, width: int, corner: Corner, size: int) -> None:
    """Raises `ValueError` unless the square at `corner` lies within `height` x `width`."""
    center_corner(height, width, size)
    top, left = corner
    if not (0 <= top <= height - size and 0 <= left <= width - size):
        raise ValueError(
            f"a crop of {size}x{size} at (top, left) = ({top}, {left}) leaves frames of "
            f"{height}x{width} (height x width)."
        )


def check_size(height: int, width: int) -> None:
    """Raises `ValueError` unless frames can be resized to `height` x `width`."""
    if min(height, width) < 1:
        raise ValueError(
            f"cannot resize to {height}x{width} (height x width): both must be at least 1 pixel."
        )


def check_axes(shape: Sequence[int | None], axes: str) -> None:
    """Raises `ValueError` unless `shape` has as many axes as "[T, H, W, C]", none of them empty."""
    if len(shape) != axes.count(",") + 1 or 0 in shape:
        raise ValueError(f"expected {axes} with no empty axis, got shape {list(shape)}.")


def is_stored(dtype: str) -> bool:
    """Returns whether values are 8-bit levels; raises `ValueError` for other integers."""
    if dtype != "uint8" and "float" not in dtype:
        raise ValueError(f"expected uint8 or floating values, got {dtype}.")
    return dtype == "uint8"


def check_flow(channels: int) -> None:
    """Raises `ValueError` unless there are two channels, x and y."""
    if channels != 2:
        raise ValueError(f"expected flow with 2 channels, x and y, got {channels} channels.")
