"""The network of a stream, and the batches of a video."""

import dataclasses
import pickle
import threading
from concurrent.futures import CancelledError
from types import SimpleNamespace

import numpy as np
import pytest

from common import arch
from common.features import network
from common.features.network import Batches, find_endpoint, usual_batch
from common.features.settings import Extraction, Settings
from common.preprocessing.contracts import RGB_CONTRACT


@pytest.mark.parametrize(
    ("window", "crop", "gpu", "expected"),
    [(64, 224, False, 1), (16, 224, False, 4), (64, 224, True, 15), (9, 193, False, 7)],
)
def test_a_batch_keeps_the_processors_busy(window, crop, gpu, expected):
    """A hundred thousand million multiply-adds: those of 64 frames of 224 pixels, or less."""
    net = arch.make("inception_i3d")
    assert usual_batch(net, Extraction(window=window, crop_size=crop), gpu) == expected
    assert usual_batch(net, Extraction(mode="dense", window=window, crop_size=crop), gpu) == 1


def test_a_batch_has_at_most_32_windows():
    small = arch.make("inception_i3d_global")
    assert usual_batch(small, Extraction(window=9, crop_size=32), False) == 32


def test_the_endpoint():
    net, whole = arch.make("inception_i3d"), arch.make("i3d_resnet50_32x2")
    assert find_endpoint(net, Extraction(mode="dense")) == "Features"
    assert find_endpoint(whole, Extraction()) == whole.head.features
    assert find_endpoint(whole, Extraction(mode="dense")) == whole.nodes[-2].name


def make(model, **options):
    return SimpleNamespace(model=model, options=options, features=lambda clips, endpoint: clips)


def created(name="inception_i3d", **given):
    net = arch.make(name)
    model = SimpleNamespace(net=net, stream="rgb", path="a.pt", contract=RGB_CONTRACT)
    settings = Settings(extraction=Extraction(window=64, crop_size=224, **given))
    return network.create(make, settings, model, False)


@pytest.mark.parametrize(
    ("name", "endpoint", "width"),
    [
        ("inception_i3d", None, 1024),
        ("inception_i3d", "Mixed_4f", 832),
        ("inception_i3d", "Logits", 400),
        ("i3d_resnet50_nl_32x2_affine", None, 2048),
    ],
)
def test_width(name, endpoint, width):
    assert created(name, endpoint=endpoint).width() == width


def test_a_predictor_is_made_once_of_the_model_that_was_read(monkeypatch):
    found = created(rgb_range=(0.0, 1.0))
    predictor = network._predictor(found)
    assert network._predictor(found) is predictor
    assert predictor.model is found.model
    assert predictor.options == {
        "endpoints": ["Features"], "device": "auto", "precision": "float32"
    }  # fmt: skip

    @dataclasses.dataclass
    class Read:
        contract: object

    # A copy in another process reads the weights again.
    monkeypatch.setattr(network.models, "load", lambda *given: Read(RGB_CONTRACT))
    network.clear()
    copy = pickle.loads(pickle.dumps(found))  # noqa: S301
    assert copy == found and copy.model is None
    assert network._predictor(copy).model.contract.value_range == (0.0, 1.0)
    network.clear()


class Sums:
    """A network whose rows are sums of pixels, which remembers its batches."""

    def __init__(self, size):
        self.batch_size = size
        self.batches = []

    def rows(self, clips):
        self.batches.append(clips)
        if (clips == 99).any():
            raise MemoryError("too large")
        return clips.reshape(len(clips), 1, -1).sum(axis=-1, keepdims=True).astype(np.float32)


def clips(count, shape=(2, 1, 1, 3)):
    return [np.full(shape, k, np.float32) for k in range(1, count + 1)]


@pytest.mark.parametrize("size", [1, 3, 20])
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


def test_batches_and_errors_are_of_one_video():
    net = Sums(2)
    bad, good = Batches(net), Batches(net)
    for batches, value in ((bad, 99), (good, 1), (bad, 1), (good, 2)):
        batches.add(np.full((1, 1, 1, 1), value, np.float32))
    assert [row.tolist() for row in good.rows()] == [[[1]], [[2]]]
    with pytest.raises(MemoryError, match="too large"):
        bad.rows()


def test_batches_that_wait_can_be_given_up():
    net, go, begun = Sums(1), threading.Event(), threading.Event()
    slow = SimpleNamespace(batch_size=1, rows=lambda clips: (begun.set(), go.wait(30))[0])
    first, second = Batches(slow), Batches(net)
    first.add(clips(1)[0])
    second.add(clips(1)[0])
    assert begun.wait(30)
    network.clear()
    go.set()
    with pytest.raises(CancelledError):
        second.rows()
    third = Batches(net)
    third.add(clips(1)[0])
    assert third.rows()[0].tolist() == [[6]]
