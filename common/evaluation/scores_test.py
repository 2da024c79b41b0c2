"""The file of scores: the same after reading, no pickle, and one clear error for what is none."""

import dataclasses
import zipfile

import numpy as np
import pytest

from common.evaluation import scores
from common.evaluation.scores import FrameScores, Scores

CLASSES = ("left", "rechts 右", "a$b$")
VIDEOS = Scores(
    classes=CLASSES,
    names=("x/a", "x/ü", "c"),
    labels=np.array([0, 2, 2]),
    logits=np.arange(9, dtype=np.float32).reshape(3, 3) / 7,
    origins=({"stream": "rgb", "protocol": {"name": "clip"}},),
    failures={"d": "there is nothing", "e\udcff": "odd bytes"},
)
FRAMES = dataclasses.replace(
    VIDEOS,
    labels=np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0]], np.uint8),
    frames=FrameScores(
        np.array([2, 0, 1]),
        np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.uint8),
        np.arange(9, dtype=np.float32).reshape(3, 3),
    ),
)


def _same(one, other):
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, field.name
            np.testing.assert_array_equal(a, b)
        elif isinstance(a, FrameScores):
            _same(a, b)
        else:
            assert a == b, field.name


@pytest.mark.parametrize("made", [VIDEOS, FRAMES])
def test_what_is_written_is_read(tmp_path, made):
    scores.write(tmp_path / "new" / "s.npz", made)
    _same(made, scores.read(tmp_path / "new" / "s.npz"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["s.npz"]
    assert made.expected == 5


def test_the_same_scores_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        scores.write(tmp_path / name, VIDEOS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "s.npz"
    with pytest.raises(FileNotFoundError, match=r"s\.npz: there are no such scores"):
        scores.read(path)
    path.write_bytes(b"")
    _refused(path, "No data left in file")
    path.write_text("names")
    _refused(path, "pickle")
    np.savez(path, names=np.array(["a"]))
    _refused(path, "it has no about, labels, logits")
    np.savez(path, **{name: np.zeros(1) for name in ("names", "labels", "logits", "about")})
    _refused(path, "")
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    _refused(path, "it is one array")


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "s.npz"
    scores.write(path, VIDEOS)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("logits.npy").header_offset + 200
    content[place] ^= 255
    path.write_bytes(content)
    _refused(path, "Bad CRC-32")
    path.write_bytes(content[:-100])
    _refused(path, "not a zip file")


def test_a_newer_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(scores, "_FORMAT_VERSION", 2)
    scores.write(tmp_path / "s.npz", VIDEOS)
    monkeypatch.undo()
    _refused(tmp_path / "s.npz", "it has version 2, not 1")


def _refused(path, text):
    with pytest.raises(ValueError, match=r"s\.npz: expected scores that .* wrote") as caught:
        scores.read(path)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"labels": np.array([0, 1])}, r"labels: expected \[3\]. Received: \[2\]"),
        ({"labels": np.array([0, 1, 3])}, "labels: expected 0 to 2"),
        ({"logits": np.zeros((3, 2), np.float32)}, r"logits: expected \[3, 3\]"),
        ({"logits": np.full((3, 3), np.nan, np.float32)}, "logits must be finite"),
        ({"names": ("a", "a", "b")}, "a video is there twice"),
        ({"failures": {"c": "?"}}, "a video is there twice"),
        ({"frames": FRAMES.frames}, r"labels: expected \[3, 3\]. Received: \[3\]"),
    ],
)
def test_scores_that_do_not_fit_are_refused(fields, text):
    with pytest.raises(ValueError, match=text):
        dataclasses.replace(VIDEOS, **fields)
