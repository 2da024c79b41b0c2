"""Resize, crop and value range of frames: the NumPy reference for both backends.

Frames are [T, H, W, C] with values 0 to 255; a clip is what a network is fed: [1, T, H, W, C]
float32 in the range of its input contract.
"""

import os

import numpy as np
from numpy.typing import NDArray

from common import video
from common.contracts import InputContract

Frames = NDArray[np.uint8] | NDArray[np.float32]

MIN_FRAMES = 9  # 8 frames leave one time step, and InceptionI3D's last pool needs two
MAX_FRAMES = 250  # what the paper tests on: ten seconds at 25 frames a second


def resize_short_side(frames: Frames, size: int = 256) -> NDArray[np.float32]:
    """Resizes so that the shorter side is `size`, bilinear, and keeps the shape of the picture.

    Pixel centres are at half integers and nothing is blurred before shrinking, as in OpenCV's
    `INTER_LINEAR` and torch's `interpolate(align_corners=False)`.

    Args:
        frames: [T, H, W, C], any range.
        size: Length of the shorter side afterwards, pixels.

    Returns:
        [T, H', W', C], the range of the input; the longer side is rounded to whole pixels.

    Raises:
        ValueError: Not four axes, an empty one, or a size below 1.
    """
    _check_axes(frames)
    if size < 1:
        raise ValueError(f"the short side must be at least 1 pixel, got {size}.")
    height, width = frames.shape[1:3]
    short = min(height, width)
    if short == size:
        return frames.astype(np.float32)
    rows = size if height == short else round(height * size / short)
    columns = size if width == short else round(width * size / short)
    # Rows first: that pass reads whole lines, and shrinks what the slower pass has to gather.
    return _interpolate(_interpolate(frames, 1, rows), 2, columns)


def center_crop(frames: Frames, size: int = 224) -> Frames:
    """Cuts [T, size, size, C] out of the middle of [T, H, W, C]; a view, same range.

    Raises:
        ValueError: Not four axes, or a side is shorter than `size`.
    """
    _check_axes(frames)
    height, width = frames.shape[1:3]
    if size < 1 or min(height, width) < size:
        raise ValueError(
            f"cannot cut {size}x{size} out of frames of {height}x{width} (height x width). "
            "Resize the short side to at least the crop first."
        )
    top, left = (height - size) // 2, (width - size) // 2
    return frames[:, top : top + size, left : left + size]


def to_range(frames: Frames, low: float = -1.0, high: float = 1.0) -> NDArray[np.float32]:
    """Maps values 0 to 255, of any shape, to `low` to `high` as float32."""
    unit = frames.astype(np.float32) / np.float32(255)
    return unit * np.float32(high - low) + np.float32(low)


def to_contract(frames: Frames, contract: InputContract) -> NDArray[np.float32]:
    """Turns RGB values 0 to 255, channels last, into what the contract says, as float32."""
    if not contract.mean:
        return to_range(frames, *contract.value_range)
    mean, std = (np.asarray(values, np.float32) for values in (contract.mean, contract.std))
    return (frames.astype(np.float32) - mean) / std


def clip_from_video(
    path: str | os.PathLike[str],
    contract: InputContract | None = None,
    max_frames: int | None = MAX_FRAMES,
    min_frames: int = MIN_FRAMES,
) -> NDArray[np.float32]:
    """Reads a video as one clip: resampled, resized and cropped as the contract says.

    Works frame by frame, so that only what is kept is in memory.

    Args:
        path: The video file.
        contract: Rate, short side, crop and value range; None is InceptionI3D's RGB stream.
        max_frames: Takes so many frames from the beginning; None takes all.
        min_frames: What the network needs at least.

    Returns:
        [1, T, crop, crop, 3] float32 in the contract's range.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Not a video (`VideoError`), too few frames, or a contract for flow.
    """
    contract = contract or InputContract()
    if contract.channels != "rgb":
        raise ValueError(
            f"{path}: a video holds RGB frames, the checkpoint expects {contract.channels}. "
            "Choose an RGB checkpoint."
        )
    rate = contract.fps / contract.stride
    kept = []
    for frame in video.read_frames(path, fps=rate, max_frames=max_frames):
        resized = resize_short_side(frame[None], contract.short_side)
        kept.append(to_contract(center_crop(resized, contract.crop), contract)[0])
    if len(kept) < min_frames:
        limit = "" if max_frames is None else f" and --max_frames={max_frames}"
        raise ValueError(
            f"{path}: too short. Expected at least {min_frames} frames, got {len(kept)} at "
            f"{rate:g} frames a second{limit}. Choose a longer video"
            f"{' or a larger --max_frames' if max_frames and max_frames < min_frames else ''}."
        )
    return np.stack(kept)[None]


def _interpolate(frames: Frames, axis: int, size: int) -> NDArray[np.float32]:
    """Linear interpolation of one axis to `size`, half-pixel centres, edges repeated."""
    length = frames.shape[axis]
    if length == size:
        return frames.astype(np.float32, copy=False)
    position = (np.arange(size) + 0.5) * (length / size) - 0.5
    position = np.clip(position, 0, length - 1)
    before = np.floor(position).astype(np.intp)
    after = np.minimum(before + 1, length - 1)
    shape = [1] * frames.ndim
    shape[axis] = size
    weight = (position - before).astype(np.float32).reshape(shape)
    result: NDArray[np.float32] = np.take(frames, before, axis).astype(np.float32)
    step = np.take(frames, after, axis) - result
    step *= weight
    result += step
    return result


def _check_axes(frames: Frames) -> None:
    if frames.ndim != 4 or 0 in frames.shape:
        raise ValueError(
            f"expected frames [T, H, W, C] with no empty axis, got shape {list(frames.shape)}."
        )
