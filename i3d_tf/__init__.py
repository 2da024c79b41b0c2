"""I3D video models in TensorFlow 2 and Sonnet 2; the twin of `i3d_torch`.

For example, with clips [B, T, H, W, C] in [-1, 1]:

    model = i3d_tf.load("rgb_scratch")      # or create("r2plus1d_18", 101)
    logits, endpoints = model(clips)
    i3d_tf.save(model, "mine.ckpt")
"""

import contextlib as _contextlib
import importlib as _importlib
import os as _os

# Notes about drivers that are not there; what goes wrong is raised. Set it to 0 to see all.
_os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# On a CPU without AVX-512 VNNI, TensorFlow leaves oneDNN off by default: the gradients of a narrow
# network then take ten times as long, those of InceptionI3D 1.4 times.
_os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# PyTorch builds for CUDA bring triton and import it late. Imported after TensorFlow it is a
# segmentation fault (TensorFlow 2.21, triton 3.7), so whatever imports TensorFlow here imports this
# package, and with it triton, first.
with _contextlib.suppress(ImportError):
    import triton as _triton  # noqa: F401

try:
    import sonnet as _snt  # noqa: F401
    import tensorflow as _tf  # noqa: F401
except ImportError as error:
    raise ImportError(
        "i3d_tf needs TensorFlow 2 and Sonnet 2. In a checkout: pip install '.[tf]'"
    ) from error

from i3d_tf.model import VideoModel, arrays, assign, create, load, save
from i3d_tf.predictor import optimize

__all__ = ["FVD", "VideoModel", "arrays", "assign", "create", "load", "optimize", "save"]


def __getattr__(name: str) -> object:
    """Imports the metric where it is asked for: models do without it."""
    if name == "FVD":
        return _importlib.import_module("i3d_tf.metrics").FVD
    raise AttributeError(f"module 'i3d_tf' has no attribute {name!r}")
