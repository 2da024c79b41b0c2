"""Both backends agree at every endpoint and in every gradient, for every architecture."""

from dataclasses import replace

import numpy as np
import pytest

from common import arch
from parity_tests import randomise, reference
from parity_tests.compare import assert_all_close, assert_close

# Even and odd sizes. The affine nets need a multiple of four time steps after a stride of eight.
CLIPS = {
    "inception_i3d": (2, 9, 193, 195, 3),
    "i3d_resnet50_nl_32x2_affine": (1, 32, 64, 75, 3),
    "i3d_resnet101_nl_32x2_affine": (1, 32, 64, 75, 3),
}
USUAL = (2, 16, 64, 75, 3)

# Rounding decides the sign before a ReLU, or which of two equal cells a pool takes, for a few
# values in a million, and each turns a gradient on or off. Without such a flip all gradients agree
# to 1e-5; one flip late in a tiny net of 152 layers moved a kernel's gradient by 3e-2 of its norm.
GRADIENT_TOLERANCE = 5e-2
MEDIAN_TOLERANCE = 5e-3

# Normalising with a batch's own statistics divides by its deviation 57 times over and magnifies
# rounding: in float32 torch differs from itself in float64 by up to 5e-5 here, TensorFlow by as
# much; they differ from each other by 2e-5.
TRAINING_TOLERANCE = 1e-4

TINY = arch.narrow(arch.inception_i3d(51), 8)

# InceptionI3D: every remainder of a stride of 2 on the way, the smallest clip, and one with several
# positions of the head's window; other heads and inputs.
INCEPTION = [
    *(
        (TINY, (2, *size, 3))
        for size in ((9, 193, 193), (17, 195, 201), (23, 224, 213), (12, 240, 256))
    ),
    (arch.narrow(arch.inception_i3d(2, 2), 16), (1, 9, 193, 224, 2)),
    (arch.narrow(arch.inception_i3d(7, 5, scale=True), 16), (1, 9, 193, 224, 5)),
]

# One of each family and its oddest member.
FULL = (
    "i3d_resnet50_nl_32x2",
    "i3d_resnet101_nl_8x8_padded",
    "inception_i3d_symmetric",
    "r2plus1d_34_vmz",
    "r2plus1d_152_vmz",
)


def _agree(on_tf, on_torch, net, shape, gradients=True):
    arrays, clips = randomise.arrays(net), randomise.clips(shape)
    # Logits of 13 would make of their own error, 7e-7, one of 1e-5 in the softmax.
    arrays |= {name: x / 8 for name, x in arrays.items() if name.startswith(net.head.name)}
    tf_logits, expected = on_tf.inference(net, arrays, clips)
    torch_logits, actual = on_torch.inference(net, arrays, clips)
    np.testing.assert_array_equal(tf_logits, expected["Logits"])
    np.testing.assert_array_equal(torch_logits, actual["Logits"])
    assert list(expected) == list(net.endpoints)
    shapes = arch.endpoint_shapes(net, shape[1:4])
    assert {name: x.shape[1:] for name, x in expected.items()} == shapes
    assert_all_close(actual, expected)
    if gradients:
        _assert_same_gradients(on_tf, on_torch, net, arrays, clips)


def _assert_same_gradients(on_tf, on_torch, net, arrays, clips):
    """With running statistics in batch norm, as if it were frozen for fine-tuning."""
    labels = np.arange(len(clips)) * 3 % net.num_classes
    actual = on_torch.gradients(net, arrays, clips, labels)
    expected = on_tf.gradients(net, arrays, clips, labels)
    assert list(actual) == list(expected)
    lost = {f"{node.name}.phi.conv.bias" for node in net.nodes if isinstance(node, arch.NonLocal)}
    errors = []
    for name, gradient in expected.items():
        size = np.linalg.norm(gradient)
        if name in lost:
            # It adds the same to all scores of a softmax, which ignores it.
            theta = np.linalg.norm(expected[name.replace("phi", "theta")])
            assert max(size, np.linalg.norm(actual[name])) < 1e-3 * theta, name
            continue
        error = np.linalg.norm(actual[name] - gradient) / size
        assert error <= GRADIENT_TOLERANCE, f"{name}: {error:.1e}"
        errors.append(error)
    assert np.median(errors) <= MEDIAN_TOLERANCE


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * ("101" in name or "152" in name))
        for name in arch.ARCHITECTURES
    ],
)
def test_tiny_network(on_tf, on_torch, name):
    net = arch.narrow(arch.make(name, 11), 8)
    _agree(on_tf, on_torch, net, CLIPS.get(name, USUAL))


