"""Numbers and texts of results, counted by hand."""

import dataclasses
import json

import numpy as np
import pytest

from common.evaluation import results
from common.evaluation.protocols import PROTOCOLS
from common.evaluation.scores import FrameScores, Scores
from common.preprocessing.contracts import RGB_CONTRACT

CLASSES = ("left", "right", "up", "down", "in", "out")
PROTOCOL = PROTOCOLS["clip"].filled(RGB_CONTRACT).record()


def _logits(*tops):
    """The classes of each video, likeliest first."""
    return np.array([[6 - row.index(k) for k in "012345"] for row in tops], np.float32)


VIDEOS = Scores(
    classes=CLASSES,
    names=("a", "b", "c", "d", "e"),
    labels=np.array([0, 0, 1, 2, 5]),
    logits=_logits("012345", "102345", "102345", "345021", "012345"),
    origins=({"stream": "rgb", "protocol": PROTOCOL, "weights": {"w": "sha256 0"}},),
    failures={"f": "there is no such video", "g": "damaged\x1b[2J"},
)
FRAMES = Scores(
    classes=("sit", "stand", "walk"),
    names=("a", "b"),
    labels=np.array([[1, 1, 0], [0, 0, 0]], np.uint8),
    logits=np.array([[1, 2, 3], [4, 5, 6]], np.float32),
    origins=({"stream": "rgb", "protocol": PROTOCOL}, {"stream": "flow", "protocol": PROTOCOL}),
    frames=FrameScores(
        np.array([2, 2]),
        np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]], np.uint8),
        np.array([[4, 1, 0], [2, 2, 0], [3, 3, 0], [1, 4, 0]], np.float32),
    ),
    fusion={"how": "logits", "weights": [1.0, 1.5]},
)
TEXT = (
    f"rgb, {PROTOCOL['text']}\n"
    "5 of 7 videos; 2 FAILED\n"
    "\n"
    "top-1 40.0 %, top-5 80.0 %, mean class accuracy 37.5 % (2 of 6 classes absent, not "
    "counted)\n"
    "\n"
    "name   videos    top 1  most taken for  times\n"
    "left        2   50.0 %  right               1\n"
    "right       1  100.0 %  -                   0\n"
    "up          1    0.0 %  down                1\n"
    "down        0        -  -                   0\n"
    "in          0        -  -                   0\n"
    "out         1    0.0 %  left                1\n"
    "\n"
    "Failed:\n"
    "  f: there is no such video\n"
    "  g: damaged\\x1b[2J\n"
)


def test_results_of_classes():
    found = results.results(VIDEOS)
    assert found["coverage"] == {"expected": 7, "evaluated": 5, "failed": 2}
    assert found["top_1"] == pytest.approx(2 / 5)
    assert found["top_5"] == pytest.approx(4 / 5)  # all but e, whose class comes last
    assert found["mean_class_accuracy"] == pytest.approx((0.5 + 1 + 0 + 0) / 4)
    assert found["absent_classes"] == 2
    assert found["classes"][0] == {
        "name": "left", "videos": 2, "top_1": 0.5, "most_taken_for": "right", "times": 1
    }  # fmt: skip
    assert (found["classes"][3]["top_1"], found["classes"][1]["most_taken_for"]) == (None, None)
    assert found["failures"] == VIDEOS.failures
    few = dataclasses.replace(
        VIDEOS, classes=CLASSES[:5], logits=VIDEOS.logits[:, :5], labels=np.array([0, 0, 1, 2, 4])
    )
    assert results.results(few)["top_5"] is None  # of five classes it says nothing
    assert "top-5" not in results.text(results.results(few))


def test_results_of_frames():
    found = results.results(FRAMES)
    # sit: order 4 3 2 1, right at 1 and 3. stand: order 4 3 2 1, right at 3.
    mean = ((1 + 2 / 3) / 2 + 1 / 3) / 2
    assert found["localisation"] == {
        "mean_average_precision": pytest.approx(mean), "absent_classes": 1, "moments": 4
    }  # fmt: skip
    assert found["classification"] == {  # b has none, and does not count
        "mean_average_precision": 1, "absent_classes": 1, "videos": 2
    }  # fmt: skip
    assert results.text(found).splitlines() == [
        f"rgb, {PROTOCOL['text']}",
        f"flow, {PROTOCOL['text']}",
        "fused by their logits, 1 : 1.5",
        "2 of 2 videos",
        "",
        "classification: mAP 100.0 % of 2 videos (1 of 3 classes absent, not counted)",
        "localisation: mAP 58.3 % of 4 moments (1 of 3 classes absent, not counted)",
        "",
        "name   videos  classification  moments  localisation",
        "sit         1         100.0 %        2        83.3 %",
        "stand       1         100.0 %        1        33.3 %",
        "walk        0               -        0             -",
    ]


def test_files(tmp_path):
    pytest.importorskip("matplotlib")
    text = results.write(tmp_path / "classes", VIDEOS)
    assert sorted(path.name for path in (tmp_path / "classes").iterdir()) == sorted(results.FILES)
    assert (tmp_path / "classes/results.txt").read_text() == text == TEXT
    found = json.loads((tmp_path / "classes/results.json").read_text())
    assert found == json.loads(json.dumps(results.results(VIDEOS)))
    results.write(tmp_path, FRAMES)  # whose classes do not exclude each other
    assert not (tmp_path / "confusion.png").exists()


def test_names_stand_where_they_can_be_read(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: (
        figures.append(figure), path.touch()
    ))  # fmt: skip
    for count, named in ((6, True), (151, False)):
        classes = ("clock$wi$e", *map(str, range(1, count)))
        logits = np.eye(count, dtype=np.float32)[[0, 0, 1, 2, 2]]
        scores = Scores(classes, tuple("abcde"), np.array([0, 1, 1, 2, 2]), logits)
        results.draw(tmp_path / "c.png", scores, "rgb: top-1 80.0 %")
        axes = figures[-1].axes[0]
        assert ([text.get_text() for text in axes.get_yticklabels()] == list(classes)) == named
