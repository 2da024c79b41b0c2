"""The command, as a process: files in, files out, and its exit status."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.evaluation import scores
from common.evaluation.scores import Scores

pytest.importorskip("matplotlib")


def _fuse(*flags):
    return subprocess.run(
        [sys.executable, "-m", "common.evaluation.fuse", *flags],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip


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


def test_two_streams_are_better(tmp_path, files):
    done = _fuse(*files)
    assert (done.returncode, done.stderr) == (0, "")
    assert "fused by their logits, 1 : 1\n4 of 4 videos\n" in done.stdout
    assert "top-1 75.0 %, mean class accuracy 75.0 % (0 of 2 classes absent" in done.stdout
    found = json.loads((tmp_path / "joint" / "results.json").read_text())
    assert found["top_1"] == 0.75
    assert found["fusion"] == {"how": "logits", "weights": [1.0, 1.0]}
    assert scores.read(tmp_path / "joint" / "scores.npz").logits.tolist() == [
        [2, 3], [2, 4], [6, 3], [0, 2]
    ]  # fmt: skip
    again = _fuse(*files)
    assert again.returncode == 1
    assert "exists already and stays as it is" in again.stderr
    weighted = _fuse(*files, "--weights=3,1", "--how=logits", "--overwrite")
    assert "fused by their logits, 3 : 1\n" in weighted.stdout
    assert "top-1 50.0 %" in weighted.stdout  # a is right now; b and c are not


def test_a_video_that_lacks_makes_the_status_1(tmp_path, files):
    rgb = _write(tmp_path / "less.npz", "rgb", [[2, 1]], failures={"b": "damaged"})
    flow = files[0].partition(",")[2]
    done = _fuse(f"--scores={rgb},{flow}", files[1], "--how=softmax")
    assert done.returncode == 1
    assert "1 of 4 videos; 3 FAILED" in done.stdout
    assert "  b: rgb: damaged\n  c: not in the scores of rgb\n" in done.stdout
    assert (tmp_path / "joint" / "results.json").exists()


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ([], "--scores is missing"),
        (["--scores=a.npz"], "--output is missing"),
        (["--scores=a.npz", "--output=o", "--weights=x"], "--weights must be numbers, not x"),
        (["--scores=a.npz", "--output=o"], "a.npz: there are no such scores. `evaluate` makes"),
    ],
)
def test_wrong_use_is_one_line(flags, text):
    done = _fuse(*flags)
    assert done.returncode == 1
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
