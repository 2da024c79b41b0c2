"""Size, crop, flip and value range of clips in TensorFlow; twin of `i3d_torch/preprocessing.py`.

Clips are [B, T, H, W, C], with the values of `common.preprocessing.frames` and the results of
its functions: crops and flips exactly, sizes within 2e-7 of the range for each pixel of the longer
side, because TensorFlow keeps positions in float32. In a graph B and T may be unknown, H, W and C
may not. Every function raises `ValueError` for clips without five axes, sizes and crops that do not
fit, and other channels or types than it takes.
"""

import tensorflow as tf

from common.flow.encoding import BOUND
from common.preprocessing import crops
from common.preprocessing.contracts import InputContract
from common.preprocessing.crops import Corner
from common.preprocessing.frames import standardisation

AXES = "clips [B, T, H, W, C]"


def resize_short_side(clips: tf.Tensor, size: int = 256) -> tf.Tensor:
    """Resizes so that the shorter side is `size`; float32 [B, T, H', W', C] in the same range."""
    return resize(clips, *crops.resized_size(*_size(clips), size))


def resize(clips: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Resizes bilinearly; float32 [B, T, height, width, C] in the same range."""
    before = _size(clips)
    crops.check_size(height, width)
    channels = clips.shape[4]
    # To float before: TensorFlow leaves alone what has the size already.
    pictures = tf.reshape(tf.cast(clips, tf.float32), [-1, *before, channels])
    resized = tf.image.resize(pictures, (height, width), method="bilinear", antialias=False)
    batch, frames = tf.unstack(tf.shape(clips)[:2])
    resized = tf.reshape(resized, [batch, frames, height, width, channels])
    return tf.ensure_shape(resized, [*clips.shape[:2], height, width, channels])


def crop(clips: tf.Tensor, corner: Corner, size: int) -> tf.Tensor:
    """Cuts [B, T, size, size, C] out at (top, left)."""
    crops.check_corner(*_size(clips), corner, size)
    top, left = corner
    return clips[:, :, top : top + size, left : left + size]


def center_crop(clips: tf.Tensor, size: int = 224) -> tf.Tensor:
    """Cuts [B, T, size, size, C] out of the middle."""
    return crop(clips, crops.center_corner(*_size(clips), size), size)


def three_crop(clips: tf.Tensor, size: int = 256) -> tf.Tensor:
    """Cuts [B, 3, T, size, size, C] along the longer side: see `crops.three_corners`."""
    corners = crops.three_corners(*_size(clips), size)
    return tf.stack([crop(clips, corner, size) for corner in corners], 1)


def ten_crop(clips: tf.Tensor, size: int = 224, flow: bool = False) -> tf.Tensor:
    """Cuts [B, 10, T, size, size, C], in the order of `crops.ten_crop`."""
    corners = crops.five_corners(*_size(clips), size)
    five = [crop(clips, corner, size) for corner in corners]
    return tf.stack([*five, *(flip(part, flow) for part in five)], 1)


def flip(clips: tf.Tensor, flow: bool = False) -> tf.Tensor:
    """Mirrors left and right; the x of flow changes its sign, as in `crops.flip`."""
    crops.check_axes(clips.shape, AXES)
    mirrored = tf.reverse(clips, [3])
    if not flow:
        return mirrored
    crops.check_flow(clips.shape[4])
    x, y = tf.split(mirrored, 2, -1)
    return tf.concat([255 - x if crops.is_stored(_dtype(clips)) else -x, y], -1)


def to_contract(clips: tf.Tensor, contract: InputContract) -> tf.Tensor:
    """Turns values into what the contract says, float32, as `frames.to_contract`."""
    crops.check_axes(clips.shape, AXES)
    shift, scale = standardisation(contract, clips.shape[4], _dtype(clips))
    values = tf.cast(clips, tf.float32)
    if contract.channels == "flow" and not crops.is_stored(_dtype(clips)):
        values = tf.clip_by_value(values, -BOUND, BOUND)
    return (values - shift) / scale


def _size(clips: tf.Tensor) -> tuple[int, int]:
    """Height and width; raises `ValueError` unless they are known and [B, T, H, W, C]."""
    crops.check_axes(clips.shape, AXES)
    if None in clips.shape[2:]:
        raise ValueError(
            f"expected {AXES} with known H, W and C, got shape {list(clips.shape)}. "
            "State them with tf.ensure_shape."
        )
    return clips.shape[2], clips.shape[3]


def _dtype(clips: tf.Tensor) -> str:
    return clips.dtype.name
