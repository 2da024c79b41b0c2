"""A pass in training mode is the same in both: activations and running statistics."""

from dataclasses import replace

import numpy as np
import pytest

from common import arch
from parity_tests import randomise, reference
from parity_tests.compare import assert_all_close, assert_close

# Normalising with a batch's own statistics divides by its deviation 57 times over and magnifies
# rounding: in float32 torch differs from itself in float64 by up to 5e-5 here, TensorFlow by as
# much; they differ from each other by 2e-5.
TRAINING_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-2


# Each framework draws its own random numbers; all else is deterministic.
NET = arch.without_dropout(arch.narrow(arch.inception_i3d(11, scale=True), 8))
STATISTICS = [p.name for p in arch.parameters(NET) if not p.trainable]


@pytest.fixture(scope="module")
def arrays():
    return randomise.arrays(NET)


@pytest.fixture(scope="module")
def clips():
    return randomise.clips((4, 17, 193, 197, 3))


def test_a_pass_in_training_agrees(on_tf, on_torch, arrays, clips):
    actual, after_torch = on_torch.training(NET, arrays, clips)
    expected, after_tf = on_tf.training(NET, arrays, clips)
    assert_all_close(actual, expected, TRAINING_TOLERANCE)
    assert_all_close(after_torch, after_tf)


def test_gradients_agree(on_tf, on_torch, arrays, clips):
    """With the running statistics in use, as when batch norm is frozen for fine-tuning."""
    labels = np.array([3, 0, 10, 7])
    actual = on_torch.gradients(NET, arrays, clips, labels)
    expected = on_tf.gradients(NET, arrays, clips, labels)
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        error = np.linalg.norm(actual[name] - gradient) / np.linalg.norm(gradient)
        # Rounding decides on which side of zero a ReLU stands, or which of two equal cells a
        # pool takes: a few values a million, each of which turns a whole gradient on or off.
        assert error <= GRADIENT_TOLERANCE, f"{name}: {error:.1e}"


def test_a_pass_changes_statistics_alone_and_by_the_rule_of_the_release(backend, arrays, clips):
    """Running = 0.999 running + 0.001 batch."""
    far = arrays | {name: np.full_like(arrays[name], 100.0) for name in STATISTICS}
    unit = "Conv3d_1a_7x7"
    mean, var = f"{unit}.norm.running_mean", f"{unit}.norm.running_var"
    far |= {name: arrays[name] * 0 for name in (mean, var)}  # of which a thousandth is left alone
    _, after = backend.training(NET, far, clips)
    for name in arrays.keys() - set(STATISTICS):
        np.testing.assert_array_equal(after[name], arrays[name])
    for name in set(STATISTICS) - {mean, var}:
        # 100 stays close to 100, but not 100: loaded statistics survive.
        assert np.all((after[name] > 99.5) & (after[name] < 101.5) & (after[name] != 100.0)), name
    node = NET.nodes[0]
    x = reference.conv(clips, arrays[f"{unit}.conv.weight"], node.stride, node.padding)
    assert_close(after[mean], 0.001 * x.mean(axis=(0, 1, 2, 3)), mean)
    assert_close(after[var], 0.001 * x.var(axis=(0, 1, 2, 3)), var)


def test_the_variance_is_the_biased_one(backend):
    """In a batch of few values the two rules differ by far more than rounding."""
    pool = arch.Pool("pool", "average", (1, 1, 1), (1, 1, 1), (0, 0, 0))
    norm = arch.Norm(eps=1e-3, momentum=0.5, scale=False)
    conv = arch.Conv("Conv", 1, (1, 1, 1), norm=norm, relu=False)
    net = arch.Network("one_layer", 1, (conv, replace(NET.head, pool=pool)))
    arrays = randomise.arrays(net)
    arrays["Conv.conv.weight"] = np.ones_like(arrays["Conv.conv.weight"])
    clips = np.array([1, 2, 3, 6], np.float32).reshape(1, 1, 2, 2, 1)
    _, after = backend.training(net, arrays, clips)
    expected = 0.5 * arrays["Conv.norm.running_var"] + 0.5 * 3.5  # 14 / 4; unbiased: 14 / 3
    np.testing.assert_allclose(after["Conv.norm.running_var"], expected, rtol=1e-6)
