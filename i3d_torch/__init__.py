"""I3D video models in PyTorch; the twin of `i3d_tf`.

import i3d_torch
model = i3d_torch.load("rgb_scratch")   # or inception_i3d(num_classes=101)
logits, endpoints = model(clips)        # clips [B, C, T, H, W]
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError('i3d_torch needs PyTorch: pip install "i3d[torch]"') from error

from i3d_torch.model import VideoModel, inception_i3d
from i3d_torch.weights import arrays, assign, load

__all__ = ["VideoModel", "arrays", "assign", "inception_i3d", "load"]
