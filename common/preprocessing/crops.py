"""Cuts in time and space: frame numbers, corners, flips; as numbers for both frameworks.

Random choices are made apart from the pixels, so that RGB and flow can share them. Sizes are in
pixels; a corner is the (top, left) of a square of `size`. Frames are [T, H, W, C], in any range
unless a function says otherwise. A clip has `total` frames; a window is `duration` of them, every
`rate`-th, as 0-based numbers modulo `total`, so that shorter clips are looped (Carreira and
Zisserman, CVPR 2017). What does not fit, other axes, and numbers below 1 are a `ValueError`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8 | np.float32]
Corner = tuple[int, int]

AXES = "frames [T, H, W, C]"


def resized_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Returns height and width with a shorter side of `short_side`, rounding halves to even."""
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

    Non-local networks are tested on them, with short sides and crops of 256 (Wang et al., 2018).
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
    """Draws a short side uniformly, both ends included; the defaults are non-local networks'."""
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
    """Cuts [10, T, size, size, C]: `five_corners`, then each mirrored: 5 + i is crop i.

    (In torchvision the centre is the last of the five, and left and right of the others change.)
    """
    corners = five_corners(*size_of(frames), size)
    five = [crop(frames, corner, size) for corner in corners]
    return np.stack([*five, *(flip(part, flow) for part in five)])


def flip(frames: Frames, flow: bool = False) -> Frames:
    """Mirrors left and right, any shape that ends in [H, W, C]; the x of flow changes its sign.

    Flow is float, in any range around 0; or uint8 as stored, where x becomes 255 - x, which is
    exact: p * 40 / 255 - 20 changes its sign. Other flow is a `ValueError`.
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


def random_window(total: int, duration: int, rate: int, rng: np.random.Generator) -> list[int]:
    """Draws a window, uniformly among those that fit (from 0 if none does), with one number."""
    last = _last_start(total, duration, rate)
    return _window(int(rng.integers(last + 1)), total, duration, rate)


def center_window(total: int, duration: int, rate: int) -> list[int]:
    """Returns the window in the middle, or half a frame before it; from 0 if none fits."""
    return _window(_last_start(total, duration, rate) // 2, total, duration, rate)


def even_windows(total: int, duration: int, rate: int, count: int) -> list[list[int]]:
    """Returns `count` windows, of which number j begins at frame floor(j * total / count).

    So facebookresearch/video-nonlocal-net tests, with 10: the last wrap around to the start.
    """
    _check(total=total, duration=duration, rate=rate, count=count)
    return [_window(j * total // count, total, duration, rate) for j in range(count)]


def sliding_windows(total: int, duration: int, rate: int, stride: int) -> list[list[int]]:
    """Returns windows that begin every `stride` taken frames, up to the first that leaves the clip.

    The last one is what is left, looped: as kenshohara/3D-ResNets-PyTorch (`inference_stride`).
    """
    _check(total=total, duration=duration, rate=rate, stride=stride)
    taken = list(range(0, total, rate))
    windows = []
    for start in range(0, len(taken), stride):
        part = taken[start : start + duration]
        windows.append([part[k % len(part)] for k in range(duration)])
        if len(part) < duration:
            break
    return windows


def whole(total: int, most: int, least: int = 1) -> list[int]:
    """Returns the first `most` frames at most, looped to at least `least`: 250 and 9 for I3D."""
    _check(total=total, most=most, least=least)
    return _window(0, total, max(min(total, most), least), 1)


def localisation_frames(total: int, count: int = 25) -> list[int]:
    """Returns the frames shown at `count` moments, of which number j is j / count of the way.

    These are the moments of the localisation metric and labels of Charades
    (`Charades_v1_localize.m`): j * length / 25 from j = 0 to 24. (charades-algorithms takes
    floor(linspace(0, total - 1, 25)), up to one 25th of the clip later.)
    """
    _check(total=total, count=count)
    return [j * total // count for j in range(count)]


def _last_start(total: int, duration: int, rate: int) -> int:
    """Returns the last frame at which a window that fits begins; 0 if none fits."""
    _check(total=total, duration=duration, rate=rate)
    return max(total - ((duration - 1) * rate + 1), 0)


def _window(start: int, total: int, duration: int, rate: int) -> list[int]:
    return [(start + k * rate) % total for k in range(duration)]


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1 to choose frames. Received: {number}.")
