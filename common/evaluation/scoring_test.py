"""Views that are read ahead, and scores by networks whose logits say what they were shown."""

import dataclasses
import threading

import av
import cv2
import numpy as np
import pytest

from common.annotations import Action
from common.evaluation import protocols, scoring
from common.evaluation.protocols import Protocol
from common.evaluation.scoring import Job
from common.preprocessing.contracts import RGB_CONTRACT
from common.testing.readers import MadeUp, record
from common.video.clip_reader import ClipReader, Source

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
        self.shapes.append(clips.shape)
        return np.repeat(clips[:, :, 0, 0, :1].astype(np.float32), 3, axis=2)


def _job(protocol="sliding", records=None, reader=None, **fields):
    records = records or [record(name, place % 3) for place, name in enumerate(TOTALS)]
    return Job(
        records=records,
        classes=CLASSES,
        reader=reader or MadeUp(TOTALS),
        protocol=protocols.get(protocol).filled(CONTRACT),
        **{"stream": "rgb", "workers": 0, **fields},
    )


def test_a_whole_video_is_one_view():
    network = Network()
    found = scoring.score_videos(_job("quo_vadis"), network.clips)
    assert found.names == tuple(TOTALS)
    assert found.labels.tolist() == [0, 1, 2, 0]
    np.testing.assert_array_equal(found.logits, [[0, 9, 4.5], [0, 2, 1], [0, 6, 3], [0, 29, 14.5]])
    assert network.shapes == [(1, frames, 6, 6, 3) for frames in (10, 3, 7, 30)]  # one by one
    assert found.failures == {}
    assert found.origins[0]["stream"] == "rgb"
    assert "quo_vadis: the whole clip" in found.origins[0]["protocol"]["text"]


