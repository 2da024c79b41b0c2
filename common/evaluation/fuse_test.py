"""The command: files in, files out, and its exit status."""

import json

import numpy as np
import pytest

from common.evaluation import scores
from common.evaluation.scores import Scores
from common.testing import commands

pytest.importorskip("matplotlib")


def _write(path, stream, logits, **fields):
    count = len(logits)
    origins = ({"stream": stream, "protocol": {"text": "clip: one window"}},)
    labels, logits = np.array([0, 1, 0, 1])[:count], np.array(logits, np.float32)
    made = Scores(
        ("left", "right"), ("a", "b", "c", "d")[:count], labels, logits, origins, **fields
    )
    scores.write(path, made)
    return str(path)


def fuse(*flags):
    return commands.run("common.evaluation.fuse", *flags)


def test_two_streams_are_better_and_what_one_lacks_is_a_failure(tmp_path):
    rgb = _write(tmp_path / "rgb.npz", "rgb", [[2, 1], [2, 1], [1, 3], [0, 1]])
    flow = _write(tmp_path / "flow.npz", "flow", [[0, 2], [0, 3], [5, 0], [0, 1]])
    output = tmp_path / "joint"
    flags = f"--scores={rgb},{flow}", f"--output={output}"
    done = fuse(*flags)
    assert (done.returncode, done.stderr) == (0, "")
    assert "fused by their logits, 1 : 1\n4 of 4 videos\n" in done.stdout
    assert "top-1 75.0 %, mean class accuracy 75.0 % (0 of 2 classes absent" in done.stdout
    found = json.loads((output / "results.json").read_text())
    assert (found["top_1"], found["fusion"]["weights"]) == (0.75, [1.0, 1.0])
    fused = scores.read(output / "scores.npz").logits
    assert fused.tolist() == [[2, 3], [2, 4], [6, 3], [0, 2]]
    assert "exists already and stays as it is" in fuse(*flags).stderr
    weighted = fuse(*flags, "--weights=3,1", "--how=logits", "--overwrite").stdout
    assert "fused by their logits, 3 : 1\n" in weighted
    assert "top-1 50.0 %" in weighted  # a is right now; b and c are not

    rgb = _write(tmp_path / "less.npz", "rgb", [[2, 1]], failures={"b": "damaged"})
    less = fuse(f"--scores={rgb},{flow}", f"--output={output}", "--how=softmax", "--overwrite")
    assert less.returncode == 1
    assert "1 of 4 videos; 3 FAILED" in less.stdout
    assert "  b: rgb: damaged\n  c: not in the scores of rgb\n" in less.stdout


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--scores=a.npz"], "--output is needed"),
        (["--scores=a.npz", "--output=o", "--weights=x"], "--weights must be finite numbers"),
        (["--scores=a.npz", "--output=o"], "a.npz: there are no such scores. `evaluate` makes"),
        (["--scores=o/scores.npz", "--output=o", "--overwrite"], "scores.npz is what is read"),
    ],
)
def test_wrong_use_is_one_line(flags, text):
    done = fuse(*flags)
    assert done.returncode == 1
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
