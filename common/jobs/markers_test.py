"""Markers: what they say, and what is recognised as done, or done differently."""

import hashlib
import json
import os
import shutil

import pytest

from common.jobs import markers, pictures
from common.jobs.runs import Item
from common.testing.tasks import Folders, contents, run, run_one


@pytest.fixture
def item(videos):
    return Item("a", videos / "a.mp4")


def _hash(source):
    return markers.wanted(Folders(), Item("a", source))["hash"]


def test_a_marker_says_what_was_done(item, tmp_path):
    run_one(Folders(seed=4), item, tmp_path / "out")
    marker = json.loads((tmp_path / "out/a/.done").read_text())
    hash_, files = marker.pop("hash"), marker.pop("files")
    digest = hashlib.sha256(b"video 1").hexdigest()
    assert marker == {
        "command": "make_folders", "counts": {"files": 3}, "parameters": {"files": 3, "seed": 4},
        "source": {"name": "a.mp4", "bytes": 7, "digest": digest}, "span": [None, None],
    }  # fmt: skip
    assert files == {f"image_{k:05d}.bin": 3200 for k in range(3)}
    beside = json.loads((tmp_path / "out/.a.sum.done").read_text())
    assert beside == {**marker, "hash": hash_, "bytes": 64}


def test_a_tree_stays_done_wherever_it_is(videos, tmp_path):
    """With what file managers leave in it, and with numbers that `count_frames` writes anew."""
    run(Folders(), videos, tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    videos.rename(tmp_path / "moved")
    (tmp_path / "copy/a/.hidden").mkdir()
    (tmp_path / "copy/a/.hidden/file").touch()
    assert len(run(Folders(), tmp_path / "moved", tmp_path / "copy").skipped) == 3


def test_n_frames_may_be_written_anew(item, tmp_path, monkeypatch):
    def make(self, item, temporary):
        counts = made(self, item, temporary)
        (temporary[0] / "n_frames").write_text("3")
        return counts

    made = Folders.make
    monkeypatch.setattr(Folders, "make", make)
    run_one(Folders(), item, tmp_path / "out")
    (tmp_path / "out/a/n_frames").write_text("3000")
    assert run_one(Folders(), item, tmp_path / "out").skipped == ("a",)


@pytest.mark.parametrize(
    "change",
    ["parameters", "source", "also", "span", "rate", "a file gone", "a file cut", "a target gone"],
)
def test_what_is_done_differently_is_done_again(videos, item, tmp_path, change):
    out, task = tmp_path / "out", Folders()
    run_one(task, item, out)
    if change == "parameters":
        task = Folders(files=2, seed=1)
    elif change == "source":
        (videos / "a.mp4").write_text("Video 1")  # as large as before
    elif change == "also":
        item = Item("a", item.source, also=(videos / "b/x y%d[1]{name}(;&!).mp4",))
    elif change == "span":
        item = Item("a", item.source, 1.0, 2.0)
    elif change == "rate":
        item = Item("a", item.source, fps=12.0)
    elif change == "a file gone":
        (out / "a/image_00001.bin").unlink()
    elif change == "a file cut":  # as a power cut may
        (out / "a/image_00001.bin").write_bytes(b"")
    else:
        (out / "a.sum").unlink()
    report = run_one(task, item, out)
    assert report.done == ("a",)
    assert report.replaced == (() if change == "a target gone" else ("a",))
    run_one(task, item, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_what_is_made_of_a_folder_depends_on_its_frames_and_its_marker(tmp_path):
    """Not on `n_frames`, which `count_frames` may write between two runs."""
    for k in range(1, 4):
        (tmp_path / f"image_{k:05d}.jpg").write_text(f"frame {k}")
    before = _hash(tmp_path)
    (tmp_path / "n_frames").write_text("3")
    (tmp_path / "notes").mkdir()
    assert _hash(tmp_path) == before
    (tmp_path / ".done").write_text('{"hash": "extracted anew"}')
    assert _hash(tmp_path) != before
    (tmp_path / ".done").unlink()
    (tmp_path / "image_00003.jpg").write_text("frame X")
    assert _hash(tmp_path) != before
    (tmp_path / "image_00003.jpg").write_text("frame 3")
    (tmp_path / "image_00002.jpg").unlink()
    assert _hash(tmp_path) != before


@pytest.mark.parametrize("at", [0, 2**16 - 1, 2**17 - 1, 200_000 - 2**16, 199_999])
def test_both_ends_of_a_source_count(tmp_path, at):
    source = tmp_path / "a.mp4"
    source.write_bytes(bytes(2**17 if at == 2**17 - 1 else 200_000))
    before = _hash(source)
    with source.open("r+b") as file:
        file.seek(at)
        file.write(b"x")
    assert _hash(source) != before


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    assert _hash(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    "content",
    ["{}", "[]", "[" * 99999, "junk", '{"names":[1]}', '{"command":"make_folders","files":[1]}',
     '{"command":"make_folders","counts":7}', '{"command":"make_folders","parameters":"x"}', None],
)  # fmt: skip
def test_a_marker_that_is_none_of_ours_makes_a_folder_foreign(item, tmp_path, content):
    (tmp_path / "out/a").mkdir(parents=True)
    if content is None:
        os.mkfifo(tmp_path / "out/a/.done")
    else:
        (tmp_path / "out/a/.done").write_text(content)
    assert pictures.noted(tmp_path / "out/a") == {}
    report = run_one(Folders(), item, tmp_path / "out")
    assert "a exists and was not made by make_folders" in report.reasons["a"]


def test_a_marker_of_an_earlier_version_counts_without_sizes(item, tmp_path):
    run_one(Folders(), item, tmp_path / "out")
    path = tmp_path / "out/a/.done"
    marker = json.loads(path.read_text())
    del marker["files"]
    path.write_text(json.dumps({**marker, "names": {"image_#####.bin": 3}}))
    assert run_one(Folders(), item, tmp_path / "out").skipped == ("a",)
    report = run_one(Folders(seed=1), item, tmp_path / "out")
    assert "--overwrite replaces it" in report.reasons["a"]
