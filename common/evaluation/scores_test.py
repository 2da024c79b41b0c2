"""The file of scores: the same after reading, no pickle, and one clear error for what is none."""

import dataclasses
import zipfile

import numpy as np
import pytest

from common.evaluation import scores
from common.evaluation.scores import FrameScores, Scores

VIDEOS = Scores(
    classes=("left", "rechts 右", "a$b$"),
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
            np.testing.assert_array_equal(a, b, strict=True)
        elif isinstance(a, FrameScores):
            _same(a, b)
        else:
            assert a == b, field.name


@pytest.mark.parametrize("made", [VIDEOS, FRAMES])
def test_what_is_written_is_read(tmp_path, made):
    for name in ("a", "b"):
        scores.write(tmp_path / "new" / name, made)
    _same(made, scores.read(tmp_path / "new/a"))
    assert (tmp_path / "new/a").read_bytes() == (tmp_path / "new/b").read_bytes()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a", "b"]
    assert made.expected == 5


def _damaged(path):
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("logits.npy").header_offset + 200
    content = bytearray(path.read_bytes())
    content[place] ^= 255
    path.write_bytes(content)


def _one_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("names"),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: np.savez(path, names=np.array(["a"])),
        lambda path: np.savez(path, about=np.array([{}], object)),  # a pickle
        _one_array,
        _damaged,
    ],
)
def test_other_files_are_refused(tmp_path, change):
    path = tmp_path / "s.npz"
    scores.write(path, VIDEOS)
    change(path)
    with pytest.raises(ValueError, match=r"s\.npz: expected scores that .* wrote") as caught:
        scores.read(path)
    assert "pickle" not in str(caught.value)


def test_a_newer_file_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(scores, "_FORMAT_VERSION", 2)
        scores.write(tmp_path / "s.npz", VIDEOS)
    with pytest.raises(ValueError, match="wrote, of format version 1"):
        scores.read(tmp_path / "s.npz")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"labels": np.array([0, 1])}, r"labels: expected finite numbers \[3\]"),
        ({"labels": np.array([0, 1, 3])}, "labels: expected those of 3 classes"),
        ({"logits": np.full((3, 3), np.nan, np.float32)}, "logits: expected finite"),
        ({"failures": {"c": "?"}}, "a video is there twice"),
        ({"frames": FRAMES.frames}, r"labels: expected finite numbers \[3, 3\]"),
    ],
)
def test_scores_that_do_not_fit_are_refused(fields, text):
    with pytest.raises(ValueError, match=text):
        dataclasses.replace(VIDEOS, **fields)
