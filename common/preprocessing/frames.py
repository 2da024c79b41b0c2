"""Size and value range of frames: the NumPy reference that both frameworks are compared with.

Frames are [T, H, W, C]: RGB in 0..255; or flow, x then y, as float in pixels or as uint8 levels
that stand for -20..20 pixels.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.preprocessing import compiled, crops
from common.preprocessing.contracts import CHANNELS, FLOW_BOUND, InputContract
from common.preprocessing.crops import Frames

Picture = NDArray[np.uint8]


def resize_short_side(frames: Frames, size: int = 256) -> NDArray[np.float32]:
    """Resizes [T, H, W, C] to a shorter side of `size` with `resize`; see `crops.resized_size`."""
    height, width = crops.size_of(frames)
    return resize(frames, *crops.resized_size(height, width, size))


def resize(
    frames: Frames, height: int, width: int, places: "Places | None" = None
) -> NDArray[np.float32]:
    """Resizes to `height` x `width` with bilinear interpolation; R(2+1)D nets crop from 128x171.

    Pixel centres lie at half integers, edges are repeated and nothing is blurred before shrinking,
    as in torch's `interpolate(align_corners=False)` and TensorFlow's `resize(antialias=False)`.
    `places` puts the centres elsewhere: `tf1_neighbours` does. Takes [T, H, W, C] of any range and
    returns it unrounded, never as a view; `ValueError` for other axes or an empty size. For flow
    see `resize_flow`.
    """
    crops.check_axes(frames.shape, crops.AXES)
    crops.check_size(height, width)
    before_height, before_width = frames.shape[1:3]
    if (before_height, before_width) == (height, width):
        return frames.astype(np.float32)
    # Not OpenCV's: its precision depends on the platform and the number of channels.
    # Vertically first: that pass reads whole lines, and shrinks what the slower pass gathers from.
    places = places or neighbours
    down, across = places(before_height, height), places(before_width, width)
    return _interpolate(_interpolate(frames, 1, down), 2, across)


def resize_antialiased(frames: Frames, height: int, width: int) -> NDArray[np.float32]:
    """Resizes as `resize` does, but blurs before it shrinks: each pixel is a mean of all it covers.

    As torch's `interpolate(antialias=True)`, TensorFlow's `resize(antialias=True)` and Pillow's
    BILINEAR, unrounded.
    """
    crops.check_axes(frames.shape, crops.AXES)
    crops.check_size(height, width)
    down, across = _triangles(frames.shape[1], height), _triangles(frames.shape[2], width)
    values = frames.astype(np.float32)
    return np.asarray(np.einsum("thwc,ih,jw->tijc", values, down, across, optimize=True))


def resize_flow(flow: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Resizes float flow [T, H, W, 2] and scales its vectors with it: twice the width, twice the x.

    Raises `ValueError` as `resize`, or for uint8 or another number of channels.
    """
    if crops.is_stored(flow.dtype.name):
        raise ValueError("expected flow in pixels, got uint8. Decode what was stored first.")
    crops.check_flow(flow.shape[-1])
    resized = resize(flow, height, width)
    before_height, before_width = crops.size_of(flow)
    resized *= np.array([width / before_width, height / before_height], np.float32)
    return resized


def to_range(frames: Frames, low: float = -1.0, high: float = 1.0) -> NDArray[np.float32]:
    """Maps values in 0..255, of any shape, to `low`..`high` as float32."""
    unit = frames.astype(np.float32) / np.float32(255)
    return unit * np.float32(high - low) + np.float32(low)


def to_contract(frames: Frames, contract: InputContract) -> NDArray[np.float32]:
    """Converts RGB in 0..255, or flow, channels last, to the values of the contract, as float32.

    Flow in pixels is clipped to +-20; stored flow (uint8) must have been stored with that bound.
    """
    shift, scale = standardisation(contract, frames.shape[-1], frames.dtype.name)
    values = frames.astype(np.float32)
    if contract.channels == "flow" and not crops.is_stored(frames.dtype.name):
        values = values.clip(-FLOW_BOUND, FLOW_BOUND)
    return (values - shift) / scale


