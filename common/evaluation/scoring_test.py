"""Views that are read ahead, and scores by networks whose logits say what they were shown."""

import dataclasses

import numpy as np
import pytest

from common.annotations import Action, Record
from common.evaluation import protocols, scoring
from common.evaluation.protocols import Protocol
from common.evaluation.scoring import Job
from common.preprocessing.contracts import RGB_CONTRACT
from common.testing.readers import MadeUp, record

CONTRACT = dataclasses.replace(RGB_CONTRACT, frames=4, short_side=8, crop=6)
CLASSES = ("first", "last", "mean")
TOTALS = {"a": 10, "b": 3, "c": 7, "d": 30}
SPANS = (Action(0, 0.0, 2.0), Action(2, 8.0, 10.0))


class Network:
    """Logits are the first, last and mean value of a clip; of a frame, its value in each class."""

    def __init__(self, broken=None):
        self.shapes, self.broken = [], broken

    def scores(self, clips):
        self.shapes.append(clips.shape)
        values = clips[:, :, 0, 0, 0].astype(np.float32)
        logits = np.stack([values[:, 0], values[:, -1], values.mean(axis=1)], axis=1)
        if self.broken is not None:
            logits[np.isclose(values[:, -1], self.broken)] = np.inf
        return logits

    def frame_scores(self, clips):
        return np.repeat(clips[:, :, 0, 0, :1].astype(np.float32), 3, axis=2)


def _job(protocol="sliding", records=None, reader=None, **fields):
    records = records or [record(name, place % 3) for place, name in enumerate(TOTALS)]
    if isinstance(protocol, str):
        protocol = protocols.PROTOCOLS[protocol].filled(CONTRACT)
    fields = {"stream": "rgb", "workers": 0, **fields}
    return Job(records, CLASSES, reader or MadeUp(TOTALS), protocol=protocol, **fields)


def test_a_whole_video_is_one_view():
    network = Network()
    found = scoring.score(_job("quo_vadis"), network)
    assert (found.names, found.labels.tolist()) == (tuple(TOTALS), [0, 1, 2, 0])
    np.testing.assert_array_equal(found.logits, [[0, 9, 4.5], [0, 2, 1], [0, 6, 3], [0, 29, 14.5]])
    assert network.shapes == [(1, frames, 6, 6, 3) for frames in (10, 3, 7, 30)]  # one by one
    assert found.failures == {}
    assert found.origins[0]["stream"] == "rgb"


