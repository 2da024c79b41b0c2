"""The rules of resizing, against the functions of TensorFlow and PyTorch that recipes are made of.

They compute the place of a pixel in float32, which is off by up to 2^-17 pixels at 224, and so a
value by 2^-9 levels where neighbours are 0 and 255.
"""

import numpy as np
import pytest

from common.preprocessing import frames

SIZES = [((17, 23), (31, 29)), ((48, 64), (224, 224)), ((61, 45), (20, 33)), ((64, 64), (32, 64))]


def _clip(size):
    return np.random.default_rng(size[0]).integers(0, 256, (2, *size, 3), np.uint8)


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_of_tensorflow(before, after):
    pytest.importorskip("sonnet", reason="needs the extra 'tf'")
    import i3d_tf  # noqa: F401, I001
    import tensorflow as tf

    clip = _clip(before)
    first = tf.compat.v1.image.resize_bilinear(clip, after).numpy()
    second = tf.image.resize(clip, after).numpy()
    third = tf.image.resize(clip, after, antialias=True).numpy()
    found = frames.resize(clip, *after, frames.tf1_neighbours)
    np.testing.assert_allclose(found, first, atol=2**-9)
    np.testing.assert_allclose(frames.resize(clip, *after), second, atol=2**-9)
    np.testing.assert_allclose(frames.resize_antialiased(clip, *after), third, atol=2**-9)
    assert np.abs(first - second).max() > 10  # the rules differ


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_of_torch(before, after):
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    clip = _clip(before)
    x = torch.from_numpy(clip).movedim(-1, 1).float()
    for resize, antialias in ((frames.resize, False), (frames.resize_antialiased, True)):
        expected = torch.nn.functional.interpolate(x, after, mode="bilinear", antialias=antialias)
        found = resize(clip, *after)
        np.testing.assert_allclose(found, expected.movedim(1, -1).numpy(), atol=2**-9)
