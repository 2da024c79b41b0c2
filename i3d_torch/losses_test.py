"""The losses against their formulas in NumPy; the twin of `i3d_tf/losses_test.py`."""

import pytest
import torch

from common.testing import losses as checks
from i3d_torch import losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classes_is_the_mean_cross_entropy(smoothing):
    checks.check_classes(losses, torch.tensor, smoothing)


def test_frames_is_half_localisation_half_classification():
    checks.check_frames(losses, torch.tensor)


def test_large_logits_stay_finite():
    checks.check_large_logits(losses, torch.tensor)


def test_time_steps_are_spread_linearly_over_frames():
    checks.check_frame_logits(losses, torch.tensor)


def test_equal_frames_share_the_gradient_of_the_largest():
    checks.check_equal_frames(losses, torch.tensor, _gradient)


def test_correct_takes_the_first_of_equal_logits():
    checks.check_correct(losses, torch.tensor)


def _gradient(loss, logits):
    x = torch.tensor(logits, requires_grad=True)
    loss(x).backward()
    return x.grad.numpy()
