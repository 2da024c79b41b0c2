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
    # "Playing cricket" in DeepMind's sample: RGB, flow, and what they print for both.
    joint = fusion.fuse([[[25.856646]], [[15.957031]]])
    assert joint[0, 0] == pytest.approx(41.813675, abs=3e-6)
    np.testing.assert_array_equal(fusion.fuse([ONE]), ONE)
    weighted = fusion.fuse([ONE, OTHER], weights=[1, 1.5])
    np.testing.assert_array_equal(weighted, [[7, 2, 1.5], [3, 1.5, 5]])


def test_probabilities_are_averaged():
    def by_hand(row):
        powers = [np.e**logit for logit in row]
        return np.array([power / sum(powers) for power in powers])

    fused = fusion.fuse([ONE, OTHER], "softmax", [1, 3])
    expected = [
        (by_hand(one) + 3 * by_hand(other)) / 4 for one, other in zip(ONE, OTHER, strict=True)
    ]
    np.testing.assert_allclose(fused, expected, rtol=1e-14)
    np.testing.assert_allclose(fused.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(fusion.fuse([ONE, OTHER], "softmax", [0.5, 1.5]), fused, rtol=1e-14)
    # Equal weights unless told: neither the sum nor a mean of logits.
    np.testing.assert_allclose(fusion.fuse([ONE, ONE], "softmax"), fusion.softmax(ONE), rtol=1e-14)


def test_the_two_ways_differ_in_what_wins():
    sure, unsure = [[9.0, 0.0, 0.0]], [[-8.0, 2.5, 0.0]]
    assert fusion.fuse([sure, unsure]).argmax() == 1
    assert fusion.fuse([sure, unsure], "softmax").argmax() == 0


def test_softmax_of_any_size():
    np.testing.assert_allclose(fusion.softmax([0.0, np.log(3)]), [0.25, 0.75], rtol=1e-15)
    for shift in (1e4, -1e4, 1e30):
        np.testing.assert_array_equal(fusion.softmax([shift, shift]), [0.5, 0.5])
    np.testing.assert_array_equal(fusion.softmax([1e4, 0, -1e4]), [1, 0, 0])
    assert fusion.softmax(np.zeros((2, 3, 4), np.float32)).dtype == np.float64
    np.testing.assert_array_equal(fusion.softmax(np.zeros((2, 3, 4))), np.full((2, 3, 4), 0.25))


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"one of logits, softmax. Received: 'mean'"):
        fusion.fuse([ONE], "mean")
    with pytest.raises(ValueError, match=r"one shape \[N, K\]. Received: \[2, 3\], \[1, 3\]"):
        fusion.fuse([ONE, OTHER[:1]])
    with pytest.raises(ValueError, match="Received: none"):
        fusion.fuse([])
    with pytest.raises(ValueError, match=r"one shape \[N, K\]. Received: \[3\]"):
        fusion.fuse([ONE[0]])
    for weights in ([1], [1, -1], [0, 0], [1, np.nan]):
        with pytest.raises(ValueError, match="weights must be 2 numbers from 0"):
            fusion.fuse([ONE, OTHER], weights=weights)


def _scores(stream, names, logits, labels=None, **fields):
    return Scores(
        classes=("x", "y"),
        names=tuple(names),
        labels=np.zeros(len(names), np.int64) if labels is None else np.array(labels),
        logits=np.array(logits, np.float32),
        origins=({"stream": stream},),
        **fields,
    )


RGB = _scores("rgb", "abc", [[1, 2], [3, 4], [5, 6]], [0, 1, 1])
FLOW = _scores("flow", "cba", [[50, 60], [30, 40], [10, 20]], [1, 1, 0])


def test_scores_are_added_video_by_video():
    fused = fuse_scores([RGB, FLOW])
    assert fused.names == ("a", "b", "c")
    assert fused.labels.tolist() == [0, 1, 1]
    assert fused.logits.tolist() == [[11, 22], [33, 44], [55, 66]]
    assert fused.logits.dtype == np.float32
    assert fused.fusion == {"how": "logits", "weights": [1.0, 1.0]}
    assert [origin["stream"] for origin in fused.origins] == ["rgb", "flow"]
    assert fuse_scores([RGB, FLOW], weights=(2, 0.5)).logits.tolist() == [
        [7, 14],
        [21, 28],
        [35, 42],
    ]
    assert fuse_scores([RGB]).logits.tolist() == RGB.logits.tolist()


