"""Views that are read ahead, and scores by networks whose logits say what they were shown."""

import dataclasses
import threading

import numpy as np
import pytest

from common.annotations import Action
from common.evaluation import protocols, scoring
from common.evaluation.protocols import Protocol
from common.evaluation.scoring import Job
from common.preprocessing.contracts import RGB_CONTRACT
from common.testing.readers import MadeUp, record

CONTRACT = dataclasses.replace(RGB_CONTRACT, frames=4, short_side=8, crop=6)
CLASSES = ("first", "last", "mean")
TOTALS = {"a": 10, "b": 3, "c": 7, "d": 30}


class Network:
    """Logits are the first, last and mean value of a clip; of a frame, its value in each class."""

    def __init__(self):
        self.shapes = []

    def clips(self, clips):
        self.shapes.append(clips.shape)
        values = clips[:, :, 0, 0, 0].astype(np.float32)
        return np.stack([values[:, 0], values[:, -1], values.mean(axis=1)], axis=1)

    def frames(self, clips):
        return np.repeat(clips[:, :, 0, 0, :1].astype(np.float32), 3, axis=2)


def _job(protocol="sliding", records=None, reader=None, **fields):
    records = records or [record(name, place % 3) for place, name in enumerate(TOTALS)]
    if isinstance(protocol, str):
        protocol = protocols.get(protocol).filled(CONTRACT)
    fields = {"stream": "rgb", "workers": 0, **fields}
    return Job(records, CLASSES, reader or MadeUp(TOTALS), protocol=protocol, **fields)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not [each for each in threading.enumerate() if each.name.startswith("views")]


def test_a_whole_video_is_one_view():
    network = Network()
    found = scoring.score_videos(_job("quo_vadis"), network.clips)
    assert (found.names, found.labels.tolist()) == (tuple(TOTALS), [0, 1, 2, 0])
    np.testing.assert_array_equal(found.logits, [[0, 9, 4.5], [0, 2, 1], [0, 6, 3], [0, 29, 14.5]])
    assert network.shapes == [(1, frames, 6, 6, 3) for frames in (10, 3, 7, 30)]  # one by one
    assert found.failures == {}
    assert found.origins[0]["stream"] == "rgb"
    assert "quo_vadis: the whole clip" in found.origins[0]["protocol"]["text"]


def test_views_are_averaged_as_the_protocol_says():
    job = _job("sliding", [record("a")])
    powers = np.exp(windows := [[0, 3, 1.5], [4, 7, 5.5], [8, 9, 8.5]])
    mean = (powers / powers.sum(axis=1, keepdims=True)).mean(axis=0)
    found = scoring.score_videos(job, Network().clips).logits[0]
    np.testing.assert_allclose(np.exp(found), mean, rtol=1e-6)
    job = _job(dataclasses.replace(job.protocol, average="logits"), [record("a")])
    found = scoring.score_videos(job, Network().clips).logits[0]
    np.testing.assert_allclose(found, np.mean(windows, axis=0), rtol=1e-6)


