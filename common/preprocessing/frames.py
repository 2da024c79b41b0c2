"""Size and value range of frames: the NumPy reference for both backends.

Frames are [T, H, W, C]: RGB with values 0 to 255; or flow, x then y, either float in pixels or
uint8 as stored, 0 to 255 for -20 to 20 pixels (`encoding.BOUND`). A clip is what a network is fed:
[1, T, H, W, C] float32 in the range of its input contract.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.flow.encoding import BOUND
from common.preprocessing import crops
from common.preprocessing.contracts import CHANNELS, InputContract
from common.preprocessing.crops import Frames


def resize_short_side(frames: Frames, size: int = 256) -> NDArray[np.float32]:
    """Resizes so that the shorter side is `size`, bilinear, and keeps the shape of the picture.

    Args:
        frames: [T, H, W, C], any range.
        size: Length of the shorter side afterwards, pixels.

    Returns:
        [T, H', W', C], the range of the input; see `resize`, and `crops.resized_size`.

    Raises:
        ValueError: Not four axes, an empty one, or a size below 1.
    """
    height, width = crops.size_of(frames)
    return resize(frames, *crops.resized_size(height, width, size))


def resized_center_crop(frames: Frames, short_side: int, size: int) -> NDArray[np.float32]:
    """The `crops.center_crop` of `resize_short_side`, to the bit; what is cut off is not computed.

    Args:
        frames: [T, H, W, C], any range.
        short_side: Length of the shorter side before the crop, pixels.
        size: Of the crop, pixels.

    Returns:
        [T, size, size, C], the range of the input, not rounded; never a view.

    Raises:
        ValueError: Not four axes, an empty one, a short side below 1, or smaller than the crop.
    """
    height, width = crops.size_of(frames)
    resized = crops.resized_size(height, width, short_side)
    top, left = crops.center_corner(*resized, size)
    if resized == (height, width):
        return crops.crop(frames, (top, left), size).astype(np.float32)
    rows = neighbours(height, resized[0], slice(top, top + size))
    columns = neighbours(width, resized[1], slice(left, left + size))
    # Rows are interpolated between the columns that are needed, and no others.
    first, end = columns.before[0], columns.after[-1] + 1
    columns = columns._replace(before=columns.before - first, after=columns.after - first)
    return _interpolate(_interpolate(frames[:, :, first:end], 1, rows), 2, columns)


def resize(frames: Frames, height: int, width: int) -> NDArray[np.float32]:
    """Resizes to `height` x `width`, bilinear; R(2+1)D nets crop from 128x171.

    Pixel centres are at half integers, edges are repeated and nothing is blurred before shrinking,
    as in torch's `interpolate(align_corners=False)` and TensorFlow's `resize(antialias=False)`.
    Flow keeps the length of its vectors: see `resize_flow`.

    Args:
        frames: [T, H, W, C], any range.
        height: Afterwards, pixels.
        width: Afterwards, pixels.

    Returns:
        [T, height, width, C], the range of the input, not rounded; never a view.

    Raises:
        ValueError: Not four axes, an empty one, or a size below 1.
    """
    crops.check_axes(frames.shape, crops.AXES)
    crops.check_size(height, width)
    if frames.shape[1:3] == (height, width):
        return frames.astype(np.float32)
    # Not OpenCV's: how precise that is depends on the platform and the number of channels.
    # Rows first: that pass reads whole lines, and shrinks what the slower pass has to gather.
    rows, columns = neighbours(frames.shape[1], height), neighbours(frames.shape[2], width)
    return _interpolate(_interpolate(frames, 1, rows), 2, columns)


def resize_flow(flow: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Resizes flow in pixels, and its vectors with it: twice the width, twice the x.

    Flow that was calculated on frames of the right size needs none of it.

    Args:
        flow: [T, H, W, 2], x and y, pixels.
        height: Afterwards, pixels.
        width: Afterwards, pixels.

    Raises:
        ValueError: Not flow as float, an empty axis, or a size below 1.
    """
    if crops.is_stored(flow.dtype.name):
        raise ValueError("expected flow in pixels, got uint8. Decode what was stored first.")
    crops.check_flow(flow.shape[-1])
    resized = resize(flow, height, width)
    before_height, before_width = crops.size_of(flow)
    resized *= np.array([width / before_width, height / before_height], np.float32)
    return resized


