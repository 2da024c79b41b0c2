"""The size of batches and rows, and the batches of a video."""

import threading
from concurrent.futures import CancelledError
from types import SimpleNamespace

import numpy as np
import pytest

from common import arch
from common.features import network
from common.features.network import Batches
from common.features.settings import Extraction, Settings


@pytest.mark.parametrize(
    ("window", "crop", "gpu", "expected"),
    [(64, 224, False, 1), (16, 224, False, 4), (64, 224, True, 15), (9, 193, False, 7)],
)
def test_a_batch_keeps_the_processors_busy(window, crop, gpu, expected):
    """A hundred thousand million multiply-adds: those of 64 frames of 224 pixels, or less."""
    net = arch.make("inception_i3d")
    assert network.batch_size(net, Extraction(window=window, crop_size=crop), gpu) == expected
    dense = Extraction(mode="dense", window=window, crop_size=crop)
    assert network.batch_size(net, dense, gpu) == 1


def test_a_batch_has_at_most_32_windows_that_the_network_takes():
    small = arch.make("inception_i3d_global")
    assert network.batch_size(small, Extraction(window=9, crop_size=32), False) == 32
    with pytest.raises(ValueError, match="Expected at least 9x193x193"):
        network.batch_size(arch.make("inception_i3d"), Extraction(window=8, crop_size=224), False)


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
    endpoint = {"Features": net.head.features, "Logits": net.head.name}.get(endpoint, endpoint)
    assert network.width(net, endpoint, 224) == width


class Sums:
    """A network whose rows are sums of pixels, which remembers its batches."""

    def __init__(self, size):
        self.source = SimpleNamespace(batch_size=size)
        self.batches = []

    def rows(self, clips):
        self.batches.append(clips)
        if (clips == 99).any():
            raise MemoryError("too large")
        return clips.reshape(len(clips), 1, -1).sum(axis=-1, keepdims=True).astype(np.float32)


def clips(count, shape=(2, 1, 1, 3)):
    return [np.full(shape, k, np.float32) for k in range(1, count + 1)]


@pytest.mark.parametrize("size", [1, 3, 4, 20])
def test_batches_have_one_shape_and_rows_the_order_of_clips(size):
    net = Sums(size)
    batches = Batches(net)
    assert [batches.add(clip) for clip in clips(10)] == list(range(10))
    rows = batches.rows()
    assert [row.tolist() for row in rows] == [[[6.0 * k]] for k in range(1, 11)]
    assert [batch.shape for batch in net.batches] == [(size, 2, 1, 1, 3)] * -(-10 // size)
    filled = np.concatenate(net.batches)
    np.testing.assert_array_equal(filled[:10], clips(10))
    assert not filled[10:].any()


def test_shapes_are_not_mixed_in_a_batch():
    net = Sums(2)
    batches = Batches(net)
    for clip in (*clips(3), *clips(1, (5, 1, 1, 3))):
        batches.add(clip)
    assert [float(row[0, 0]) for row in batches.rows()] == [6, 12, 18, 15]
    assert [batch.shape[1] for batch in net.batches] == [2, 2, 5]


def test_an_error_is_of_the_video_whose_batch_it_is():
    net = Sums(1)
    bad, good = Batches(net), Batches(net)
    bad.add(np.full((1, 1, 1, 1), 99, np.float32))
    good.add(np.ones((1, 1, 1, 1), np.float32))
    assert good.rows()[0].tolist() == [[1]]
    with pytest.raises(MemoryError, match="too large"):
        bad.add(np.ones((1, 1, 1, 1), np.float32))


def test_batches_that_wait_can_be_given_up():
    net, go, begun = Sums(1), threading.Event(), threading.Event()
    slow = SimpleNamespace(source=net.source, rows=lambda clips: (begun.set(), go.wait(30))[0])
    first, second = Batches(slow), Batches(net)
    first.add(clips(1)[0])
    second.add(clips(1)[0])
    assert begun.wait(30)
    network.give_up()
    go.set()
    with pytest.raises(CancelledError):
        second.rows()
    third = Batches(net)
    third.add(clips(1)[0])
    assert third.rows()[0].tolist() == [[6]]


def test_batches_of_a_video_hold_no_clips_of_another():
    net = Sums(4)
    one, two = Batches(net), Batches(net)
    for first, second in zip(clips(2), clips(2), strict=True):
        one.add(first)
        two.add(10 * second)
    assert one.rows()[1].tolist() == [[12]]
    assert two.rows()[1].tolist() == [[120]]
    assert [batch[:, 0, 0, 0, 0].tolist() for batch in net.batches] == [
        [1, 2, 0, 0],
        [10, 20, 0, 0],
    ]


def test_a_network_is_made_once_of_the_model_that_was_read(monkeypatch):
    monkeypatch.setattr(network.models, "load", None)  # reads again
    net = arch.make("inception_i3d")
    model = SimpleNamespace(net=net, contract=SimpleNamespace(short_side=256, crop=224))
    settings = Settings(extraction=Extraction())
    made = []

    def make(model, **options):
        made.append((model, options))

    source = network.Source(make, settings, "rgb", "a.pt", net.head.features, 1)
    network.offer({source: model})
    assert network.load(source) is network.load(source)
    assert made == [
        (model, {"endpoints": [net.head.features], "device": "auto", "precision": "float32"})
    ]
