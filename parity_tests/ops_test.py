"""Layers of both backends against NumPy: odd sizes, strides, negative input, every padding."""

import numpy as np
import pytest

from common import arch
from parity_tests import reference
from parity_tests.compare import assert_close

# The kernels of the networks, on sizes that make "same" uneven in some axis.
KERNELS = [
    ((7, 7, 7), (2, 2, 2)),
    ((3, 3, 3), (1, 1, 1)),
    ((1, 3, 3), (1, 2, 2)),
    ((2, 2, 2), (2, 2, 2)),
    ((3, 3, 3), (2, 2, 2)),
    ((1, 1, 1), (1, 1, 1)),
]
SIZES = [(8, 12, 16), (9, 13, 15), (7, 14, 11), (2, 7, 8)]
PADDINGS = ["same", (0, 0, 0), (1, 1, 1)]

CASES = [
    pytest.param(kernel, stride, size, padding, id=f"{kernel}-{stride}-{size}-{padding}")
    for kernel, stride in KERNELS
    for size in SIZES
    for padding in PADDINGS
    if padding == "same"
    or all(n + 2 * p >= k and 2 * p <= k for n, p, k in zip(size, padding, kernel, strict=True))
]


def _clips(size, channels=3, seed=0):
    # Negative everywhere: zero padding would win every maximum.
    rng = np.random.default_rng(seed)
    return -rng.uniform(0.1, 2, (2, *size, channels)).astype(np.float32)


@pytest.mark.parametrize(("kernel", "stride", "size", "padding"), CASES)
def test_conv(backend, kernel, stride, size, padding):
    node = arch.Conv("conv", 5, kernel, stride, padding, bias=True, relu=False)
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(5, 3, *kernel)).astype(np.float32)
    bias = rng.normal(size=5).astype(np.float32)
    x = _clips(size)
    actual = backend.layer(node, {"conv.weight": weight, "conv.bias": bias}, x)
    assert actual.shape == (2, *arch.window(size, node), 5)
    assert_close(actual, reference.conv(x, weight, stride, padding) + bias, "conv")


@pytest.mark.parametrize(("kernel", "stride", "size", "padding"), CASES)
def test_max_pool_of_negative_input(backend, kernel, stride, size, padding):
    node = arch.Pool("pool", "max", kernel, stride, padding)
    x = _clips(size)
    actual = backend.layer(node, {}, x)
    expected = reference.max_pool(x, kernel, stride, padding)
    assert (expected < 0).all()
    np.testing.assert_array_equal(actual, expected.astype(np.float32))


@pytest.mark.parametrize(("kernel", "stride", "size", "padding"), CASES)
def test_gradient_of_max_pool_with_ties(backend, kernel, stride, size, padding):
    node = arch.Pool("pool", "max", kernel, stride, padding)
    # Five values only: nearly every window has its maximum several times.
    x = np.random.default_rng(3).integers(-5, 0, (2, *size, 3)).astype(np.float32)
    outer = np.random.default_rng(4).normal(size=(2, *arch.window(size, node), 3))
    actual = backend.pool_gradient(node, x, outer.astype(np.float32))
    expected = reference.max_pool_gradient(x, outer, kernel, stride, padding)
    assert_close(actual, expected, "gradient")


@pytest.mark.parametrize(("kernel", "stride", "size", "padding"), CASES)
def test_average_pool(backend, kernel, stride, size, padding):
    node = arch.Pool("pool", "average", kernel, stride, padding)
    x = _clips(size)
    expected = reference.average_pool(x, kernel, stride, padding)
    assert_close(backend.layer(node, {}, x), expected, "average pool")


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_batch_norm_and_relu(backend, scale, relu):
    norm = arch.Norm(eps=1e-3, momentum=1e-3, scale=scale)
    node = arch.Conv("unit", 6, (1, 1, 1), norm=norm, relu=relu)
    rng = np.random.default_rng(2)
    arrays = {
        "conv.weight": rng.normal(size=(6, 3, 1, 1, 1)),
        "norm.bias": rng.normal(size=6),
        "norm.running_mean": rng.normal(size=6),
        # Small variances, so that eps matters.
        "norm.running_var": rng.uniform(0.001, 0.01, 6),
    }
    if scale:
        arrays["norm.weight"] = rng.normal(size=6)
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    x = _clips((4, 5, 6))
    expected = reference.batch_norm(
        reference.conv(x, arrays["conv.weight"], (1, 1, 1), "same"),
        arrays["norm.running_mean"],
        arrays["norm.running_var"],
        arrays["norm.bias"],
        norm.eps,
        arrays.get("norm.weight", 1.0),
    )
    if relu:
        expected = np.maximum(expected, 0)
    assert_close(backend.layer(node, arrays, x), expected, "batch norm")
