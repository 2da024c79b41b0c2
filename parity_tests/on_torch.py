"""Runs the torch backend on NumPy arrays; the twin of `parity_tests/on_tf.py`.

Inputs and outputs are channels last, [B, T, H, W, C].
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

import i3d_torch
from common import arch
from i3d_torch import layers


def layer(
    node: arch.Conv | arch.Pool, arrays: Mapping[str, np.ndarray], x: np.ndarray
) -> np.ndarray:
    """Runs one layer in inference with `arrays` by field."""
    module = layers.LAYERS[type(node)](node, x.shape[-1]).eval()
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    module.load_state_dict(state, strict=True)
    with torch.inference_mode():
        return _channels_last(module(_channels_first(x)))


def pool_gradient(node: arch.Pool, x: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Gradient of sum(pool(x) * outer) with respect to x."""
    variable = _channels_first(x).requires_grad_()
    output = layers.LAYERS[type(node)](node, x.shape[-1])(variable)
    output.backward(_channels_first(outer))
    return _channels_last(variable.grad)


def gradients(
    net: arch.Network, arrays: Mapping[str, np.ndarray], clips: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Gradients of the cross entropy for labels [B], with running statistics in batch norm."""
    model = i3d_torch.VideoModel(net).eval()
    i3d_torch.assign(model, arrays)
    logits, _ = model(_channels_first(clips))
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
    return {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}


def inference(
    net: arch.Network,
    arrays: Mapping[str, np.ndarray],
    clips: np.ndarray,
    final_endpoint: str | None = None,
    optimized: bool = False,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the output and the endpoints of the model for a batch of clips."""
    model = i3d_torch.VideoModel(net).eval()
    i3d_torch.assign(model, arrays)
    if optimized:
        model = i3d_torch.optimize(model)
    with torch.inference_mode():
        output, endpoints = model(_channels_first(clips), final_endpoint=final_endpoint)
    return _channels_last(output), {name: _channels_last(x) for name, x in endpoints.items()}


def training(
    net: arch.Network, arrays: Mapping[str, np.ndarray], clips: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the endpoints of a pass in training mode, and all arrays after it."""
    model = i3d_torch.VideoModel(net).train()
    i3d_torch.assign(model, arrays)
    _, endpoints = model(_channels_first(clips))
    return {name: _channels_last(x) for name, x in endpoints.items()}, i3d_torch.arrays(model)


def _channels_first(x: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def _channels_last(x: Tensor) -> np.ndarray:
    return np.moveaxis(x.detach().numpy(), 1, -1)
