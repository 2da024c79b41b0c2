"""Clips made ready in torch; the twin of `i3d_tf/preprocessing_test.py`."""

import numpy as np
import pytest
import torch

from common.preprocessing import frames
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


def test_views_with_strides_are_read_as_they_look(clips):
    x = _tensor(clips).permute(0, 1, 2, 4, 3)
    resized = _array(preprocessing.resize(x, 6, 6))
    turned = np.swapaxes(clips, 2, 3)
    expected = np.stack([frames.resize(clip, 6, 6) for clip in turned])
    np.testing.assert_allclose(resized, expected, rtol=0, atol=2e-7 * 255 * 13)


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