@pytest.mark.parametrize(("views", "workers"), [(1, 3), (8, 0), (8, 3), (100, 1)])
def test_batches_and_threads_change_nothing(views, workers):
    network, reader = Network(), MadeUp(TOTALS, size=(256, 300))
    usual = scoring.score_videos(_job("thirty_view", reader=reader), Network().clips)
    job = _job("thirty_view", reader=reader, views_at_a_time=views, workers=workers)
    found = scoring.score_videos(job, network.clips)
    np.testing.assert_array_equal(found.logits, usual.logits)
    sizes = [shape[0] for shape in network.shapes]
    assert (max(sizes) <= views, sum(sizes)) == (True, 4 * 30)
    assert len(sizes) == -(-120 // views)  # full ones, over the ends of videos


@pytest.mark.parametrize("workers", [0, 2])
def test_videos_that_cannot_be_scored_leave_the_others(workers):
    class Broken(MadeUp):
        def read(self, record, indices, stream):
            frames = super().read(record, indices, stream)
            return np.where(record.name == "nan", np.float32("nan"), frames)

    def predict(clips):
        logits = Network().clips(clips)
        logits[np.isclose(clips[:, -1, 0, 0, 0], 0.055)] = np.inf  # frame 11, half as large
        return logits

    totals = {"a": 10, "nan": 3, "c": 7, "d": 30, "inf": 12}
    records = [record(name) for name in ("a", "b", "nan", "c", "d", "inf")]
    whole = scoring.score_videos(_job(records=records[3:4], stream="flow"), predict)
    # c and half of d are batched when d breaks, of which no view is scored any more.
    reader = Broken(totals, broken={"a": 9, "d": 29}, size=(12, 12))
    job = _job("sliding", records, reader, stream="flow", workers=workers, views_at_a_time=4)
    found = scoring.score_videos(job, predict)
    assert found.names == ("c",)
    np.testing.assert_array_equal(found.logits, whole.logits)
    assert found.failures == {
        "a": "a: damaged.",
        "b": "b: there is nothing.",
        "nan": "nan: expected clips of finite numbers. Received: NaN or infinity.",
        "d": "d: damaged.",
        "inf": "its logits are not finite. Check the weights.",
    }


def test_nothing_at_all_is_an_error():
    with pytest.raises(ValueError, match=r"none of the 4 videos .* The first, a: a: there is"):
        scoring.score_videos(_job(reader=MadeUp({})), Network().clips)
    with pytest.raises(ValueError, match="the split has no videos"):
        dataclasses.replace(_job(), records=[])


SPANS = (Action(0, 0.0, 2.0), Action(2, 8.0, 10.0))


@pytest.mark.parametrize("views", [1, 4])
def test_moments_have_the_logits_of_their_frames(views):
    records = [
        record("a", actions=SPANS, duration=10.0),
        record("missing", actions=SPANS, duration=10.0),
        record("d", 1, actions=(), duration=10.0),
    ]
    job = _job("every_frame", records, views_at_a_time=views)
    found = scoring.score_frames(job, Network().frames, points=5)
    assert found.names == ("a", "d")
    assert found.failures == {"missing": "missing: there is nothing."}
    assert found.frames.counts.tolist() == [5, 5]
    assert found.frames.logits[:, 1].tolist() == [0, 2, 4, 6, 8, 0, 6, 12, 18, 24]
    assert found.frames.labels.tolist() == [
        [1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1], *[[0, 0, 0]] * 5
    ]  # fmt: skip
    assert found.logits.tolist() == [[9, 9, 9], [29, 29, 29]]
    assert found.labels.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert found.origins[0]["moments"] == 5


def test_every_frame_has_its_own_logits_and_a_rate_is_needed():
    spans = (Action(1, 2, 5),)
    records = [record("c", actions=spans, unit="frames", frames=7, fps=25.0), record("d")]
    found = scoring.score_frames(_job("every_frame", records), Network().frames)
    assert found.frames.logits[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert found.frames.labels[:, 1].tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert found.origins[0]["moments"] == "every frame"
    assert "the rate of its 30 frames is needed" in found.failures["d"]


def test_protocols_that_do_not_suit_frames_are_refused():
    records = [record("a", duration=10.0)]
    with pytest.raises(ValueError, match="thirty_view averages probabilities"):
        scoring.score_frames(_job("thirty_view", records), Network().frames)
    with pytest.raises(ValueError, match="frame 0 is in no view of it"):
        scoring.score_frames(_job("clip", records), Network().frames)


WINDOWS = Protocol(
    "s", "us", "sliding", frames=4, rate=1, stride=2, crops="three", short_side=6, crop=6
)
FEW = {"a": 10, "b": 3, "c": 7}


def _read(reader, names=FEW, at_once=6, **fields):
    """Parts of views."""
    records = [record(name) for name in names]
    return scoring.read_views(_job(WINDOWS, records, reader, views_at_a_time=at_once, **fields))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_views_come_in_order_and_frames_they_share_are_read_once(workers):
    reader = MadeUp(FEW)
    found = list(_read(reader, workers=workers))
    assert [part.item for part in found] == [0, 0, 0, 1, 2, 2]
    starts = [view.indices[0] for part in found for view in part.views[::3]]
    assert starts == [0, 2, 4, 6, 8, 0, 0, 2, 4]
    for part in found:
        assert part.total == FEW[[*FEW][part.item]]
        for view in part.views:
            assert (view.clip.shape, view.clip.dtype) == ((4, 6, 6, 3), np.uint8)
            np.testing.assert_array_equal(view.clip[:, 0, 0, 0], view.indices)
    asked = sorted(frames for name, frames in reader.asked if name == "a")
    assert asked == [(0, 1, 2, 3, 4, 5), (4, 5, 6, 7, 8, 9), (8, 9)]


@pytest.mark.parametrize("workers", [0, 2])
def test_shuffled_views_are_those_of_their_window(workers):
    def views(at_once, shuffle=True):
        parts = _read(MadeUp(FEW), FEW, at_once, workers=workers, shuffle=shuffle)
        return [view for part in parts for view in part.views]

    few, many, straight = views(3), views(100), views(3, shuffle=False)
    orders = set()
    for one, other, usual in zip(few, many, straight, strict=True):
        assert one.indices == other.indices
        assert sorted(one.indices) == sorted(usual.indices)
        np.testing.assert_array_equal(one.clip, other.clip)
        np.testing.assert_array_equal(one.clip[:, 0, 0, 0], one.indices)
        orders.add(tuple(np.argsort(one.indices, kind="stable")))
    assert len(orders) > 4  # each window of each video in another order
    assert all(few[k].indices == few[k + 1].indices for k in range(0, len(few), 3))  # crops


def test_crops_are_cut_from_the_resized_picture_and_flow_is_resized_with_its_vectors():
    class Ramp(MadeUp):
        def read(self, record, indices, stream):
            columns = np.arange(16, dtype=np.uint8) * 10
            return np.broadcast_to(columns[None, None, :, None], (len(indices), 12, 16, 3)).copy()

    part = next(_read(Ramp({"a": 4}), "a", 100))
    firsts = [view.clip[0, 0, :, 0].tolist() for view in part.views[:3]]
    assert firsts[0][0] == 5  # half the size: between columns 0 and 1
    assert firsts[1:] == [[25, 45, 65, 85, 105, 125], [45, 65, 85, 105, 125, 145]]
    clip = next(_read(MadeUp({"a": 4}), "a", stream="flow")).views[0].clip
    np.testing.assert_allclose(clip[:, 2, 2, 0], np.arange(4) / 200, rtol=1e-6)


def test_reading_ahead_is_bounded_and_a_bug_is_no_failure_of_a_video():
    class Buggy(MadeUp):
        def read(self, record, indices, stream):
            if record.name == "v30":
                raise KeyError("x")
            return super().read(record, indices, stream)

    reader = Buggy({f"v{i}": 4 for i in range(50)})
    parts = _read(reader, reader.totals, workers=2)
    next(parts)
    assert len(reader.asked) <= 4
    with pytest.raises(KeyError):
        list(parts)
