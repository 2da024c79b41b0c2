"""Fast resizing of uint8 pictures: the bytes of `common.preprocessing.frames`, compiled."""

import numpy as np
from numpy.typing import NDArray

from common.preprocessing import crops, frames
from common.preprocessing.compiling import compiled
from common.preprocessing.crops import Frames

Picture = NDArray[np.uint8]


def resize_short_side(picture: Picture, size: int) -> Picture:
    """Resizes [H, W, C] uint8 to a shorter side of `size`, as `resize` does."""
    height, width = picture.shape[:2]
    return resize(picture, *crops.resized_size(height, width, size))


def resize(picture: Picture, height: int, width: int) -> Picture:
    """Resizes [H, W, C] uint8 as `frames.resize` does, rounded half to even.

    Returns [height, width, C] uint8; the picture itself if it has the size.
    """
    if picture.shape[:2] == (height, width):
        return picture
    result = np.empty((height, width, picture.shape[2]), np.uint8)
    rows, columns = picture.shape[:2]
    places = *frames.neighbours(rows, height), *frames.neighbours(columns, width)
    _resize(np.ascontiguousarray(picture), *places, result)
    return result


def resize_clip(stored: Frames, short_side: int) -> Frames:
    """Resizes [T, H, W, C] to a shorter side of `short_side`; returns it as it is if it is that.

    uint8 RGB is rounded half to even; the vectors of float32 flow in [-1, 1] are scaled as the
    sides and clipped to that range.
    """
    size = crops.resized_size(*crops.size_of(stored), short_side)
    if size == stored.shape[1:3]:
        return stored
    if stored.dtype != np.uint8:
        flow = frames.resize_flow(stored.astype(np.float32, copy=False), *size)
        return flow.clip(-1, 1)
    return np.stack([resize_short_side(frame, short_side) for frame in stored])


@compiled
def _resize(  # type: ignore[no-untyped-def]
    picture, tops, bottoms, downs, lefts, rights, acrosses, result
):
    """Interpolates rows, then columns, in float32, as the reference does."""
    rows, columns, channels = result.shape
    width = picture.shape[1]
    line = np.empty(width * channels, np.float32)
    for row in range(rows):
        above = picture[tops[row]].reshape(-1)
        below = picture[bottoms[row]].reshape(-1)
        down = downs[row]
        for i in range(width * channels):
            value = np.float32(above[i])
            line[i] = value + (np.float32(below[i]) - value) * down
        for column in range(columns):
            left, right = lefts[column] * channels, rights[column] * channels
            across = acrosses[column]
            for channel in range(channels):
                value = line[left + channel]
                value += (line[right + channel] - value) * across
                result[row, column, channel] = np.uint8(np.rint(value))