def test_views_are_averaged_as_the_protocol_says():
    job = _job("sliding", [record("a")])
    softmax = scoring.score_videos(job, Network().clips).logits[0]
    windows = [[0, 3, 1.5], [4, 7, 5.5], [8, 9, 8.5]]
    powers = np.exp(windows)
    mean = (powers / powers.sum(axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(np.exp(softmax), mean, rtol=1e-6)
    logits = dataclasses.replace(job.protocol, average="logits")
    job = dataclasses.replace(job, protocol=logits)
    found = scoring.score_videos(job, Network().clips).logits[0]
    np.testing.assert_allclose(found, np.mean(windows, axis=0), rtol=1e-6)


@pytest.mark.parametrize(("views", "workers"), [(1, 3), (8, 0), (8, 3), (100, 1)])
def test_batches_and_threads_change_nothing(views, workers):
    network = Network()
    usual = scoring.score_videos(_job("thirty_view", reader=_big()), Network().clips)
    job = _job("thirty_view", reader=_big(), views_at_a_time=views, workers=workers)
    found = scoring.score_videos(job, network.clips)
    np.testing.assert_array_equal(found.logits, usual.logits)
    assert found.names == usual.names
    assert max(shape[0] for shape in network.shapes) <= views
    assert sum(shape[0] for shape in network.shapes) == 4 * 30
    assert len(network.shapes) == -(-120 // views)  # full ones, over the ends of videos


def _big():
    return MadeUp(TOTALS, size=(256, 300))


def test_clips_of_several_lengths_are_batched_apart():
    network = Network()
    protocol = Protocol("w", "us", "whole", frames=8, rate=1, crops="three", short_side=8, crop=6)
    job = dataclasses.replace(_job(), protocol=protocol)
    scoring.score_videos(job, network.clips)
    assert [shape[:2] for shape in network.shapes] == [
        (1, frames) for frames in (8, 3, 7, 8) for _ in range(3)
    ]


def test_a_video_that_fails_leaves_the_others():
    reader = MadeUp({"a": 10, "c": 7, "d": 30}, broken={"a": 9})
    whole = scoring.score_videos(_job(), Network().clips)
    for workers in (0, 2):
        job = _job(reader=reader, views_at_a_time=2, workers=workers)
        found = scoring.score_videos(job, Network().clips)
        assert found.names == ("c", "d")
        assert found.labels.tolist() == [2, 0]
        assert found.failures == {"a": "a: damaged.", "b": "b: there is nothing."}
        assert found.expected == 4
        np.testing.assert_array_equal(found.logits, whole.logits[2:])


def test_views_that_wait_for_a_batch_fail_with_their_video():
    records = [record("c"), record("d"), record("b")]  # 2, 8 and 1 windows: 4 and 4 of d together
    job = _job(records=records, reader=MadeUp(TOTALS, broken={"d": 29}), views_at_a_time=4)
    network = Network()
    found = scoring.score_videos(job, network.clips)
    assert found.names == ("c", "b")
    assert found.failures == {"d": "d: damaged."}
    assert [shape[0] for shape in network.shapes] == [4, 1]  # c and half of d; b


def test_frames_that_are_not_finite_are_a_failure_of_their_video():
    class Broken(MadeUp):
        def read(self, record, indices, stream):
            flow = super().read(record, indices, stream)
            return np.where(record.name == "b", np.float32("nan"), flow)

    found = scoring.score_videos(_job(reader=Broken(TOTALS), stream="flow"), Network().clips)
    assert found.names == ("a", "c", "d")
    assert found.failures == {
        "b": "b: expected clips of finite numbers. Received: NaN or infinity."
    }


def test_logits_that_are_not_finite_are_a_failure():
    def predict(clips):
        logits = Network().clips(clips)
        logits[clips[:, -1, 0, 0, 0] == 29] = np.nan
        return logits

    found = scoring.score_videos(_job(), predict)
    assert found.names == ("a", "b", "c")
    assert found.failures == {"d": "its logits are not finite. Check the weights."}


def test_nothing_at_all_is_an_error():
    with pytest.raises(ValueError, match=r"none of the 4 videos .* The first, a: a: there is"):
        scoring.score_videos(_job(reader=MadeUp({})), Network().clips)
    with pytest.raises(ValueError, match="the split has no videos"):
        dataclasses.replace(_job(), records=[])
    with pytest.raises(ValueError, match=r"shape \[4, 3\], and the data set needs \[4, 2\]"):
        scoring.score_videos(
            dataclasses.replace(_job(records=[record("d")]), classes=("x", "y"), views_at_a_time=4),
            Network().clips,
        )


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


def test_every_frame_has_its_own():
    spans = (Action(1, 2, 5),)
    records = [record("c", actions=spans, unit="frames", frames=7, fps=25.0)]
    found = scoring.score_frames(_job("every_frame", records), Network().frames)
    assert found.frames.logits[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert found.frames.labels[:, 1].tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert found.origins[0]["moments"] == "every frame"


def test_a_video_whose_rate_nobody_knows_fails():
    records = [record("c", duration=7.0), record("d")]
    found = scoring.score_frames(_job("every_frame", records), Network().frames)
    assert found.names == ("c",)
    assert "the rate of its 30 frames is needed" in found.failures["d"]


def test_protocols_that_do_not_suit_frames_are_refused():
    records = [record("a", duration=10.0)]
    with pytest.raises(ValueError, match="thirty_view averages probabilities"):
        scoring.score_frames(_job("thirty_view", records), Network().frames)
    with pytest.raises(ValueError, match="frame 0 is in no view of it"):
        scoring.score_frames(_job("clip", records), Network().frames)


@pytest.mark.parametrize("workers", [0, 2])
def test_videos_are_scored_as_their_frames_are(tmp_path, workers):
    """Through the reader that training has: a video, images, a damaged video, and none."""
    (tmp_path / "images").mkdir()
    levels = [40, 80, 120, 160, 200, 240]
    with av.open(str(tmp_path / "video.avi"), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 12, "gray"
        for number, level in enumerate(levels):
            picture = np.full((12, 16), level, np.uint8)
            cv2.imwrite(str(tmp_path / "images" / f"image_{number + 1:05}.jpg"), picture)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        out.mux(stream.encode(None))
    (tmp_path / "damaged.avi").write_bytes(b"RIFF" + bytes(100))
    records = [record(name) for name in ("video", "damaged", "images", "gone")]
    reader = ClipReader(Source(rgb=tmp_path), CONTRACT)
    job = _job("quo_vadis", records, reader, workers=workers)
    found = scoring.score_videos(job, Network().clips)
    assert found.names == ("video", "images")
    np.testing.assert_allclose(found.logits, [[40, 240, 140]] * 2, atol=1)
    assert sorted(found.failures) == ["damaged", "gone"]
    assert "damaged.avi" in found.failures["damaged"]


WINDOWS = Protocol(
    "s", "us", "sliding", frames=4, rate=1, stride=2, crops="three", short_side=6, crop=6
)
FEW = {"a": 10, "b": 3, "c": 7}


def _read(reader, names=FEW, at_once=6, **fields):
    """Parts of views."""
    fields = {"workers": 0, "stream": "rgb", **fields}
    records = [record(name) for name in names]
    job = Job(records, CLASSES, reader, protocol=WINDOWS, views_at_a_time=at_once, **fields)
    return scoring.read_views(job)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not [each for each in threading.enumerate() if each.name.startswith("views")]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_views_come_in_order_with_any_number_of_threads(workers):
    found = list(_read(MadeUp(FEW), workers=workers))
    assert [part.item for part in found] == [0, 0, 0, 1, 2, 2]
    starts = [view.indices[0] for part in found for view in part.views[::3]]
    assert starts == [0, 2, 4, 6, 8, 0, 0, 2, 4]
    for part in found:
        assert part.total == FEW[[*FEW][part.item]]
        for view in part.views:
            assert view.clip.shape == (4, 6, 6, 3)
            assert view.clip.dtype == np.uint8
            np.testing.assert_array_equal(view.clip[:, 0, 0, 0], view.indices)


def test_frames_that_windows_share_are_read_once():
    reader = MadeUp(FEW)
    list(_read(reader, "a", 100))
    assert reader.asked == [("a", tuple(range(10)))]
    reader = MadeUp(FEW)
    list(_read(reader, "a", 6))
    assert reader.asked == [("a", (0, 1, 2, 3, 4, 5)), ("a", (4, 5, 6, 7, 8, 9)), ("a", (8, 9))]


@pytest.mark.parametrize("workers", [0, 2])
def test_shuffled_views_are_those_of_their_window(workers):
    def views(at_once, shuffle=True):
        parts = _read(MadeUp(FEW), FEW, at_once, workers=workers, shuffle=shuffle)
        return [(part.item, view) for part in parts for view in part.views]

    few, many, straight = views(3), views(100), views(3, shuffle=False)
    orders = set()
    for (_, one), (_, other), (_, usual) in zip(few, many, straight, strict=True):
        assert one.indices == other.indices
        assert sorted(one.indices) == sorted(usual.indices)
        np.testing.assert_array_equal(one.clip, other.clip)
        np.testing.assert_array_equal(one.clip[:, 0, 0, 0], one.indices)
        orders.add(tuple(np.argsort(one.indices, kind="stable")))
    assert [item for item, _ in few] == [item for item, _ in straight]
    assert len(orders) > 4  # each window of each video in another order
    assert all(few[k][1].indices == few[k + 1][1].indices for k in range(0, len(few), 3))  # crops


def test_crops_are_cut_from_the_resized_picture():
    class Ramp(MadeUp):
        def read(self, record, indices, stream):
            columns = np.arange(16, dtype=np.uint8) * 10
            return np.broadcast_to(columns[None, None, :, None], (len(indices), 12, 16, 3)).copy()

    part = next(_read(Ramp({"a": 4}), "a", 100))
    firsts = [view.clip[0, 0, :, 0].tolist() for view in part.views[:3]]
    assert firsts[0][0] == 5  # half the size: between columns 0 and 1
    assert firsts[1] == [25, 45, 65, 85, 105, 125]
    assert firsts[2] == [45, 65, 85, 105, 125, 145]


def test_flow_is_resized_with_its_vectors():
    found = list(_read(MadeUp({"a": 4}), "a", stream="flow"))
    clip = found[0].views[0].clip
    assert clip.dtype == np.float32
    np.testing.assert_allclose(clip[:, 2, 2, 0], np.arange(4) / 200, rtol=1e-6)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_read_is_an_error_of_its_video(workers):
    found = list(_read(MadeUp({"a": 10, "c": 7}, broken={"a": 9}), workers=workers))
    assert [(part.item, part.error) for part in found] == [
        (0, ""),
        (0, "a: damaged."),
        (0, "a: damaged."),
        (1, "b: there is nothing."),
        (2, ""),
        (2, ""),
    ]
    found = list(_read(MadeUp({"a": 0}), "a"))
    assert found[0].error.startswith("total must be at least 1")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bug_is_no_failure_of_a_video_and_leaves_no_thread(workers):
    class Buggy(MadeUp):
        def read(self, record, indices, stream):
            raise KeyError("x")

    with pytest.raises(KeyError):
        list(_read(Buggy(FEW), workers=workers))


def test_reading_ahead_is_bounded():
    class Counting(MadeUp):
        def count(self, record, stream):
            counted.append(record.name)
            return super().count(record, stream)

    counted = []
    reader = Counting({f"v{i}": 4 for i in range(50)})
    parts = _read(reader, reader.totals, workers=2)
    next(parts)
    parts.close()
    assert len(reader.asked) <= 4
    assert len(counted) <= 8