def to_range(frames: Frames, low: float = -1.0, high: float = 1.0) -> NDArray[np.float32]:
    """Maps values 0 to 255, of any shape, to `low` to `high` as float32."""
    unit = frames.astype(np.float32) / np.float32(255)
    return unit * np.float32(high - low) + np.float32(low)


def to_contract(frames: Frames, contract: InputContract) -> NDArray[np.float32]:
    """Turns RGB 0 to 255, or flow, channels last, into what the contract says, as float32.

    Flow in pixels is clipped to +-20; stored flow (uint8) must have been stored with that bound.

    Raises:
        ValueError: Not the contract's channels, or flow as integers that are not uint8.
    """
    shift, scale = standardisation(contract, frames.shape[-1], frames.dtype.name)
    values = frames.astype(np.float32)
    if contract.channels == "flow" and not crops.is_stored(frames.dtype.name):
        values = values.clip(-BOUND, BOUND)
    return (values - shift) / scale


def standardisation(
    contract: InputContract, channels: int, dtype: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shift and scale, [C] each, with which (values - shift) / scale is what the contract says.

    Args:
        contract: What the network expects.
        channels: How many the values have.
        dtype: Name of their type: uint8 is 0 to 255; floating is 0 to 255 for RGB, pixels for flow.

    Raises:
        ValueError: Not the contract's channels, or flow as integers that are not uint8.
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
        pixels = 2 * BOUND / 255  # a grey level
        shift, scale = shift * pixels - BOUND, scale * pixels
    return shift.astype(np.float32), scale.astype(np.float32)


def to_grey(frame: NDArray[np.uint8 | np.float32]) -> NDArray[np.uint8]:
    """[H, W] of a frame [H, W, 3], RGB, weighted as OpenCV does; whole numbers 0 to 255."""
    import cv2

    return np.asarray(cv2.cvtColor(frame.astype(np.uint8), cv2.COLOR_RGB2GRAY), np.uint8)


class Neighbours(NamedTuple):
    """Where the pixels of a resized axis lie among those before.

    Attributes:
        before: The index of the one at or before each.
        after: The index of the next; of the last pixel, itself.
        weight: Of the second, [0, 1), float32; that of the first is what is left to 1.
    """

    before: NDArray[np.intp]
    after: NDArray[np.intp]
    weight: NDArray[np.float32]


def neighbours(length: int, size: int, part: slice = slice(None)) -> Neighbours:
    """Those of an axis of `length` pixels that gets `size`: half-pixel centres, edges repeated.

    Args:
        length: Pixels before.
        size: Pixels afterwards.
        part: Which of them are asked for.
    """
    position = (np.arange(size)[part] + 0.5) * (length / size) - 0.5
    position = np.clip(position, 0, length - 1)
    before = np.floor(position).astype(np.intp)
    after = np.minimum(before + 1, length - 1)
    return Neighbours(before, after, (position - before).astype(np.float32))


def _interpolate(frames: Frames, axis: int, neighbours: Neighbours) -> NDArray[np.float32]:
    """Linear interpolation along one axis."""
    shape = [1] * frames.ndim
    shape[axis] = -1
    result: NDArray[np.float32] = np.take(frames, neighbours.before, axis).astype(np.float32)
    if not neighbours.weight.any():
        return result
    step = np.take(frames, neighbours.after, axis) - result
    step *= neighbours.weight.reshape(shape)
    result += step
    return result
