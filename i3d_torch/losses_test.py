"""The losses against their formulas in NumPy; the twin of `i3d_tf/losses_test.py`."""

import torch

from common.testing.losses import LossTests
from i3d_torch import losses


def _gradient(loss, logits):
    x = torch.tensor(logits, requires_grad=True)
    loss(x).backward()
    return x.grad.numpy()


class TestLosses(LossTests):
    losses, tensor, gradient = losses, staticmethod(torch.tensor), staticmethod(_gradient)
