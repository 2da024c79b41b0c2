"""The command: files in, files out, and its exit status."""

import json

import numpy as np
import pytest

from common import command
from common.evaluation import fuse, scores
from common.evaluation.scores import Scores

pytest.importorskip("matplotlib")


@pytest.fixture
def run(capsys):
    """Runs the command: its status, and what it says."""

    def call(*arguments):
        status = command.call(fuse.main, fuse.Settings, arguments)
        return (status, *capsys.readouterr())

    return call


def _write(path, stream, logits, **fields):
    count = len(logits)
    made = Scores(
        classes=("left", "right"),
        names=("a", "b", "c", "d")[:count],
        labels=np.array([0, 1, 0, 1])[:count],
        logits=np.array(logits, np.float32),
        origins=({"stream": stream, "protocol": {"text": "clip: one window"}},),
        **fields,
    )
    scores.write(path, made)
    return str(path)


@pytest.fixture
def files(tmp_path):
    rgb = _write(tmp_path / "rgb.npz", "rgb", [[2, 1], [2, 1], [1, 3], [0, 1]])
    flow = _write(tmp_path / "flow.npz", "flow", [[0, 2], [0, 3], [5, 0], [0, 1]])
    return f"--scores={rgb},{flow}", f"--output={tmp_path / 'joint'}"


def test_two_streams_are_better(tmp_path, files, run):
    status, out, err = run(*files)
    assert (status, err) == (0, "")
    assert "fused by their logits, 1 : 1\n4 of 4 videos\n" in out
    assert "top-1 75.0 %, mean class accuracy 75.0 % (0 of 2 classes absent" in out
    found = json.loads((tmp_path / "joint" / "results.json").read_text())
    assert found["top_1"] == 0.75
    assert found["fusion"] == {"how": "logits", "weights": [1.0, 1.0]}
    assert scores.read(tmp_path / "joint" / "scores.npz").logits.tolist() == [
        [2, 3], [2, 4], [6, 3], [0, 2]
    ]  # fmt: skip
    status, _, err = run(*files)
    assert status == 1
    assert "exists already and stays as it is" in err
    _, out, _ = run(*files, "--weights=3,1", "--how=logits", "--overwrite")
    assert "fused by their logits, 3 : 1\n" in out
    assert "top-1 50.0 %" in out  # a is right now; b and c are not


def test_a_video_that_lacks_makes_the_status_1(tmp_path, files, run):
    rgb = _write(tmp_path / "less.npz", "rgb", [[2, 1]], failures={"b": "damaged"})
    flow = files[0].partition(",")[2]
    status, out, _ = run(f"--scores={rgb},{flow}", files[1], "--how=softmax")
    assert status == 1
    assert "1 of 4 videos; 3 FAILED" in out
    assert "  b: rgb: damaged\n  c: not in the scores of rgb\n" in out
    assert (tmp_path / "joint" / "results.json").exists()


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ([], "--scores is needed"),
        (["--scores=a.npz"], "--output is needed"),
        (["--scores=a.npz", "--output=o", "--weights=x"], "--weights must be any number of a fin"),
        (["--scores=a.npz", "--output=o"], "a.npz: there are no such scores. `evaluate` makes"),
        (["--scores=o/scores.npz", "--output=o", "--overwrite"], "scores.npz is what is read"),
    ],
)
def test_wrong_use_is_one_line(run, flags, text):
    status, _, err = run(*flags)
    assert status == 1
    assert text in err
    assert err.count("\n") == 1
