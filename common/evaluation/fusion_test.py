"""Fused scores against sums by hand; streams that do not belong together."""

import dataclasses

import numpy as np
import pytest

from common.evaluation import fusion
from common.evaluation.fusion import fuse_scores
from common.evaluation.scores import FrameScores, Scores

ONE = [[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]]
OTHER = [[4.0, 0.0, -1.0], [2.0, 1.0, 0.0]]


def test_logits_are_added():
    np.testing.assert_array_equal(fusion.fuse([ONE, OTHER]), [[5, 2, 2], [2, 1, 5]])
    weighted = fusion.fuse([ONE, OTHER], weights=[1, 1.5])
    np.testing.assert_array_equal(weighted, [[7, 2, 1.5], [3, 1.5, 5]])
    # "Playing cricket" in DeepMind's sample: RGB, flow, and what they print for both.
    joint = fusion.fuse([[[25.856646]], [[15.957031]]])
    assert joint[0, 0] == pytest.approx(41.813675, abs=3e-6)


def test_probabilities_are_averaged():
    powers = np.exp([ONE, OTHER])
    one, other = powers / powers.sum(axis=2, keepdims=True)
    fused = fusion.fuse([ONE, OTHER], "softmax", [1, 3])
    np.testing.assert_allclose(fused, (one + 3 * other) / 4, rtol=1e-14)
    np.testing.assert_allclose(fusion.fuse([ONE, OTHER], "softmax", [0.5, 1.5]), fused, rtol=1e-14)
    # Equal weights unless told: neither the sum nor a mean of logits.
    np.testing.assert_allclose(fusion.fuse([ONE, ONE], "softmax"), one, rtol=1e-14)
    sure, unsure = [[9.0, 0.0, 0.0]], [[-8.0, 2.5, 0.0]]
    assert fusion.fuse([sure, unsure]).argmax() == 1
    assert fusion.fuse([sure, unsure], "softmax").argmax() == 0


def test_softmax_of_any_size():
    np.testing.assert_allclose(fusion.softmax([0.0, np.log(3)]), [0.25, 0.75], rtol=1e-15)
    np.testing.assert_array_equal(fusion.softmax([1e30, 1e30]), [0.5, 0.5])
    np.testing.assert_array_equal(fusion.softmax([1e4, 0, -1e4]), [1, 0, 0])


@pytest.mark.parametrize(
    ("streams", "more", "text"),
    [
        ([ONE], {"how": "mean"}, r"one of logits, softmax. Received: 'mean'"),
        ([ONE, OTHER[:1]], {}, r"one shape \[N, K\]. Received: \[2, 3\], \[1, 3\]"),
        ([ONE[0]], {}, r"one shape \[N, K\]. Received: \[3\]"),
        ([], {}, "Received: none"),
        *(
            ([ONE, OTHER], {"weights": weights}, "weights must be 2 numbers from 0")
            for weights in ([1], [1, -1], [0, 0], [1, np.nan])
        ),
    ],
)
def test_wrong_input_is_named(streams, more, text):
    with pytest.raises(ValueError, match=text):
        fusion.fuse(streams, **more)


def _scores(stream, names, logits, labels, **fields):
    origins = ({"stream": stream},)
    logits, labels = np.array(logits, np.float32), np.array(labels)
    return Scores(("x", "y"), tuple(names), labels, logits, origins, **fields)


RGB = _scores("rgb", "abc", [[1, 2], [3, 4], [5, 6]], [0, 1, 1])
FLOW = _scores("flow", "cba", [[50, 60], [30, 40], [10, 20]], [1, 1, 0])


def test_scores_are_fused_video_by_video():
    fused = fuse_scores([RGB, FLOW])
    assert (fused.names, fused.labels.tolist()) == (("a", "b", "c"), [0, 1, 1])
    assert fused.logits.tolist() == [[11, 22], [33, 44], [55, 66]]
    assert fused.fusion == {"how": "logits", "weights": [1.0, 1.0]}
    assert [origin["stream"] for origin in fused.origins] == ["rgb", "flow"]
    fused = fuse_scores([RGB, FLOW], weights=(2, 0.5))
    assert fused.logits.tolist() == [[7, 14], [21, 28], [35, 42]]
    logs = np.log([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]).astype(np.float32)
    parts = [dataclasses.replace(part, logits=logs) for part in (RGB, FLOW)]
    fused = fuse_scores(parts, "softmax", (3, 1))
    expected = [0.75 * 0.9 + 0.25 * 0.2, 0.5, 0.75 * 0.2 + 0.25 * 0.9]
    np.testing.assert_allclose(np.exp(fused.logits)[:, 0], expected, rtol=1e-6)
    sure = dataclasses.replace(RGB, logits=np.array([[0, 1000]] * 3, np.float32))
    assert np.isfinite(fuse_scores([sure, sure], "softmax").logits).all()


def test_a_video_that_a_stream_lacks_is_a_failure():
    flow = _scores("flow", "ba", [[30, 40], [10, 20]], [1, 0], failures={"c": "damaged"})
    fused = fuse_scores([RGB, flow])
    assert (fused.names, fused.failures) == (("a", "b"), {"c": "flow: damaged"})
    less = dataclasses.replace(flow, failures={})
    assert fuse_scores([less, RGB]).failures == {"c": "not in the scores of flow"}


def _frames(stream, names, counts, labels=(0, 0), first=0):
    rows = np.arange(sum(counts))
    logits = np.stack([first + rows, 2 * (first + rows)], axis=1).astype(np.float32)
    of_frames = np.stack([rows % 2, 0 * rows], axis=1).astype(np.uint8)
    frames = FrameScores(np.array(counts), of_frames, logits)
    videos = np.array([labels] * len(names), np.uint8)
    return _scores(stream, names, np.zeros((len(names), 2)), videos, frames=frames)


def test_frames_are_added_up_to_the_last_that_all_have():
    fused = fuse_scores([_frames("rgb", "ab", [3, 2]), _frames("flow", "ba", [2, 2], first=100)])
    assert fused.frames.counts.tolist() == [2, 2]
    # a: rgb 0 1 (2), flow 102 103; b: rgb 3 4, flow 100 101
    assert fused.frames.logits.tolist() == [[102, 204], [104, 208], [103, 206], [105, 210]]
    assert fused.frames.labels[:, 0].tolist() == [0, 1, 1, 0]  # the first stream's


@pytest.mark.parametrize(
    ("parts", "how", "text"),
    [
        ([RGB, dataclasses.replace(FLOW, classes=("y", "x"))], "logits", "other classes"),
        ([RGB, dataclasses.replace(FLOW, labels=RGB.labels)], "logits", "labels of a, c. Evaluate"),
        ([RGB, dataclasses.replace(FLOW, names=("d", "e", "f"))], "logits", "no video in common"),
        ([RGB, _frames("flow", "abc", [1, 1, 1])], "logits", "another has none"),
        ([_frames("rgb", "a", [2])] * 2, "softmax", "do not exclude each other: add logits"),
        ([_frames("", "a", [4]), _frames("", "a", [2])], "logits", "numbers of frames of a. Prep"),
        ([_frames("", "a", [2]), _frames("", "a", [2], (0, 1))], "logits", "different labels of a"),
    ],
)
def test_streams_that_do_not_belong_together(parts, how, text):
    with pytest.raises(ValueError, match=text):
        fuse_scores(parts, how)
