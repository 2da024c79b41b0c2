"""InceptionI3D: both backends agree at every endpoint, for even and odd sizes."""

import numpy as np
import pytest

from common import arch
from parity_tests import randomise, reference
from parity_tests.compare import assert_all_close, assert_close

TINY = arch.narrow(arch.inception_i3d(51), 8)

# Every remainder of a stride of 2 on the way, the smallest clip, and one with several positions of
# the head's window.
SIZES = [(9, 193, 193), (16, 224, 224), (17, 195, 201), (23, 224, 213), (12, 240, 256)]


def _both(on_tf, on_torch, net, shape):
    arrays, clips = randomise.arrays(net), randomise.clips((*shape, net.in_channels))
    tf_logits, tf_endpoints = on_tf.inference(net, arrays, clips)
    torch_logits, torch_endpoints = on_torch.inference(net, arrays, clips)
    assert list(tf_endpoints) == list(net.endpoints)
    np.testing.assert_array_equal(tf_logits, tf_endpoints["Logits"])
    np.testing.assert_array_equal(torch_logits, torch_endpoints["Logits"])
    assert_all_close(torch_endpoints, tf_endpoints)
    return tf_endpoints


@pytest.mark.parametrize("size", SIZES)
def test_tiny_network(on_tf, on_torch, size):
    endpoints = _both(on_tf, on_torch, TINY, (2, *size))
    expected = arch.endpoint_shapes(TINY, size)
    assert {name: x.shape[1:] for name, x in endpoints.items()} == expected


@pytest.mark.parametrize(("num_classes", "in_channels", "scale"), [(2, 2, False), (7, 5, True)])
def test_other_heads_and_inputs(on_tf, on_torch, num_classes, in_channels, scale):
    net = arch.narrow(arch.inception_i3d(num_classes, in_channels, scale), 16)
    endpoints = _both(on_tf, on_torch, net, (1, 9, 193, 224))
    assert endpoints["Logits"].shape == (1, num_classes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("in_channels", "size"), [(3, (64, 224, 224)), (3, (17, 225, 213)), (2, (16, 224, 224))]
)
def test_full_network(on_tf, on_torch, in_channels, size):
    _both(on_tf, on_torch, arch.inception_i3d(400, in_channels), (1, *size))


def test_predictions_are_the_softmax_of_the_logits(backend):
    arrays, clips = randomise.arrays(TINY), randomise.clips((2, 9, 193, 193, 3))
    logits, endpoints = backend.inference(TINY, arrays, clips)
    assert_close(endpoints["Predictions"], reference.softmax(logits), "softmax")


def test_logits_are_the_classified_features_averaged(backend):
    arrays, clips = randomise.arrays(TINY), randomise.clips((1, 25, 193, 193, 3))
    logits, endpoints = backend.inference(TINY, arrays, clips)
    kernel = arrays["Logits.Conv3d_0c_1x1.conv.weight"][:, :, 0, 0, 0]
    per_step = endpoints["Features"][0, :, 0, 0] @ kernel.T
    expected = per_step.mean(axis=0) + arrays["Logits.Conv3d_0c_1x1.conv.bias"]
    assert endpoints["Features"].shape == (1, 3, 1, 1, 128)
    assert_close(logits[0], expected, "logits")


@pytest.mark.parametrize("name", TINY.endpoints)
def test_final_endpoint_stops_early_with_the_same_values(backend, name):
    net = arch.narrow(TINY, 2)
    arrays, clips = randomise.arrays(net), randomise.clips((1, 9, 193, 193, 3))
    _, whole = backend.inference(net, arrays, clips)
    output, endpoints = backend.inference(net, arrays, clips, final_endpoint=name)
    assert list(endpoints) == list(net.endpoints[: net.endpoints.index(name) + 1])
    # A model that computes its logits returns them.
    expected = whole["Logits"] if name == "Predictions" else whole[name]
    np.testing.assert_array_equal(output, expected)
