"""Runs the TensorFlow backend on NumPy arrays; the twin of `parity_tests/on_torch.py`.

All arrays are channels last, [B, T, H, W, C], going in and coming out.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

import i3d_tf
from common import arch
from convert import layouts
from i3d_tf import layers

NAME = "tf"


def layer(
    node: arch.Conv | arch.Pool, arrays: Mapping[str, np.ndarray], x: np.ndarray
) -> np.ndarray:
    """Runs one layer in inference with `arrays` by field."""
    module = layers.build(node, x.shape[-1])
    for field, array in arrays.items():
        part, name = field.split(".")
        if part == "norm":
            getattr(module.norm, name).assign(array)
        else:
            variable = {"weight": "w", "bias": "b"}[name]
            layout = "THWIO" if name == "weight" else "C"
            getattr(module.conv, variable).assign(layouts.from_canonical(array, layout))
    return module(tf.constant(x)).numpy()


def inference(
    net: arch.Network,
    arrays: Mapping[str, np.ndarray],
    clips: np.ndarray,
    final_endpoint: str | None = None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What the model returns for a batch of clips."""
    model = i3d_tf.VideoModel(net)
    i3d_tf.assign(model, arrays)
    output, endpoints = model(tf.constant(clips), final_endpoint=final_endpoint)
    return output.numpy(), {name: x.numpy() for name, x in endpoints.items()}


def training(
    net: arch.Network, arrays: Mapping[str, np.ndarray], clips: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Endpoints of a pass in training mode, and all arrays after it."""
    model = i3d_tf.VideoModel(net)
    i3d_tf.assign(model, arrays)
    _, endpoints = model(tf.constant(clips), is_training=True)
    return {name: x.numpy() for name, x in endpoints.items()}, i3d_tf.arrays(model)
