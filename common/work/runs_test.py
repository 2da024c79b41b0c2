"""A run: what is done, skipped, done again, refused, reported; alone and with others."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest

from common.work import failures, inputs, making, markers, runs
from common.work._tasks_for_tests import Behaves, Folders
from common.work.runs import Item, Settings

ROOT = Path(__file__).parents[2]
NAMES = ("b/x y%d[1]{name}(;&!)", "a", "c/été 日本")


@pytest.fixture
def videos(tmp_path):
    """A folder of sources with odd names."""
    for k, name in enumerate(NAMES):
        path = tmp_path / "videos" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"video {k}")
    return tmp_path / "videos"


def run(task, videos, output, **settings):
    return runs.run(task, inputs.items(videos), Settings(output, **{"workers": 0, **settings}))


def behave(tmp_path, *hows, **settings):
    """Runs items that do what they are told, in this process unless told otherwise."""
    items = []
    for k, how in enumerate(hows):
        (tmp_path / f"{k}.how").write_text(how)
        items.append(Item(f"item {k}", tmp_path / f"{k}.how"))
    (tmp_path / "notes").mkdir(exist_ok=True)
    task = Behaves(tmp_path / "notes")
    return runs.run(task, items, Settings(tmp_path / "out", **{"workers": 0, **settings}))


def contents(folder):
    """Every file and folder below, hidden ones too, and what is in it."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


def failed(output):
    path = output / "failed.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_all_is_made_then_skipped(videos, tmp_path):
    out = tmp_path / "not/there/yet"
    report = run(Folders(), videos, out)
    assert report.done == ("a", "b/x y%d[1]{name}(;&!)", "c/été 日本")
    assert (report.skipped, report.failed, report.status) == ((), (), 0)
    assert report.counts == {"files": 9}
    assert report.text() == "make_folders: 3 done, 0 skipped, 0 failed, 9 files"
    made = contents(out)
    files = ("a/image_00000.bin", "a/image_00001.bin", "a/image_00002.bin")
    assert {name for name in made if name.startswith(("a", ".a"))} == {
        "a", "a/.done", *files, "a.sum", ".a.sum.done",
    }  # fmt: skip
    assert not {".work", ".claims", "failed.jsonl"} & set(made)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    log = tmp_path / "log"
    report = run(Folders(log=log), videos, out)
    assert (report.done, len(report.skipped), report.counts) == ((), 3, {"files": 9})
    assert not log.exists()
    assert contents(out) == made
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def test_workers_make_the_same(videos, tmp_path):
    run(Folders(), videos, tmp_path / "one")
    report = run(Folders(), videos, tmp_path / "two", workers=2)
    assert len(report.done) == 3
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_marker_says_what_was_done(videos, tmp_path):
    run(Folders(seed=4), videos, tmp_path / "out")
    marker = json.loads((tmp_path / "out/a/.done").read_text())
    hash_ = marker.pop("hash")
    names = marker.pop("names")
    digest = hashlib.sha256(b"video 1").hexdigest()
    assert marker == {
        "command": "make_folders", "counts": {"files": 3}, "parameters": {"files": 3, "seed": 4},
        "source": {"name": "a.mp4", "bytes": 7, "digest": digest}, "span": [None, None],
    }  # fmt: skip
    assert names == {"image_#####.bin": 3}
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
    "change", ["parameters", "source", "span", "rate", "a file gone", "a target gone"]
)
def test_what_is_done_differently_is_done_again(videos, tmp_path, change):
    out, task, item = tmp_path / "out", Folders(), Item("a", videos / "a.mp4")
    runs.run(Folders(), [item], Settings(out, workers=0))
    if change == "parameters":
        task = Folders(files=2, seed=1)
    elif change == "source":
        (videos / "a.mp4").write_text("Video 1")  # as large as before
    elif change == "span":
        item = Item("a", videos / "a.mp4", 1.0, 2.0)
    elif change == "rate":
        item = Item("a", videos / "a.mp4", fps=12.0)
    elif change == "a file gone":
        (out / "a/image_00001.bin").unlink()
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
        return markers.wanted(Folders(), Item("a", frames / "a")).hash

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
        return markers.wanted(Folders(), Item("a", tmp_path)).hash

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
    before = markers.wanted(Folders(), Item("a", source)).hash
    with source.open("r+b") as file:
        file.seek(at)
        file.write(b"x")
    assert markers.wanted(Folders(), Item("a", source)).hash != before


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    assert markers.wanted(Folders(), Item("a", tmp_path / "a.mp4")).content["source"]


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


