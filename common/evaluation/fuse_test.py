"""Fused scores against sums by hand; streams that do not belong together; the command."""

import dataclasses
import json

import numpy as np
import pytest

from common.evaluation import fuse, scores
from common.evaluation.fuse import fuse_scores
from common.evaluation.scores import FrameScores, Scores
from common.testing import commands

ONE = [[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]]
OTHER = [[4.0, 0.0, -1.0], [2.0, 1.0, 0.0]]


def test_logits_are_added():
    np.testing.assert_array_equal(fuse.fuse([ONE, OTHER]), [[5, 2, 2], [2, 1, 5]])
    weighted = fuse.fuse([ONE, OTHER], weights=[1, 1.5])
    np.testing.assert_array_equal(weighted, [[7, 2, 1.5], [3, 1.5, 5]])
    # "Playing cricket" in DeepMind's sample: RGB, flow, and what they print for both.
    joint = fuse.fuse([[[25.856646]], [[15.957031]]])
    assert joint[0, 0] == pytest.approx(41.813675, abs=3e-6)


def test_probabilities_are_averaged():
    powers = np.exp([ONE, OTHER])
    one, other = powers / powers.sum(axis=2, keepdims=True)
    fused = fuse.fuse([ONE, OTHER], "softmax", [1, 3])
    np.testing.assert_allclose(np.exp(fused), (one + 3 * other) / 4, rtol=1e-13)
    # Neither the sum nor a mean of logits, and of any size.
    sure, unsure = [[9.0, 0.0, 0.0]], [[-8.0, 2.5, 0.0]]
    assert fuse.fuse([sure, unsure]).argmax() == 1
    assert fuse.fuse([sure, unsure], "softmax").argmax() == 0
    assert np.isfinite(fuse.fuse([[[1e4, 0, -1e4]]], "softmax")).all()


def _scores(stream, names, logits, labels, **fields):
    origins = ({"stream": stream, "protocol": {"text": "clip: one window"}},)
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
    ("parts", "more", "text"),
    [
        ([RGB, dataclasses.replace(FLOW, classes=("y", "x"))], {}, "other classes"),
        ([RGB, dataclasses.replace(FLOW, labels=RGB.labels)], {}, "have different labels"),
        ([RGB, dataclasses.replace(FLOW, names=("d", "e", "f"))], {}, "no video in common"),
        ([RGB, _frames("flow", "abc", [1, 1, 1])], {}, "another has none"),
        ([_frames("rgb", "a", [2])] * 2, {"how": "softmax"}, "do not exclude each other"),
        ([_frames("", "a", [4]), _frames("", "a", [2])], {}, "differ in frames of a: prepare"),
        ([RGB, FLOW], {"how": "mean"}, r"one of logits, softmax. Received: 'mean'"),
        ([RGB, FLOW], {"weights": [1]}, "weights must be 2 numbers from 0"),
        ([RGB, FLOW], {"weights": [0, 0]}, "weights must be 2 numbers from 0"),
    ],
)
def test_streams_that_do_not_belong_together(parts, more, text):
    with pytest.raises(ValueError, match=text):
        fuse_scores(parts, **more)


def test_the_command(tmp_path):
    pytest.importorskip("matplotlib")
    flow = _scores("flow", "cb", [[50, 60], [0, 2]], [1, 1], failures={"d": "damaged"})
    for path, part in (("rgb.npz", RGB), ("flow.npz", flow)):
        scores.write(tmp_path / path, part)
    flags = f"--scores={tmp_path / 'rgb.npz'},{tmp_path / 'flow.npz'}", f"--output={tmp_path}/o"
    done = commands.run("common.evaluation.fuse", *flags, "--weights=1,2")
    assert (done.returncode, done.stderr) == (1, "")  # a video is missing
    assert "fused by their logits, 1 : 2\n2 of 4 videos; 2 FAILED\n" in done.stdout
    assert "  a: flow: it is not in the scores\n  d: flow: damaged\n" in done.stdout
    found = json.loads((tmp_path / "o/results.json").read_text())
    assert (found["top_1"], found["fusion"]["weights"]) == (1, [1.0, 2.0])
    assert scores.read(tmp_path / "o/scores.npz").logits.tolist() == [[3, 8], [105, 126]]
    again = commands.run("common.evaluation.fuse", *flags)
    assert "exists already and stays as it is" in again.stderr
    done = commands.run("common.evaluation.fuse", flags[0].partition(",")[0], flags[1])
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "--scores needs two files or more" in done.stderr
