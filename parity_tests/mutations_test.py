"""Mutation tests: the parity tests catch the typical mistakes of ports of this network.

Each test makes one mistake in one backend and expects the comparison of both to fail. All mistakes
but the last two are invisible with freshly initialised weights.
"""

from dataclasses import replace

import numpy as np
import pytest

from common import arch
from parity_tests import randomise
from parity_tests.compare import TOLERANCE, assert_close, relative_error

NET = arch.narrow(arch.inception_i3d(21, scale=True), 8)
CLIPS_SHAPE = (1, 17, 195, 201, 3)


def _swap(one, other):
    """Exchanges two fields of every unit."""

    def exchanged(name):
        for field, replacement in ((one, other), (other, one)):
            if name.endswith(field):
                return name.removesuffix(field) + replacement
        return name

    return lambda arrays: {exchanged(name): array for name, array in arrays.items()}


def _change(field, function):
    """Changes one field of every unit."""
    return lambda arrays: {
        name: np.ascontiguousarray(function(array)) if name.endswith(field) else array
        for name, array in arrays.items()
    }


MISTAKES = {
    "eps 1e-5 for 1e-3": lambda arrays: arrays,
    "mean and offset swapped": _swap("norm.bias", "norm.running_mean"),
    "variance and scale swapped": _swap("norm.weight", "norm.running_var"),
    "scale dropped": _change("norm.weight", np.ones_like),
    "kernels turned in space": _change("conv.weight", lambda kernel: kernel.swapaxes(3, 4)),
    "kernels flipped in time": _change("conv.weight", lambda kernel: kernel[:, :, ::-1]),
}


def _logits(backend, net, arrays):
    return backend.inference(net, arrays, randomise.clips(CLIPS_SHAPE))[0]


@pytest.fixture(scope="module")
def truth():
    """The logits of the TensorFlow backend, without a mistake."""
    pytest.importorskip("sonnet", reason="needs the extra 'tf'")
    from parity_tests import on_tf

    return _logits(on_tf, NET, randomise.arrays(NET))


def _caught(actual, truth):
    with pytest.raises(AssertionError, match="relative error"):
        assert_close(actual, truth, "logits")
    assert relative_error(actual, truth) > 100 * TOLERANCE  # even if that were loosened


def test_without_a_mistake_both_agree(on_torch, truth):
    assert_close(_logits(on_torch, NET, randomise.arrays(NET)), truth, "logits")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_arrays_or_the_network_is_caught(on_torch, truth, mistake):
    eps = 1e-5 if mistake.startswith("eps") else 1e-3
    net = arch.map_norms(NET, lambda norm: replace(norm, eps=eps))
    _caught(_logits(on_torch, net, MISTAKES[mistake](randomise.arrays(NET))), truth)


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(lambda before, after: (after, before), id="on the wrong side"),
        pytest.param(lambda before, after: (-(-(before + after) // 2),) * 2, id="symmetric"),
    ],
)
def test_a_mistake_in_the_padding_is_caught(on_torch, truth, monkeypatch, rule):
    honest = arch.pads

    def wrong(*args):
        return [rule(*cells) for cells in honest(*args)]

    monkeypatch.setattr(arch, "pads", wrong)
    _caught(_logits(on_torch, NET, randomise.arrays(NET)), truth)


def test_zero_padding_in_a_max_pool_is_caught(on_tf, on_torch, monkeypatch):
    """Visible only for negative input, which no pool in the network has after a ReLU."""
    import torch.nn.functional as F

    import i3d_torch.layers as layers

    node = arch.Pool("pool", "max", (3, 3, 3), (2, 2, 2))
    x = -1 - randomise.clips((1, 5, 6, 7, 2))
    expected = on_tf.layer(node, {}, x)
    np.testing.assert_array_equal(on_torch.layer(node, {}, x), expected)

    def padded_with_zeros(x, node):
        pads = arch.pads(x.shape[2:], node.kernel, node.stride, node.padding)
        return F.max_pool3d(layers._pad(x, pads), node.kernel, node.stride)

    monkeypatch.setattr(layers, "_max_pool", padded_with_zeros)
    with pytest.raises(AssertionError, match="relative error"):
        assert_close(on_torch.layer(node, {}, x), expected, "max pool")


def test_a_gradient_for_every_tied_cell_is_caught(on_tf, on_torch, monkeypatch):
    """TensorFlow's own 3-D max pool has the right values and a wrong gradient."""
    import tensorflow as tf

    import i3d_tf.layers as layers

    node = arch.Pool("pool", "max", (2, 2, 2), (2, 2, 2))
    x, outer = np.ones((1, 4, 4, 4, 1), np.float32), np.ones((1, 2, 2, 2, 1), np.float32)
    expected = on_torch.pool_gradient(node, x, outer)
    np.testing.assert_array_equal(on_tf.pool_gradient(node, x, outer), expected)
    monkeypatch.setattr(layers, "_max_pool", lambda x, node: tf.nn.max_pool3d(x, 2, 2, "SAME"))
    with pytest.raises(AssertionError, match="relative error"):
        assert_close(on_tf.pool_gradient(node, x, outer), expected, "gradient")


def test_not_a_number_is_never_equal():
    x = np.ones(3, np.float32)
    assert relative_error(np.array([1, np.nan, 1], np.float32), x) == np.inf
    assert relative_error(x, np.array([1, np.nan, 1], np.float32)) == np.inf
    with pytest.raises(AssertionError, match="all zero"):
        relative_error(x, np.zeros(3, np.float32))
