"""How many windows a network sees at once, and what its rows are wide."""

import pytest

from common import arch
from common.features import network
from common.features.extraction import Extraction


@pytest.mark.parametrize(
    ("window", "crop", "gpu", "expected"),
    [(64, 224, False, 1), (16, 224, False, 4), (64, 224, True, 15), (9, 193, False, 7)],
)
def test_a_batch_keeps_the_processors_busy(window, crop, gpu, expected):
    """A hundred thousand million multiply-adds: those of 64 frames of 224 pixels, or less."""
    net = arch.make("inception_i3d")
    assert network.batch_size(net, Extraction(window=window, crop=crop), gpu) == expected
    assert network.batch_size(net, Extraction("dense", window, crop=crop), gpu) == 1


def test_no_more_than_32():
    net = arch.make("inception_i3d_global")
    assert network.batch_size(net, Extraction(window=9, crop=32), False) == 32


def test_windows_that_the_network_does_not_take():
    with pytest.raises(ValueError, match="Expected at least 9x193x193"):
        network.batch_size(arch.make("inception_i3d"), Extraction(window=8, crop=224), False)


@pytest.mark.parametrize(
    ("name", "endpoint", "width"),
    [
        ("inception_i3d", "Features", 1024),
        ("inception_i3d", "Mixed_4f", 832),
        ("inception_i3d", "Logits", 400),
        ("i3d_resnet50_nl_32x2_affine", "Features", 2048),
        ("r2plus1d_18", "Features", 512),
    ],
)
def test_width(name, endpoint, width):
    net = arch.make(name)
    endpoint = net.head.features if endpoint == "Features" else endpoint
    endpoint = net.head.name if endpoint == "Logits" else endpoint
    assert network.width(net, endpoint, 224) == width