def test_probabilities_of_videos_are_averaged():
    logs = np.log([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
    rgb, flow = dataclasses.replace(RGB, logits=logs), dataclasses.replace(FLOW, logits=logs)
    fused = fuse_scores([rgb, flow], "softmax", (3, 1))
    expected = [0.75 * 0.9 + 0.25 * 0.2, 0.5, 0.75 * 0.2 + 0.25 * 0.9]
    np.testing.assert_allclose(np.exp(fused.logits)[:, 0], expected, rtol=1e-6)
    sure = dataclasses.replace(RGB, logits=np.array([[0, 1000]] * 3, np.float32))
    assert np.isfinite(fuse_scores([sure, sure], "softmax").logits).all()


def test_a_video_that_a_stream_lacks_is_a_failure():
    flow = _scores("flow", "ba", [[30, 40], [10, 20]], [1, 0], failures={"c": "damaged"})
    fused = fuse_scores([RGB, flow])
    assert fused.names == ("a", "b")
    assert fused.failures == {"c": "flow: damaged"}
    assert fused.expected == 3
    less = dataclasses.replace(flow, failures={})
    assert fuse_scores([less, RGB]).failures == {"c": "not in the scores of flow"}


def _frames(stream, names, counts, labels=None, first=0.0):
    rows = sum(counts)
    logits = first + np.arange(rows, dtype=np.float32)
    video = np.zeros((len(names), 2), np.uint8) if labels is None else labels
    frame_labels = np.zeros((rows, 2), np.uint8)
    frame_labels[:, 0] = np.arange(rows) % 2
    return Scores(
        ("x", "y"),
        tuple(names),
        video,
        np.zeros((len(names), 2), np.float32),
        ({"stream": stream},),
        frames=FrameScores(np.array(counts), frame_labels, np.stack([logits, 2 * logits], axis=1)),
    )


def test_frames_are_added_up_to_the_last_that_all_have():
    fused = fuse_scores([_frames("rgb", "ab", [3, 2]), _frames("flow", "ba", [2, 2], first=100)])
    assert fused.names == ("a", "b")
    assert fused.frames.counts.tolist() == [2, 2]
    # a: rgb 0 1 (2), flow 102 103; b: rgb 3 4, flow 100 101
    assert fused.frames.logits[:, 0].tolist() == [102, 104, 103, 105]
    assert fused.frames.logits[:, 1].tolist() == [204, 208, 206, 210]
    assert fused.frames.labels[:, 0].tolist() == [0, 1, 1, 0]  # the first stream's


@pytest.mark.parametrize(
    ("parts", "how", "weights", "text"),
    [
        ([], "logits", (), "expected scores of one stream or more"),
        ([RGB, FLOW], "max", (), "how must be one of logits, softmax. Received: 'max'"),
        ([RGB, FLOW], "logits", (1,), "weights must be 2 numbers"),
        ([RGB, FLOW], "logits", (1, -1), "weights must be 2 numbers from 0"),
        ([RGB, dataclasses.replace(FLOW, classes=("y", "x"))], "logits", (), "other classes"),
        (
            [RGB, dataclasses.replace(FLOW, labels=np.array([0, 1, 0]))],
            "logits",
            (),
            "different labels of c. Evaluate",
        ),
        ([RGB, dataclasses.replace(FLOW, names=("d", "e", "f"))], "logits", (), "no video in com"),
        ([RGB, _frames("flow", "abc", [1, 1, 1])], "logits", (), "another has none"),
        ([_frames("rgb", "a", [2])] * 2, "softmax", (), "do not exclude each other: add logits"),
        (
            [_frames("rgb", "a", [4]), _frames("flow", "a", [2])],
            "logits",
            (),
            "different numbers of frames of a. Prepare",
        ),
        (
            [_frames("rgb", "a", [2]), _frames("flow", "a", [2], np.array([[0, 1]], np.uint8))],
            "logits",
            (),
            "different labels of a",
        ),
    ],
)
def test_streams_that_do_not_belong_together(parts, how, weights, text):
    with pytest.raises(ValueError, match=text.replace(".", r"\.")):
        fuse_scores(parts, how, weights)
