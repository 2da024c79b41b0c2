"""The operations in NumPy, float64, as the reference for both backends.

Arrays are [B, T, H, W, C] and kernels [out, in, T, H, W]. Deliberately
slow and simple, with its own padding rule, so that a mistake in `common.arch.pads` is found.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from common import arch


def conv(x: np.ndarray, kernel: np.ndarray, node: arch.Conv) -> np.ndarray:
    """Convolution (cross-correlation) without bias."""
    windows = _windows(x, node, value=0.0)
    return np.einsum("bthwcijk,ocijk->bthwo", windows, kernel.astype(np.float64), optimize=True)


def max_pool(x: np.ndarray, node: arch.Pool) -> np.ndarray:
    """Maximum of each window, without padded cells."""
    return _windows(x, node, value=-np.inf).max(axis=(-3, -2, -1))


def max_pool_gradient(x: np.ndarray, outer: np.ndarray, node: arch.Pool) -> np.ndarray:
    """Gradient of sum(max_pool(x) * outer) with respect to x; ties go to the first cell."""
    windows = _windows(x, node, value=-np.inf)
    b, t, h, w, c = windows.shape[:5]
    first = windows.reshape(b, t, h, w, c, -1).argmax(axis=-1)
    offsets = np.unravel_index(first, node.kernel)
    around = [(0, 0), *_around(x.shape[1:4], node), (0, 0)]
    gradient = np.zeros([n + sum(cells) for n, cells in zip(x.shape, around, strict=True)])
    at = np.indices(first.shape)
    places = [at[i + 1] * node.stride[i] + offsets[i] for i in range(3)]
    np.add.at(gradient, (at[0], *places, at[4]), outer)
    inside = [slice(front, front + n) for (front, _), n in zip(around, x.shape, strict=True)]
    return gradient[tuple(inside)]


def average_pool(x: np.ndarray, node: arch.Pool) -> np.ndarray:
    """Mean of each window, without padded cells."""
    return np.nanmean(_windows(x, node, value=np.nan), axis=(-3, -2, -1))


def batch_norm(
    x: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    offset: np.ndarray,
    eps: float,
    scale: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Normalises each channel with given statistics."""
    return (x.astype(np.float64) - mean) / np.sqrt(var.astype(np.float64) + eps) * scale + offset


def softmax(x: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _windows(x: np.ndarray, node: arch.Conv | arch.Pool, value: float) -> np.ndarray:
    """[B, T, H, W, C] to [B, T', H', W', C, t, h, w]."""
    around = [(0, 0), *_around(x.shape[1:4], node), (0, 0)]
    padded = np.pad(x.astype(np.float64), around, constant_values=value)
    windows = sliding_window_view(padded, node.kernel, axis=(1, 2, 3))
    t, h, w = node.stride
    return windows[:, ::t, ::h, ::w]


def _around(size: tuple[int, ...], node: arch.Conv | arch.Pool) -> list[tuple[int, int]]:
    """Padding (before, after): for "same" just enough for ceil(n / stride) windows."""
    if node.padding != "same":
        return [(cells, cells) for cells in node.padding]
    around = []
    for n, kernel, stride in zip(size, node.kernel, node.stride, strict=True):
        needed = (math.ceil(n / stride) - 1) * stride + kernel
        total = max(needed - n, 0)
        around.append((total // 2, math.ceil(total / 2)))
    return around