@pytest.mark.parametrize(
    "added", ["u/frame000001.jpg", "u/.done", "empty/", "notes.txt", "image_00003.bin"]
)
@pytest.mark.parametrize("lost", [0, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_others_put_into_a_folder_stays(videos, tmp_path, added, lost, seed):
    """Whether the folder is whole, or has lost more than was added, or has to be made anew."""
    out, item = tmp_path / "out", Item("a", videos / "a.mp4")
    runs.run(Folders(), [item], Settings(out, workers=0))
    for k in range(0 if added.endswith("bin") else lost):
        (out / f"a/image_{k:05d}.bin").unlink()
    path = out / "a" / added
    if added.endswith("/"):
        path.mkdir()
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"command": "extract_flow"}')
    before = contents(out)
    report = runs.run(Folders(seed=seed), [item], Settings(out, workers=0))
    assert report.failed == ("a",)
    kind = {"u/.done": "u/", "u/frame000001.jpg": "u/, u/frame######.jpg", "empty/": "empty/"}
    named = kind.get(added, "image_#####.bin" if added.endswith("bin") else added)
    assert f"(holds more than it made: {named}); it stays as it is" in report.reasons["a"]
    (out / "failed.jsonl").unlink()
    assert contents(out) == before
    report = runs.run(Folders(seed=seed), [item], Settings(out, workers=0, overwrite=True))
    assert report.replaced == ("a",)
    runs.run(Folders(seed=seed), [item], Settings(tmp_path / "fresh", workers=0))
    assert contents(out) == contents(tmp_path / "fresh")


def test_hidden_files_are_no_matter(videos, tmp_path):
    """File managers and network file systems leave some."""
    run(Folders(), videos, tmp_path / "out")
    (tmp_path / "out/a/.hidden").mkdir()
    (tmp_path / "out/a/.hidden/file").touch()
    assert len(run(Folders(), videos, tmp_path / "out").skipped) == 3


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("whose", ["make_folders", "make_others"])
def test_nothing_is_put_into_what_is_done(videos, tmp_path, whose, overwrite):
    """Flow below a folder of frames would be lost with the frames, or keep them from being made."""
    out, log, task = tmp_path / "out", tmp_path / "log", Folders(log=tmp_path / "log")
    run(Folders(command=whose), videos, out)
    before = contents(out)
    items = [Item("a/u", videos / "a.mp4"), Item("b/v", videos / "a.mp4")]
    report = runs.run(task, items, Settings(out, workers=0, overwrite=overwrite))
    assert (report.failed, report.done) == (("a/u",), ("b/v",))
    assert f"a/u would be inside {out / 'a'}, which {whose} has made" in report.reasons["a/u"]
    assert [line.split()[1] for line in log.read_text().splitlines()] == ["b/v"]
    assert before.items() <= contents(out).items()
    report = runs.run(Folders(), items, Settings(out / "a", workers=0))
    assert report.failed == ("a/u", "b/v")


@pytest.mark.parametrize("foreign", ["folder", "empty folder", "file", "changed", "other command"])
def test_what_is_not_ours_stays(videos, tmp_path, foreign):
    out = tmp_path / "out"
    target, item = out / "a", Item("a", videos / "a.mp4")
    out.mkdir()
    if foreign == "file":
        target.write_text("precious")
    elif foreign == "changed":
        runs.run(Folders(), [item], Settings(out, workers=0))
        (out / "a.sum").write_text("precious")
    elif foreign == "other command":
        runs.run(Folders(command="other"), [item], Settings(out, workers=0))
    else:
        target.mkdir()
        if foreign == "folder":
            (target / "precious").write_text("precious")
    before = contents(out)
    report = runs.run(Folders(), [item], Settings(out, workers=0))
    assert report.failed == ("a",)
    assert report.status == 1
    assert "exists and was not made by make_folders" in report.reasons["a"]
    assert "--overwrite replaces it" in report.reasons["a"]
    if foreign == "other command":
        assert "was made by other" in report.reasons["a"]
    assert failed(out)[0]["error"] == "FileExistsError"
    (out / "failed.jsonl").unlink()
    assert contents(out) == before
    report = runs.run(Folders(), [item], Settings(out, workers=0, overwrite=True))
    assert report.replaced == ("a",)
    runs.run(Folders(), [item], Settings(tmp_path / "fresh", workers=0))
    assert contents(out) == contents(tmp_path / "fresh")


def test_overwrite_does_not_do_again_what_is_done(videos, tmp_path):
    run(Folders(), videos, tmp_path / "out")
    assert len(run(Folders(), videos, tmp_path / "out", overwrite=True).skipped) == 3


def test_dry_run_touches_nothing(videos, tmp_path):
    out = tmp_path / "out"
    report = run(Folders(), videos, out, dry_run=True)
    assert (len(report.done), report.status) == (3, 0)
    assert report.text() == "make_folders: 3 to do, 0 skipped, 0 failed"
    assert not out.exists()
    items = inputs.items(videos)
    runs.run(Folders(), items[:1], Settings(out, workers=0))
    runs.run(Folders(seed=1), items[1:2], Settings(out, workers=0))
    before = contents(out)
    items = (*items, Item("gone", videos / "gone.mp4"))
    report = runs.run(Folders(), items, Settings(out, dry_run=True))
    assert report.skipped == ("a",)
    assert report.replaced == ("b/x y%d[1]{name}(;&!)",)
    assert report.done == (*report.replaced, "c/été 日本")
    assert report.failed == ("gone",)
    assert report.text().startswith(
        "make_folders: 2 to do (1 in place of what was there), 1 skipped, 1 failed, 3 files\n  gone"
    )
    assert contents(out) == before


def test_failures_are_listed_with_their_reasons(tmp_path):
    hows = ("good", "value", "os", "bug", "memory", "nothing", "exit", "kill")
    report = behave(tmp_path, *hows, workers=2, allow_failures=6)
    assert report.done == ("item 0",)
    assert report.failed == tuple(f"item {k}" for k in range(1, 8))
    assert report.status == 1
    lines = failed(tmp_path / "out")
    assert [line["item"] for line in lines] == list(report.failed)
    assert [line["error"] for line in lines] == [
        "ValueError", "FileNotFoundError", "KeyError", "MemoryError", "RuntimeError",
        "WorkerDied", "WorkerDied",
    ]  # fmt: skip
    reasons = [line["reason"] for line in lines]
    assert reasons[:2] == ["a value\nof two lines", "no such thing"]
    assert reasons[2].startswith("KeyError: 'x' (_tasks_for_tests.py:")
    assert reasons[3].startswith("MemoryError: no text (_tasks_for_tests.py:")
    assert reasons[4].startswith("RuntimeError: behave made no item 5.txt (making.py:")
    assert reasons[5] == "the worker process ended (exit status 3)"
    assert reasons[6] == "the worker process died (signal 9)"
    assert lines[0]["source"] == str(tmp_path / "1.how")
    assert lines[0]["command"] == "behave"
    text = report.text().splitlines()
    assert text[0] == "behave: 1 done, 0 skipped, 7 failed, 1 good"
    assert text[1] == r"  item 1: a value\nof two lines"
    assert text[-1] == f"  (all reasons: {tmp_path / 'out' / 'failed.jsonl'})"
    assert set(contents(tmp_path / "out")) == {"item 0.txt", ".item 0.txt.done", "failed.jsonl"}


def test_the_summary_shows_ten_failures(tmp_path):
    text = behave(tmp_path, *["value"] * 12).text().splitlines()
    assert len(text) == 13
    assert text[-2] == "  and 2 more"


def test_a_failure_that_is_put_right_leaves_the_list(tmp_path):
    report = behave(tmp_path, "value", "os", "good", allow_failures=2)
    assert report.status == 0
    assert [line["item"] for line in failed(tmp_path / "out")] == ["item 0", "item 1"]
    behave(tmp_path, "good")  # the other one is not among the items, and stays
    assert [line["item"] for line in failed(tmp_path / "out")] == ["item 1"]
    report = behave(tmp_path, "good", "good", "good")
    assert (report.skipped, report.done) == (("item 0", "item 2"), ("item 1",))
    assert "failed.jsonl" not in contents(tmp_path / "out")


def test_an_item_that_was_done_after_all_leaves_the_list(tmp_path):
    """As when a run was killed between an item's success and the list."""
    behave(tmp_path, "good", "value")
    path = tmp_path / "out/failed.jsonl"
    path.write_text(path.read_text().replace("item 1", "item 0"))
    assert behave(tmp_path, "good").skipped == ("item 0",)
    assert not path.exists()


def test_a_list_that_is_none_is_said_before_any_work(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/failed.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"failed\.jsonl, line 1: expected a JSON object"):
        behave(tmp_path, "good")
    assert set(contents(tmp_path / "out")) == {"failed.jsonl"}


def test_a_source_that_is_missing_is_a_failure(tmp_path):
    report = runs.run(Folders(), [Item("a", tmp_path / "a.mp4")], Settings(tmp_path / "out"))
    assert report.reasons == {"a": f"{tmp_path / 'a.mp4'}: there is no such file or folder."}
    assert failed(tmp_path / "out")[0]["error"] == "FileNotFoundError"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", ["full", "wrapped full"])
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_ends_the_run(tmp_path, how, workers):
    with pytest.raises(OSError, match=r"the disk of .*out is full; .* items are left to do"):
        behave(tmp_path, "good", how, *["hang" if workers else "good"] * 3, workers=workers)
    left = set(contents(tmp_path / "out"))
    assert left <= {"item 0.txt", ".item 0.txt.done"}
    assert "failed.jsonl" not in left


def test_something_not_installed_ends_the_run(tmp_path):
    with pytest.raises(ImportError, match=r"needs x\. Install it"):
        behave(tmp_path, "good", "import", "good", workers=1)
    assert set(contents(tmp_path / "out")) == {"item 0.txt", ".item 0.txt.done"}


def test_an_interrupt_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        behave(tmp_path, "good", "value", "interrupt", "good")
    names = {"item 0.txt", ".item 0.txt.done", "failed.jsonl"}
    assert set(contents(tmp_path / "out")) == names


@pytest.mark.parametrize("count", [1, 3])
def test_threads_are_shared(tmp_path, count, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(7)))
    behave(tmp_path, "threads", workers=count)
    assert (tmp_path / "out/item 0.txt").read_text() == str(7 // count)


@pytest.mark.parametrize("inside", ["", "0001.jpg"])
def test_a_source_is_never_replaced(tmp_path, inside):
    """Items of folders of frames, made into the folder they are in."""
    frame = tmp_path / "frames" / "clip" / "0001.jpg"
    frame.parent.mkdir(parents=True)
    frame.write_text("precious")
    item = Item("clip", frame.parent / inside)
    with pytest.raises(ValueError, match=r"is what 'clip' is made of.*Choose another --output"):
        runs.run(Folders(), [item], Settings(tmp_path / "frames", workers=0, overwrite=True))
    assert frame.read_text() == "precious"


def test_names_that_collide_are_found_before_any_work(videos, tmp_path):
    (videos / "a.avi").touch()
    with pytest.raises(ValueError, match=r"two items have the name 'a': .*a\.avi and .*a\.mp4"):
        run(Folders(), videos, tmp_path / "out")
    (videos / "a.avi").unlink()
    (videos / "a").mkdir()
    (videos / "a/b.mp4").touch()
    with pytest.raises(ValueError, match=r"would be 'a' and, inside it, 'a/b'"):
        run(Folders(), videos, tmp_path / "out")
    items = [Item("x", videos / "a.mp4"), Item("x.sum", videos / "a/b.mp4")]
    with pytest.raises(ValueError, match=r"would both be 'x\.sum'"):
        runs.run(Folders(), items, Settings(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["../a", "/a", "a//b", "a/../b", ".", "", ".work/a", "a/.done", "failed.jsonl", "a\0"]
)
def test_names_that_lead_astray_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="cannot be kept as"):
        runs.run(Folders(sums=False), [Item(name, tmp_path)], Settings(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_file_in_place_of_the_output(videos, tmp_path, dry_run):
    (tmp_path / "out").touch()
    for output in ("out", "out/inside"):
        with pytest.raises(NotADirectoryError, match=r"out is no folder, and .* was to be written"):
            run(Folders(), videos, tmp_path / output, dry_run=dry_run)


def test_an_output_that_takes_no_files(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(PermissionError, match=r"out cannot be written: .* takes no new files"):
        run(Folders(), videos, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_settings_are_checked(videos, tmp_path):
    for settings in ({"workers": -1}, {"allow_failures": -1}, {"engine": "slurm"}):
        with pytest.raises(ValueError, match="Received: "):
            run(Folders(), videos, tmp_path / "out", **settings)
    with pytest.raises(TypeError, match="not JSON serializable"):
        run(Folders(seed=Path("x")), videos, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("length", "failures"), [(244, 0), (251, 0), (252, 1)])
def test_very_long_names(tmp_path, length, failures):
    """NAME.sum of 255 bytes is the longest there is; its marker has a name of its own."""
    (tmp_path / "a.mp4").touch()
    item = Item("é" * (length // 2) + "a" * (length % 2), tmp_path / "a.mp4")
    for state in ("done", "skipped"):
        report = runs.run(Folders(), [item], Settings(tmp_path / "out", workers=0))
        assert len(report.failed) == failures
        if failures:
            assert "File name too long" in report.reasons[item.name]
            assert set(contents(tmp_path / "out")) == {"failed.jsonl"}
        else:
            assert getattr(report, state) == (item.name,)


def test_names_that_are_no_unicode(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    try:
        (tmp_path / f"{name}.mp4").touch()
    except OSError:
        pytest.skip("this file system takes Unicode only")
    items = [Item(name, tmp_path / f"{name}.mp4"), Item(f"{name}2", tmp_path / f"{name}2.mp4")]
    report = runs.run(Folders(), items, Settings(tmp_path / "out", workers=1))
    assert (report.done, report.failed) == ((name,), (f"{name}2",))
    assert failed(tmp_path / "out")[0]["item"] == f"{name}2"
    assert r"caf\udce92: " in report.text()


class Others:
    """Another process that is at an item for a while: until this one has waited three times."""

    def __init__(self, monkeypatch, out, command, name, end):
        self.out, self.pauses, self._end = out, 0, end
        self._claim = making.claims.claim(out / making.CLAIMS, making.key(command, name))
        self.theirs = out / ".work" / f"{making.key(command, name)}-00"
        self.theirs.mkdir(parents=True)
        monkeypatch.setattr(runs, "time", types.SimpleNamespace(sleep=self._sleep))

    def _sleep(self, seconds):
        assert 0 < seconds <= 1
        self.pauses += 1
        if self.pauses == 3:
            assert self.theirs.exists()
            self._claim.__exit__(None, None, None)
            self._end()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", ["done", "died"])
def test_what_others_are_at_is_waited_for(videos, tmp_path, monkeypatch, how, workers):
    out, log = tmp_path / "out", tmp_path / "log"

    def end():
        assert len(list(out.rglob("*.sum"))) == 2  # the others are not kept waiting
        if how == "done":
            runs.run(Folders(), [Item("a", videos / "a.mp4")], Settings(out, workers=0))

    others = Others(monkeypatch, out, "make_folders", "a", end)
    report = run(Folders(log=log), videos, out, workers=workers)
    assert others.pauses == 3
    assert (len(report.done), len(report.skipped)) == ((2, 1) if how == "done" else (3, 0))
    assert (report.status, report.counts) == (0, {"files": 9})
    assert len(log.read_text().splitlines()) == len(report.done)
    run(Folders(), videos, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_ctrl_c_ends_the_wait(videos, tmp_path, monkeypatch):
    def end():
        raise KeyboardInterrupt

    others = Others(monkeypatch, tmp_path / "out", "make_folders", "a", end)
    with pytest.raises(KeyboardInterrupt):
        run(Folders(), videos, tmp_path / "out")
    assert others.pauses == 3
    assert len(list((tmp_path / "out").rglob("*.sum"))) == 2


def test_what_others_give_up_is_done_at_the_end(videos, tmp_path, monkeypatch):
    """They claimed an item before this run came to it, and died while it was at the next."""
    out, made = tmp_path / "out", Folders.make
    theirs = making.claims.claim(out / making.CLAIMS, making.key("make_folders", "a"))

    def make(self, item, temporary):
        if item.name != "a":
            theirs.__exit__(None, None, None)
            monkeypatch.setattr(Folders, "make", made)
        return made(self, item, temporary)

    monkeypatch.setattr(Folders, "make", make)
    report = run(Folders(), videos, out)
    assert len(report.done) == 3


def test_what_others_are_at_stays_in_the_list_of_failures(tmp_path, monkeypatch):
    behave(tmp_path, "value")
    out = tmp_path / "out"

    def end():
        assert [line["item"] for line in failed(out)] == ["item 0"]

    others = Others(monkeypatch, out, "behave", "item 0", end)
    assert behave(tmp_path, "value").failed == ("item 0",)
    assert others.pauses == 3


def test_another_run_with_other_parameters_is_refused(videos, tmp_path, monkeypatch):
    """It would make anew what this one has made, and this one that of it."""
    out, made, said = tmp_path / "out", Folders.make, []

    def make(self, item, temporary):
        if not said:  # another run, while this one is at an item
            said.append(1)
            with pytest.raises(ValueError, match="at work on it, with other parameters") as error:
                run(Folders(seed=1, files=2, log=tmp_path / "log"), videos, out)
            said.append(str(error.value))
            others = [Item("of another command", videos / "a.mp4")]
            runs.run(Folders(seed=1, command="other"), others, Settings(out, workers=0))
        return made(self, item, temporary)

    monkeypatch.setattr(Folders, "make", make)
    assert len(run(Folders(), videos, out).done) == 3
    assert f"{out}: another make_folders is at work on it" in said[1]
    assert "this one has files 2 and not 3; seed 1 and not 0. Wait for its end" in said[1]
    assert not (tmp_path / "log").exists()
    assert not {".work", ".claims", "failed.jsonl"} & set(contents(out))
    assert len(run(Folders(seed=1, files=2), videos, out).replaced) == 3


def test_differences_of_parameters():
    ours = {"a": 1, "params": {"warps": 5, "scales": 5}, "engine": "torch", "new": None}
    theirs = {"a": 1, "params": {"warps": 2, "scales": 5}, "engine": "numba", "old": [1]}
    assert markers.differences(ours, theirs) == [
        'engine "torch" and not "numba"', "old null and not [1]", "params.warps 5 and not 2",
    ]  # fmt: skip


def test_what_was_done_before_the_claim_is_not_done_again(videos, tmp_path, monkeypatch):
    """Another run ends with an item just after this one has found it missing."""
    out, log, claim = tmp_path / "out", tmp_path / "log", making.claims.claim
    item, task = Item("a", videos / "a.mp4"), Folders(log=tmp_path / "log")

    def late(folder, key):
        monkeypatch.setattr(making.claims, "claim", claim)
        assert runs.run(task, [item], Settings(out, workers=0)).done == ("a",)
        return claim(folder, key)

    monkeypatch.setattr(making.claims, "claim", late)
    assert runs.run(task, [item], Settings(out, workers=0)).skipped == ("a",)
    assert len(log.read_text().splitlines()) == 1


def test_what_appeared_meanwhile_is_kept(videos, tmp_path, monkeypatch):
    """Should the locks ever let two through, the first one's targets stay."""
    out, item, first = tmp_path / "out", Item("a", videos / "a.mp4"), []

    def make(self, item, temporary):
        if not first:  # another run, inside this one, that no lock keeps out
            first.append(1)
            unlocked = contextlib.nullcontext()
            monkeypatch.setattr(making.claims, "claim", lambda folder, key: unlocked)
            monkeypatch.setattr(making, "_discard", lambda output, name: None)
            assert runs.run(Folders(), [item], Settings(out, workers=0)).done == ("a",)
            first.append((out / "a").stat().st_ino)
            first.append((out / "a.sum").stat().st_ino)
        return made(self, item, temporary)

    made = Folders.make
    monkeypatch.setattr(Folders, "make", make)
    report = runs.run(Folders(), [item], Settings(out, workers=0))
    assert report.failed == ()
    assert first[1:] == [(out / "a").stat().st_ino, (out / "a.sum").stat().st_ino]


def test_a_file_without_its_marker_never_appears(videos, tmp_path, monkeypatch):
    """Stopped at any step of moving targets into place, the next run ends the same."""
    item = Item("a", videos / "a.mp4")
    runs.run(Folders(), [item], Settings(tmp_path / "fresh", workers=0))
    rename, replace, steps = os.rename, os.replace, []

    class Stopped(BaseException):
        pass

    def stopping(call):
        def step(*arguments):
            steps.append(1)
            if len(steps) > allowed:
                raise Stopped
            call(*arguments)

        return step

    for allowed in range(6):
        out = tmp_path / f"out{allowed}"
        runs.run(Folders(seed=1), [item], Settings(out, workers=0))
        steps.clear()
        monkeypatch.setattr(os, "rename", stopping(rename))
        monkeypatch.setattr(os, "replace", stopping(replace))
        stopped = False
        try:
            runs.run(Folders(), [item], Settings(out, workers=0))
        except Stopped:
            stopped = True
        assert stopped == (allowed < 5)
        monkeypatch.setattr(os, "rename", rename)
        monkeypatch.setattr(os, "replace", replace)
        assert runs.run(Folders(), [item], Settings(out, workers=0)).failed == ()
        assert contents(out) == contents(tmp_path / "fresh")


def test_the_list_of_failures_is_shared(tmp_path):
    """Four writers at once, and no line is lost."""

    def write(number):
        listed = failures.Failures(tmp_path, "test")
        for k in range(20):
            item = Item(f"{number}-{k:02d}", tmp_path)
            listed.note(item, making.failure(item, ValueError("x")))
            listed.flush()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [line["item"] for line in failed(tmp_path)]
    assert names == sorted(f"{number}-{k:02d}" for number in range(4) for k in range(20))


COMMAND = '''
"""A command as they all are: flags at import, the task in a module of its own."""
from absl import flags
from common import command
from common.work import inputs, runs
from common.work._tasks_for_tests import Folders
VIDEOS = flags.DEFINE_string("videos", None, "Where they are.")
OUT = flags.DEFINE_string("out", None, "Where they go.")
def main(argv):
    report = runs.run(Folders(), inputs.items(VIDEOS.value), runs.Settings(OUT.value_path(), 2))
    print(report.text())
    return report.status
if __name__ == "__main__":
    command.run(main)
'''.replace("OUT.value_path()", "__import__('pathlib').Path(OUT.value)")

SCRIPT = """
import sys
from common import cli
cli.COMMANDS["tiny"] = ("a test", "tiny.command_of_ours")
if __name__ == "__main__":
    sys.exit(cli.main())
"""


@pytest.mark.parametrize("start", [["-m", "tiny.command_of_ours"], ["script", "tiny"]])
def test_commands_start_workers(videos, tmp_path, start):
    """`python -m PACKAGE.COMMAND` and the console script; workers import either again."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/__init__.py").touch()
    (tmp_path / "tiny/command_of_ours.py").write_text(COMMAND)
    (tmp_path / "script").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, *start, f"--videos={videos}", "--out=out"],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "make_folders: 3 done, 0 skipped, 0 failed, 9 files\n"
    run(Folders(), videos, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
