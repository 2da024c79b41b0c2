"""Markers: what they say, and what is recognised as done, or done differently."""

import hashlib
import json
import os
import shutil

import pytest

from common.jobs import markers, pictures, runs
from common.jobs.runs import Item, Settings
from common.testing.tasks import Folders, contents, run


def test_a_marker_says_what_was_done(videos, tmp_path):
    run(Folders(seed=4), videos, tmp_path / "out")
    marker = json.loads((tmp_path / "out/a/.done").read_text())
    hash_ = marker.pop("hash")
    files = marker.pop("files")
    digest = hashlib.sha256(b"video 1").hexdigest()
    assert marker == {
        "command": "make_folders", "counts": {"files": 3}, "parameters": {"files": 3, "seed": 4},
        "source": {"name": "a.mp4", "bytes": 7, "digest": digest}, "span": [None, None],
    }  # fmt: skip
    assert files == {f"image_{k:05d}.bin": 3200 for k in range(3)}
    beside = json.loads((tmp_path / "out/.a.sum.done").read_text())
    assert beside == {**marker, "hash": hash_, "bytes": 64}
    assert str(tmp_path) not in "".join(p.read_text() for p in tmp_path.rglob("*.done"))


def test_a_tree_stays_done_wherever_it_is(videos, tmp_path):
    run(Folders(), videos, tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    videos.rename(tmp_path / "moved")
    (tmp_path / "out").rename(tmp_path / "renamed")
    for output in ("copy", "renamed"):
        report = run(Folders(), tmp_path / "moved", tmp_path / output)
        assert len(report.skipped) == 3


@pytest.mark.parametrize(
    "change",
    ["parameters", "source", "also", "span", "rate", "a file gone", "a file cut", "a target gone"],
)
def test_what_is_done_differently_is_done_again(videos, tmp_path, change):
    out, task, item = tmp_path / "out", Folders(), Item("a", videos / "a.mp4")
    runs.run(Folders(), [item], Settings(out, workers=0))
    if change == "parameters":
        task = Folders(files=2, seed=1)
    elif change == "source":
        (videos / "a.mp4").write_text("Video 1")  # as large as before
    elif change == "also":
        item = Item("a", videos / "a.mp4", also=(videos / "b/x y%d[1]{name}(;&!).mp4",))
    elif change == "span":
        item = Item("a", videos / "a.mp4", 1.0, 2.0)
    elif change == "rate":
        item = Item("a", videos / "a.mp4", fps=12.0)
    elif change == "a file gone":
        (out / "a/image_00001.bin").unlink()
    elif change == "a file cut":  # as a power cut may
        (out / "a/image_00001.bin").write_bytes(b"")
    else:
        (out / "a.sum").unlink()
    report = runs.run(task, [item], Settings(out, workers=0))
    assert report.done == ("a",)
    assert report.replaced == (() if change == "a target gone" else ("a",))
    runs.run(task, [item], Settings(tmp_path / "fresh", workers=0))
    assert contents(out) == contents(tmp_path / "fresh")


def test_what_is_made_of_a_folder_depends_on_the_folders_marker(videos, tmp_path):
    """Frames that were extracted anew, in the same number, give other flow."""
    frames = tmp_path / "frames"

    def wanted():
        return markers.wanted(Folders(), Item("a", frames / "a"))["hash"]

    run(Folders(), videos, frames)
    before = wanted()
    run(Folders(seed=1), videos, frames)
    assert wanted() != before
    run(Folders(), videos, frames)
    assert wanted() == before


def test_what_is_made_of_a_folder_depends_on_its_frames_alone(tmp_path):
    """Not on `n_frames`, which `count_frames` may write between two runs."""
    for k in range(1, 4):
        (tmp_path / f"image_{k:05d}.jpg").write_text(f"frame {k}")

    def wanted():
        return markers.wanted(Folders(), Item("a", tmp_path))["hash"]

    before = wanted()
    (tmp_path / "n_frames").write_text("3")
    (tmp_path / "notes").mkdir()
    assert wanted() == before
    (tmp_path / "image_00003.jpg").write_text("frame X")
    assert wanted() != before
    (tmp_path / "image_00003.jpg").write_text("frame 3")
    assert wanted() == before
    (tmp_path / "image_00002.jpg").unlink()
    assert wanted() != before


@pytest.mark.parametrize("at", [0, 2**16 - 1, 2**17 - 1, 200_000 - 2**16, 199_999])
def test_both_ends_of_a_source_count(tmp_path, at):
    source = tmp_path / "a.mp4"
    size = 2**17 if at == 2**17 - 1 else 200_000
    source.write_bytes(bytes(size))
    before = markers.wanted(Folders(), Item("a", source))["hash"]
    with source.open("r+b") as file:
        file.seek(at)
        file.write(b"x")
    assert markers.wanted(Folders(), Item("a", source))["hash"] != before


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    assert markers.wanted(Folders(), Item("a", tmp_path / "a.mp4"))["source"]


def test_n_frames_may_be_written_anew(videos, tmp_path, monkeypatch):
    def make(self, item, temporary):
        counts = made(self, item, temporary)
        (temporary[0] / "n_frames").write_text("3")
        return counts

    made = Folders.make
    monkeypatch.setattr(Folders, "make", make)
    run(Folders(), videos, tmp_path / "out")
    (tmp_path / "out/a/n_frames").write_text("3000")
    assert len(run(Folders(), videos, tmp_path / "out").skipped) == 3


def test_hidden_files_are_no_matter(videos, tmp_path):
    """File managers and network file systems leave some."""
    run(Folders(), videos, tmp_path / "out")
    (tmp_path / "out/a/.hidden").mkdir()
    (tmp_path / "out/a/.hidden/file").touch()
    assert len(run(Folders(), videos, tmp_path / "out").skipped) == 3


@pytest.mark.parametrize(
    "content",
    ["{}", "[]", "[" * 99999, "junk", '{"names":[1]}', '{"command":"make_folders","files":[1]}',
     '{"command":"make_folders","counts":7}', '{"command":"make_folders","parameters":"x"}', None],
)  # fmt: skip
def test_a_marker_that_is_none_of_ours_makes_a_folder_foreign(videos, tmp_path, content):
    out, item = tmp_path / "out", Item("a", videos / "a.mp4")
    (out / "a").mkdir(parents=True)
    if content is None:
        os.mkfifo(out / "a/.done")
    else:
        (out / "a/.done").write_text(content)
    assert pictures.noted(out / "a") == {}
    report = runs.run(Folders(), [item], Settings(out, workers=0))
    assert "a exists and was not made by make_folders" in report.reasons["a"]


def test_a_marker_of_an_earlier_version_counts_without_sizes(videos, tmp_path):
    out, item = tmp_path / "out", Item("a", videos / "a.mp4")
    runs.run(Folders(), [item], Settings(out, workers=0))
    marker = json.loads((out / "a/.done").read_text())
    del marker["files"]
    (out / "a/.done").write_text(json.dumps({**marker, "names": {"image_#####.bin": 3}}))
    assert runs.run(Folders(), [item], Settings(out, workers=0)).skipped == ("a",)
    report = runs.run(Folders(seed=1), [item], Settings(out, workers=0))
    assert "--overwrite replaces it" in report.reasons["a"]
