"""Clips made ready in torch; the twin of `i3d_tf/preprocessing_test.py`."""

import numpy as np
import pytest
import torch

from common.preprocessing import crops, frames
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT
from i3d_torch import preprocessing


@pytest.fixture
def clips():
    """[B, T, H, W, C], two different clips."""
    return np.random.default_rng(0).integers(0, 256, (2, 3, 9, 13, 3), np.uint8)


def _tensor(array):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1)))


def _array(tensor):
    return np.moveaxis(tensor.numpy(), -4, -1)


@pytest.mark.parametrize("short", [5, 9, 17])
def test_every_clip_is_resized_as_by_numpy(clips, short):
    resized = preprocessing.resize_short_side(_tensor(clips), short)
    assert resized.dtype == torch.float32
    for ours, clip in zip(_array(resized), clips, strict=True):
        expected = frames.resize_short_side(clip, short)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-7 * 255 * 13)


def test_crops(clips):
    x = _tensor(clips)
    np.testing.assert_array_equal(_array(preprocessing.center_crop(x, 4)), clips[:, :, 2:6, 4:8])
    corner = (1, 7)
    np.testing.assert_array_equal(_array(preprocessing.crop(x, corner, 6)), clips[:, :, 1:7, 7:13])
    three, ten = preprocessing.three_crop(x, 9), preprocessing.ten_crop(x, 5)
    assert (three.shape, ten.shape) == ((2, 3, 3, 3, 9, 9), (2, 10, 3, 3, 5, 5))
    for b, clip in enumerate(clips):
        np.testing.assert_array_equal(_array(three)[b], crops.three_crop(clip, 9))
        np.testing.assert_array_equal(_array(ten)[b], crops.ten_crop(clip, 5))


def test_views_with_strides_are_read_as_they_look(clips):
    x = _tensor(clips).permute(0, 1, 2, 4, 3)
    resized = _array(preprocessing.resize(x, 6, 6))
    turned = np.swapaxes(clips, 2, 3)
    expected = np.stack([frames.resize(clip, 6, 6) for clip in turned])
    np.testing.assert_allclose(resized, expected, rtol=0, atol=2e-7 * 255 * 13)


def test_flips_and_values(clips):
    x = _tensor(clips)
    np.testing.assert_array_equal(_array(preprocessing.flip(x)), clips[:, :, :, ::-1])
    stored = preprocessing.flip(x[:, :2], flow=True)
    assert stored.dtype == torch.uint8
    np.testing.assert_array_equal(_array(stored)[..., 0], 255 - clips[:, :, :, ::-1, 0])
    fed = preprocessing.to_contract(x, RGB_CONTRACT)
    assert fed.dtype == torch.float32
    np.testing.assert_array_equal(_array(fed), frames.to_contract(clips, RGB_CONTRACT))
    pixels = torch.tensor([-30.0, 10.0]).reshape(1, 2, 1, 1, 1)
    assert preprocessing.to_contract(pixels, FLOW_CONTRACT).flatten().tolist() == [-1, 0.5]


def test_gradients_flow_through(clips):
    x = _tensor(clips).float().requires_grad_()
    preprocessing.to_contract(preprocessing.ten_crop(x, 4)[:, 7], RGB_CONTRACT).sum().backward()
    inside = torch.zeros(9, 13)
    inside[2:6, 4:8] = 1 / 127.5
    torch.testing.assert_close(x.grad, inside.expand_as(x))


def test_errors(clips):
    x = _tensor(clips)
    with pytest.raises(ValueError, match=r"expected clips \[B, C, T, H, W\].*\[3, 3, 9, 13\]"):
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
        preprocessing.flip(x[:, :2].long(), flow=True)
