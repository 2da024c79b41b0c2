"""Scores of made-up videos by made-up networks whose logits say what they were shown."""

import dataclasses

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
        stream="rgb",
        protocol=protocols.get(protocol).filled(CONTRACT),
        **{"workers": 0, **fields},
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


@pytest.mark.parametrize("views", [1, 3, 8, 100])
@pytest.mark.parametrize("workers", [0, 3])
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