@pytest.mark.parametrize(("net", "shape"), INCEPTION)
def test_sizes_and_heads_of_inception(on_tf, on_torch, net, shape):
    _agree(on_tf, on_torch, net, shape, gradients=False)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(64, 224, 224, 3), (17, 225, 213, 3), (16, 224, 224, 2)])
def test_full_inception(on_tf, on_torch, shape):
    _agree(on_tf, on_torch, arch.inception_i3d(400, shape[-1]), (1, *shape), gradients=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_full_network(on_tf, on_torch, name):
    # The largest have a hundred million weights; the clips can be small.
    _agree(on_tf, on_torch, arch.make(name), (1, 16, 64, 75, 3), gradients="152" not in name)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("inception_i3d", (4, 17, 193, 197, 3)),
        ("i3d_resnet50_nl_8x8", (4, 16, 64, 75, 3)),
        ("i3d_resnet50_8x8_affine", (4, 16, 64, 75, 3)),
        ("r2plus1d_18", (4, 16, 64, 75, 3)),
    ],
)
def test_a_pass_in_training_agrees(on_tf, on_torch, name, shape):
    """Batch statistics, and the running ones after the pass."""
    net = arch.with_dropout(arch.narrow(arch.make(name, 11), 8), 0.0)
    if "_nl_" in name:  # to behind its first two such blocks; the rest only amplifies rounding
        blocks = [k for k, node in enumerate(net.nodes) if isinstance(node, arch.NonLocal)]
        net = replace(net, nodes=(*net.nodes[: blocks[1] + 2], net.head))
    arrays, clips = randomise.arrays(net), randomise.clips(shape)
    for array_name in arrays:
        if ".theta." in array_name:
            # Flat attention is the same everywhere, and a norm that divides by its deviation would
            # amplify rounding a hundredfold.
            arrays[array_name] *= 4
    actual, after_torch = on_torch.training(net, arrays, clips)
    expected, after_tf = on_tf.training(net, arrays, clips)
    assert_all_close(actual, expected, TRAINING_TOLERANCE)
    assert_all_close(after_torch, after_tf)
    for parameter in arch.parameters(net):
        kept = np.array_equal(after_tf[parameter.name], arrays[parameter.name])
        assert kept == parameter.trainable, parameter.name


def test_running_statistics_follow_the_rule_of_the_release(backend):
    """Running = (1 - momentum) running + momentum batch, whose variance is the biased one."""
    norm = arch.Norm(eps=1e-3, momentum=0.25, scale=False)
    conv = arch.Conv("Conv", 1, (1, 1, 1), norm=norm, relu=False)
    net = arch.Network("one_layer", 1, (conv, arch.make("r2plus1d_18", 2).head))
    arrays = randomise.arrays(net)
    arrays["Conv.conv.weight"] = np.ones_like(arrays["Conv.conv.weight"])
    clips = np.array([1, 2, 3, 6], np.float32).reshape(1, 1, 2, 2, 1)
    _, after = backend.training(net, arrays, clips)
    for name, batch in {"mean": 3.0, "var": 3.5}.items():  # 14 / 4; unbiased: 14 / 3
        expected = 0.75 * arrays[f"Conv.norm.running_{name}"] + 0.25 * batch
        np.testing.assert_allclose(after[f"Conv.norm.running_{name}"], expected, rtol=1e-6)


def test_the_head_averages_classified_features(backend):
    arrays, clips = randomise.arrays(TINY), randomise.clips((1, 25, 193, 193, 3))
    logits, endpoints = backend.inference(TINY, arrays, clips)
    kernel = arrays["Logits.Conv3d_0c_1x1.conv.weight"][:, :, 0, 0, 0]
    per_step = endpoints["Features"][0, :, 0, 0] @ kernel.T
    expected = per_step.mean(axis=0) + arrays["Logits.Conv3d_0c_1x1.conv.bias"]
    assert endpoints["Features"].shape == (1, 3, 1, 1, 128)
    assert_close(logits[0], expected, "logits")
    assert_close(endpoints["Predictions"], reference.softmax(logits), "softmax")


@pytest.mark.parametrize("name", ["Conv3d_1a_7x7", "Mixed_4b", "Features", "Predictions"])
def test_final_endpoint_stops_early_with_the_same_values(backend, name):
    net = arch.narrow(TINY, 2)
    arrays, clips = randomise.arrays(net), randomise.clips((1, 9, 193, 193, 3))
    _, whole = backend.inference(net, arrays, clips)
    output, endpoints = backend.inference(net, arrays, clips, final_endpoint=name)
    assert list(endpoints) == list(net.endpoints[: net.endpoints.index(name) + 1])
    # A model that computes its logits returns them.
    expected = whole["Logits"] if name == "Predictions" else whole[name]
    np.testing.assert_array_equal(output, expected)