def test_views_are_averaged_as_the_protocol_says():
    job = _job("sliding", [record("a")])
    powers = np.exp([[0, 3, 1.5], [4, 7, 5.5], [8, 9, 8.5]])
    mean = (powers / powers.sum(axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(np.exp(scoring.score(job, Network()).logits[0]), mean, rtol=1e-6)


@pytest.mark.parametrize(("views", "workers"), [(1, 3), (8, 3), (100, 1)])
def test_batches_and_threads_change_nothing(views, workers):
    network = Network()
    usual = scoring.score(_job("thirty_view"), Network())
    job = _job("thirty_view", views_at_a_time=views, workers=workers)
    found = scoring.score(job, network)
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

    totals = {"a": 10, "nan": 3, "c": 7, "d": 30, "inf": 12}
    records = [record(name) for name in ("a", "b", "nan", "c", "d", "inf")]
    whole = scoring.score(_job(records=records[3:4], stream="flow"), Network())
    # c and half of d are batched when d breaks.
    reader = Broken(totals, broken={"a": 9, "d": 29}, size=(12, 12))
    job = _job("sliding", records, reader, stream="flow", workers=workers, views_at_a_time=4)
    found = scoring.score(job, Network(broken=0.055))  # frame 11, half as large
    assert found.names == ("c",)
    np.testing.assert_array_equal(found.logits, whole.logits)
    assert list(found.failures.items()) == [
        ("a", "a: damaged."),
        ("b", "b: there is nothing."),
        ("nan", "nan: expected clips of finite numbers. Received: NaN or infinity."),
        ("d", "d: damaged."),
        ("inf", "its logits are not finite. Check the weights."),
    ]
    with pytest.raises(ValueError, match=r"none of the 4 videos was scored; a: a: there is"):
        scoring.score(_job(reader=MadeUp({})), Network())


@pytest.mark.parametrize("views", [1, 4])
def test_moments_have_the_logits_of_their_frames(views):
    records = [
        record("a", actions=SPANS, duration=10.0),
        record("missing", actions=SPANS, duration=10.0),
        record("d", 1, actions=(), duration=10.0),
    ]
    job = _job("every_frame", records, views_at_a_time=views, framed=True, moments=5)
    found = scoring.score(job, Network())
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


def test_every_frame_follows_the_rule_of_training_and_needs_a_rate():
    spans, seconds = (Action(1, 2, 5),), (Action(1, 1.0, 2.0),)
    records = [
        record("c", actions=spans, unit="frames", frames=7, fps=25.0),
        record("b", actions=seconds, duration=1.5),  # 2 frames a second
        record("d"),
    ]
    found = scoring.score(_job("every_frame", records, framed=True), Network())
    assert found.frames.logits[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]
    assert found.frames.labels[:, 1].tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 0, 0]
    assert found.origins[0]["moments"] == "every frame"
    assert "the rate of its 30 frames is needed" in found.failures["d"]
    with pytest.raises(ValueError, match="frame 0 is in no view"):
        scoring.score(_job("clip", records[:1], framed=True), Network())


@pytest.mark.parametrize(
    ("records", "fields", "text"),
    [
        ([Record("u", "u", ""), Record("s", "s", "", (0, 1))], {}, r"none or several for s, u\."),
        ([record("c", actions=(Action(3, 0, 1),))], {"framed": True}, "has 3 classes, and there"),
        ([record("b")], {"framed": True, "moments": 25}, r"moments need the duration .* for b\."),
        ([record("a")], {"framed": True, "protocol": "sliding"}, "sliding is not for labels of"),
    ],
)
def test_what_cannot_be_scored_is_refused_first(records, fields, text):
    with pytest.raises(ValueError, match=text):
        _job(**{"protocol": "every_frame", **fields}, records=records)


WINDOWS = Protocol("s", "us", "sliding", frames=4, rate=1, crops=3, short_side=6, crop=6)
FEW = {"a": 10, "b": 3, "c": 7}


def _read(reader, names=FEW, at_once=6, **fields):
    records = [record(name) for name in names]
    return scoring.read_views(_job(WINDOWS, records, reader, views_at_a_time=at_once, **fields))


@pytest.mark.parametrize("workers", [0, 3])
def test_views_come_in_order_some_at_a_time(workers):
    reader = MadeUp(FEW)
    found = list(_read(reader, workers=workers))
    assert [video.record.name for video, _ in found] == ["a", "a", "b", "c"]
    starts = [indices[0] for _, views in found for indices, _ in views[::3]]
    assert starts == [0, 4, 8, 0, 0, 4]
    for video, views in found:
        assert video.total == FEW[video.record.name]
        for indices, clip in views:
            assert (clip.shape, clip.dtype) == ((4, 6, 6, 3), np.uint8)
            np.testing.assert_array_equal(clip[:, 0, 0, 0], indices)
    asked = sorted(frames for name, frames in reader.asked if name == "a")
    assert asked == [tuple(range(8)), (8, 9)]  # each frame once


def test_shuffled_views_are_those_of_their_window():
    def views(at_once, shuffle=True):
        parts = _read(MadeUp(FEW), FEW, at_once, workers=2, shuffle=shuffle)
        return [view for _, views in parts for view in views]

    few, many, straight = views(3), views(100), views(3, shuffle=False)
    orders = set()
    for (one, clip), (other, same), (usual, _) in zip(few, many, straight, strict=True):
        assert list(one) == list(other)
        assert sorted(one) == sorted(usual)
        np.testing.assert_array_equal(clip, same)
        np.testing.assert_array_equal(clip[:, 0, 0, 0], one)
        orders.add(tuple(np.argsort(one, kind="stable")))
    assert len(orders) > 3  # each window of each video in another order
    assert all(few[k][0] == few[k + 1][0] for k in range(0, len(few), 3))  # crops


def test_crops_are_cut_from_the_resized_picture_and_flow_is_resized_with_its_vectors():
    class Ramp(MadeUp):
        def read(self, record, indices, stream):
            columns = np.arange(16, dtype=np.uint8) * 10
            return np.broadcast_to(columns[None, None, :, None], (len(indices), 12, 16, 3)).copy()

    _, views = next(_read(Ramp({"a": 4}), "a", 100))
    firsts = [clip[0, 0, :, 0].tolist() for _, clip in views[:3]]
    assert firsts[0][0] == 5  # half the size: between columns 0 and 1
    assert firsts[1:] == [[25, 45, 65, 85, 105, 125], [45, 65, 85, 105, 125, 145]]
    _, views = next(_read(MadeUp({"a": 4}), "a", stream="flow"))
    np.testing.assert_allclose(views[0][1][:, 2, 2, 0], np.arange(4) / 200, rtol=1e-6)


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
