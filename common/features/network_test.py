"""The network of a stream, and the batches of a video."""

import pickle
import threading
from concurrent.futures import CancelledError
from types import SimpleNamespace

import numpy as np
import pytest

from common import arch
from common.features import network
from common.features.network import Batches, Network, find_endpoint, usual_batch
from common.features.settings import Extraction, Settings


@pytest.mark.parametrize(
    ("name", "window", "crop", "gpu", "expected"),
    [
        ("inception_i3d", 64, 224, False, 1),
        ("inception_i3d", 16, 224, False, 4),
        ("inception_i3d", 64, 224, True, 15),
        ("inception_i3d_global", 9, 32, False, 32),  # at most
    ],
)
def test_a_batch_keeps_the_processors_busy(name, window, crop, gpu, expected):
    """A hundred thousand million multiply-adds: those of 64 frames of 224 pixels, or less."""
    net = arch.make(name)
    assert usual_batch(net, Extraction(window=window, crop_size=crop), gpu) == expected
    assert usual_batch(net, Extraction(mode="dense", window=window, crop_size=crop), gpu) == 1


def make(model, **options):
    return SimpleNamespace(model=model, options=options, features=lambda clips, endpoint: clips)


@pytest.mark.parametrize(
    ("name", "mode", "asked", "endpoint", "width"),
    [
        ("inception_i3d", "dense", None, "Features", 1024),
        ("inception_i3d", "segment", "Mixed_4f", "Mixed_4f", 832),
        ("i3d_resnet50_nl_32x2_affine", "segment", None, "Features", 2048),
        ("i3d_resnet50_32x2", "dense", None, None, 2048),  # the head pools all time
    ],
)
def test_endpoint_and_width(name, mode, asked, endpoint, width):
    model = SimpleNamespace(net=arch.make(name), arrays={})
    found = find_endpoint(model.net, Extraction(mode=mode, endpoint=asked))
    made = Network(make, Settings(), "rgb", found, 1, model)
    expected = endpoint or model.net.nodes[-2].name
    assert (found, made.width()) == (expected, width)


def test_a_predictor_is_made_once_in_a_process():
    made = Network(make, Settings(precision="bfloat16"), "rgb", "Features", 1, SimpleNamespace())
    copy = pickle.loads(pickle.dumps(made))  # noqa: S301
    assert copy == made
    predictor = network._predictor(made)
    assert network._predictor(copy) is predictor and predictor.model is made.model
    expected = {"endpoints": ["Features"], "device": "auto", "precision": "bfloat16"}
    assert predictor.options == expected
    network.clear()


class Sums:
    """A network whose rows are sums of pixels, which remembers its batches."""

    def __init__(self, size):
        self.batch_size = size
        self.batches = []

    def rows(self, clips):
        self.batches.append(clips)
        return clips.reshape(len(clips), 1, -1).sum(axis=-1, keepdims=True).astype(np.float32)


def clip(value, frames=2):
    return np.full((frames, 1, 1, 3), value, np.float32)


@pytest.mark.parametrize("size", [1, 3, 20])
def test_batches_have_one_shape_and_rows_the_order_of_clips(size):
    net = Sums(size)
    batches = Batches(net)
    for value in range(1, 11):
        batches.add(clip(value))
    batches.add(clip(7, frames=5))
    rows = [float(row[0, 0]) for row in batches.rows()]
    assert rows == [*(6.0 * value for value in range(1, 11)), 105.0]
    *short, long = net.batches
    assert [batch.shape for batch in short] == [(size, 2, 1, 1, 3)] * -(-10 // size)
    assert long.shape == (size, 5, 1, 1, 3)
    assert not np.concatenate(short)[10:].any() and not long[1:].any()


def test_batches_that_wait_can_be_given_up():
    net, go, begun = Sums(1), threading.Event(), threading.Event()
    slow = SimpleNamespace(batch_size=1, rows=lambda clips: (begun.set(), go.wait(30))[0])
    first, second, third = Batches(slow), Batches(net), Batches(net)
    first.add(clip(1))
    second.add(clip(1))
    assert begun.wait(30)
    network.clear()
    go.set()
    with pytest.raises(CancelledError):
        second.rows()
    third.add(clip(1))
    assert third.rows()[0].tolist() == [[6]]
