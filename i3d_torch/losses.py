"""Training losses; the twin of `i3d_tf/losses.py`.

All return float32. Logits of frames are channels last, [B, T, num_classes], as in TensorFlow.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from common.training.optim import interpolation


def classes(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy of clips with one label each.

    Args:
        logits: [B, num_classes].
        labels: [B], int64.
        smoothing: Share of each target that is spread over all classes, 0 to 1.
    """
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def frames(logits: Tensor, targets: Tensor) -> Tensor:
    """Half localisation loss, half classification loss, as piergiaj/pytorch-i3d on Charades.

    Both are mean binary cross entropies: localisation of every frame, classification of the clip,
    the maximum over time of logits against that of targets.

    Args:
        logits: [B, T, num_classes], a row a frame.
        targets: [B, T, num_classes], 0 or 1.
    """
    localisation = F.binary_cross_entropy_with_logits(logits, targets)
    # amax: the gradient of equal logits is divided among them, as TensorFlow does.
    clips = F.binary_cross_entropy_with_logits(logits.amax(dim=1), targets.amax(dim=1))
    return (localisation + clips) / 2


def frame_logits(steps: Tensor, count: int) -> Tensor:
    """Interpolates logits of time steps linearly to `count` frames; see `interpolation`.

    Args:
        steps: [B, T, num_classes].
        count: How many frames the clip has.
    """
    weights = torch.from_numpy(interpolation(steps.shape[1], count)).to(steps.device)
    return weights @ steps


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of clips whose top class is their label; of equal logits the first is on top."""
    return (logits.argmax(dim=1) == labels).float().mean()