def standardisation(
    contract: InputContract, channels: int, dtype: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns shift and scale, [C] each, so that (values - shift) / scale meets the contract.

    Values of the type uint8 are 0..255; of a float type 0..255 for RGB, and pixels for flow. Raises
    `ValueError` for channels not the contract's, and flow of integers other than uint8.
    """
    if channels != CHANNELS[contract.channels]:
        raise ValueError(
            f"the contract is for {contract.channels}, {CHANNELS[contract.channels]} channels, "
            f"got {channels}."
        )
    if contract.mean:
        shift, scale = np.array(contract.mean), np.array(contract.std)
    else:
        low, high = contract.value_range
        scale = np.full(channels, 255 / (high - low))
        shift = -low * scale
    if contract.channels == "flow" and not crops.is_stored(dtype):
        pixels = 2 * FLOW_BOUND / 255  # a grey level
        shift, scale = shift * pixels - FLOW_BOUND, scale * pixels
    return shift.astype(np.float32), scale.astype(np.float32)


def to_grey(frame: NDArray[np.uint8 | np.float32]) -> NDArray[np.uint8]:
    """Converts a frame [H, W, 3], RGB in 0..255, to grey [H, W] with OpenCV's weights."""
    import cv2

    return np.asarray(cv2.cvtColor(frame.astype(np.uint8), cv2.COLOR_RGB2GRAY), np.uint8)


class Neighbours(NamedTuple):
    """The two pixels that each pixel of a resized axis lies between."""

    before: NDArray[np.intp]
    after: NDArray[np.intp]  # at the end, the last pixel itself
    weight: NDArray[np.float32]  # of the second, in [0, 1); the first has 1 - weight


Places = Callable[[int, int], Neighbours]  # of an axis' length, and the size it is resized to


def neighbours(length: int, size: int) -> Neighbours:
    """Returns the neighbours on an axis of `length` pixels of one resized to `size`."""
    position = (np.arange(size) + 0.5) * (length / size) - 0.5
    position = np.clip(position, 0, length - 1)
    before = np.floor(position).astype(np.intp)
    after = np.minimum(before + 1, length - 1)
    return Neighbours(before, after, (position - before).astype(np.float32))


def tf1_neighbours(length: int, size: int) -> Neighbours:
    """Those of TensorFlow 1's `resize_bilinear`, which aligns the corners of pixels, not centres.

    Pixel i lies at i * length / size, so the picture is moved by up to half a pixel.
    """
    position = np.arange(size, dtype=np.float32) * np.float32(length / size)
    before = np.floor(position).astype(np.intp)
    after = np.minimum(before + 1, length - 1)
    return Neighbours(before, after, position - before.astype(np.float32))


def _triangles(length: int, size: int) -> NDArray[np.float32]:
    """Weights [size, length] of a triangle about each pixel, as wide as what it covers."""
    scale = length / size
    wide = max(scale, 1.0)
    center = (np.arange(size)[:, None] + 0.5) * scale
    weights = (1 - np.abs(np.arange(length) + 0.5 - center) / wide).clip(0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _interpolate(frames: Frames, axis: int, neighbours: Neighbours) -> NDArray[np.float32]:
    """Interpolates linearly along one axis."""
    shape = [1] * frames.ndim
    shape[axis] = -1
    result: NDArray[np.float32] = np.take(frames, neighbours.before, axis).astype(np.float32)
    if not neighbours.weight.any():
        return result
    step = np.take(frames, neighbours.after, axis) - result
    step *= neighbours.weight.reshape(shape)
    result += step
    return result


def resize_picture_short_side(picture: Picture, size: int) -> Picture:
    """Resizes [H, W, C] uint8 to a shorter side of `size`, as `resize_picture` does."""
    height, width = picture.shape[:2]
    return resize_picture(picture, *crops.resized_size(height, width, size))


def resize_picture(picture: Picture, height: int, width: int) -> Picture:
    """Resizes [H, W, C] uint8 as `resize` does, compiled, rounded half to even; or returns it."""
    if picture.shape[:2] == (height, width):
        return picture
    result = np.empty((height, width, picture.shape[2]), np.uint8)
    rows, columns = picture.shape[:2]
    places = *neighbours(rows, height), *neighbours(columns, width)
    _resize(np.ascontiguousarray(picture), *places, result)
    return result


def resize_clip(stored: Frames, short_side: int) -> Frames:
    """Resizes [T, H, W, C] to a shorter side, or returns it as it is.

    uint8 RGB is rounded half to even; float32 flow is scaled as the sides and clipped to [-1, 1].
    """
    size = crops.resized_size(*crops.size_of(stored), short_side)
    if size == stored.shape[1:3]:
        return stored
    if stored.dtype != np.uint8:
        flow = resize_flow(stored.astype(np.float32, copy=False), *size)
        return flow.clip(-1, 1)
    return np.stack([resize_picture_short_side(frame, short_side) for frame in stored])


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
