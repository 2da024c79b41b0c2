"""Clips made ready in TensorFlow; the twin of `i3d_torch/preprocessing_test.py`."""

import numpy as np
import pytest
import tensorflow as tf

from common.preprocessing import crops, frames
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT
from i3d_tf import preprocessing


@pytest.fixture
def clips():
    """[B, T, H, W, C], two different clips."""
    return np.random.default_rng(0).integers(0, 256, (2, 3, 9, 13, 3), np.uint8)


def test_a_graph_need_not_know_batch_and_frames(clips):
    signature = [tf.TensorSpec([None, None, 9, 13, 3], tf.uint8)]

    @tf.function(input_signature=signature)
    def prepare(x):
        fed = preprocessing.to_contract(preprocessing.resize_short_side(x, 6), RGB_CONTRACT)
        assert fed.shape.as_list() == [None, None, 6, 9, 3]
        return preprocessing.flip(preprocessing.ten_crop(fed, 5)[:, 0])

    actual = prepare(tf.constant(clips))
    for ours, clip in zip(actual.numpy(), clips, strict=True):
        fed = frames.to_contract(frames.resize_short_side(clip, 6), RGB_CONTRACT)
        np.testing.assert_allclose(ours, crops.flip(fed[:, :5, :5]), rtol=0, atol=4e-7 * 13)


def test_a_graph_must_know_height_and_width():
    @tf.function(input_signature=[tf.TensorSpec([2, 3, None, 13, 3], tf.uint8)])
    def prepare(x):
        return preprocessing.resize_short_side(x, 6)

    with pytest.raises(ValueError, match=r"known H, W and C, got shape \[2, 3, None, 13, 3\]"):
        prepare.get_concrete_function()


def test_gradients_flow_through(clips):
    x = tf.Variable(tf.cast(clips, tf.float32))
    with tf.GradientTape() as tape:
        crop = preprocessing.ten_crop(x, 4)[:, 7]
        total = tf.reduce_sum(preprocessing.to_contract(crop, RGB_CONTRACT))
    inside = np.zeros((9, 13, 1), np.float32)
    inside[2:6, 4:8] = 1 / 127.5
    gradient = tf.convert_to_tensor(tape.gradient(total, x))
    np.testing.assert_allclose(gradient, np.broadcast_to(inside, x.shape), rtol=1e-6)


def test_errors(clips):
    x = tf.constant(clips)
    with pytest.raises(ValueError, match=r"expected clips \[B, T, H, W, C\].*\[3, 9, 13, 3\]"):
        preprocessing.center_crop(x[0], 4)
    with pytest.raises(ValueError, match="cannot cut 10x10 out of frames of 9x13"):
        preprocessing.ten_crop(x, 10)
    with pytest.raises(ValueError, match="leaves frames of 9x13"):
        preprocessing.crop(x, (0, 9), 5)
    with pytest.raises(ValueError, match="cannot resize to 0x5"):
        preprocessing.resize(x, 0, 5)
    with pytest.raises(ValueError, match="short side must be at least 1"):
        preprocessing.resize_short_side(x, 0)
    with pytest.raises(ValueError, match="got 3 channels"):
        preprocessing.flip(x, flow=True)
    with pytest.raises(ValueError, match="for flow, 2 channels, got 3"):
        preprocessing.to_contract(x, FLOW_CONTRACT)
    with pytest.raises(ValueError, match="uint8 or floating values, got int64"):
        preprocessing.flip(tf.cast(x[..., :2], tf.int64), flow=True)
