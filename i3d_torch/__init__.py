"""I3D video models in PyTorch; the twin of `i3d_tf`.

For example, with clips [B, C, T, H, W] in [-1, 1]:

    model = i3d_torch.load("rgb_scratch")   # or create("r2plus1d_18", 101)
    logits, endpoints = model(clips)
    i3d_torch.save(model, "mine.pt")
"""

import importlib as _importlib

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("i3d_torch needs PyTorch. In a checkout: pip install '.[torch]'") from error

from i3d_torch.model import VideoModel, arrays, assign, create, load, save
from i3d_torch.predictor import optimize

__all__ = ["FVD", "VideoModel", "arrays", "assign", "create", "load", "optimize", "save"]


def __getattr__(name: str) -> object:
    """Imports the metric where it is asked for: models do without it."""
    if name == "FVD":
        return _importlib.import_module("i3d_torch.metrics").FVD
    raise AttributeError(f"module 'i3d_torch' has no attribute {name!r}")
