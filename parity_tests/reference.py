"""The operations in NumPy, float64, as the reference for both backends.

Arrays are [B, T, H, W, C], kernels [out, in, T, H, W], sizes and strides (T, H, W); padding is
"same" or cells on both sides. Deliberately slow and simple, with its own padding rule, so that a
mistake in `common.arch.pads` is found.
"""

import math
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Shape = tuple[int, ...]
Padding = Literal["same"] | Shape


def conv(x: np.ndarray, kernel: np.ndarray, stride: Shape, padding: Padding) -> np.ndarray:
    """Convolution (cross-correlation) without bias: a product for each offset in the kernel."""
    size = kernel.shape[2:]
    windows, weights = _windows(x, size, stride, padding, 0.0), kernel.astype(np.float64)
    return sum(windows[..., *at] @ weights[:, :, *at].T for at in np.ndindex(*size))


def max_pool(x: np.ndarray, size: Shape, stride: Shape, padding: Padding) -> np.ndarray:
    """Maximum of each window, without padded cells."""
    return _windows(x, size, stride, padding, -np.inf).max(axis=(-3, -2, -1))


def max_pool_gradient(
    x: np.ndarray, outer: np.ndarray, size: Shape, stride: Shape, padding: Padding
) -> np.ndarray:
    """Gradient of sum(max_pool(x) * outer) with respect to x; ties go to the first cell."""
    windows = _windows(x, size, stride, padding, -np.inf)
    first = windows.reshape(*windows.shape[:5], -1).argmax(axis=-1)
    offsets = np.unravel_index(first, size)
    around = _around(x, size, stride, padding)
    gradient = np.zeros([n + sum(cells) for n, cells in zip(x.shape, around, strict=True)])
    at = np.indices(first.shape)
    places = [at[i + 1] * stride[i] + offsets[i] for i in range(3)]
    np.add.at(gradient, (at[0], *places, at[4]), outer)
    inside = [slice(front, front + n) for (front, _), n in zip(around, x.shape, strict=True)]
    return gradient[tuple(inside)]


def average_pool(x: np.ndarray, size: Shape, stride: Shape, padding: Padding) -> np.ndarray:
    """Mean of each window, without padded cells."""
    return np.nanmean(_windows(x, size, stride, padding, np.nan), axis=(-3, -2, -1))


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


def _windows(
    x: np.ndarray, size: Shape, stride: Shape, padding: Padding, value: float
) -> np.ndarray:
    """[B, T, H, W, C] to [B, T', H', W', C, t, h, w]."""
    around = _around(x, size, stride, padding)
    padded = np.pad(x.astype(np.float64), around, constant_values=value)
    t, h, w = stride
    return sliding_window_view(padded, size, axis=(1, 2, 3))[:, ::t, ::h, ::w]


def _around(x: np.ndarray, size: Shape, stride: Shape, padding: Padding) -> list[tuple[int, int]]:
    """Padding (before, after) of each axis: for "same" just enough for ceil(n / stride) windows."""
    if padding != "same":
        return [(0, 0), *((cells, cells) for cells in padding), (0, 0)]
    around = [(0, 0)]
    for n, k, s in zip(x.shape[1:4], size, stride, strict=True):
        total = max((math.ceil(n / s) - 1) * s + k - n, 0)
        around.append((total // 2, math.ceil(total / 2)))
    return [*around, (0, 0)]
