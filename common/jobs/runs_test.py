"""A run: what is done, skipped, refused and listed, and several runs on one folder."""

import os
import threading
import time
from pathlib import Path

import pytest

from common.jobs import inputs, run_item, runs
from common.jobs.progress import Progress
from common.jobs.runs import Item, Settings
from common.testing.tasks import Folders, behave, contents, failed, run, run_one

full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


def test_all_is_made_then_skipped(videos, tmp_path):
    out = tmp_path / "not/there/yet"
    report = run(Folders(), videos, out, workers=2)
    assert report.done == ("a", "b/x y%d[1]{name}(;&!)", "c/été 日本")
    assert (report.skipped, report.failed, report.status) == ((), (), 0)
    assert report.text() == "make_folders: 3 done, 0 skipped, 0 failed, 9 files"
    made = contents(out)
    files = {f"a/image_{k:05d}.bin" for k in range(3)}
    assert {name for name in made if name.startswith(("a", ".a", ".i3d", "failed"))} == {
        "a", "a/.done", *files, "a.sum", ".a.sum.done",
    }  # fmt: skip
    run(Folders(), videos, tmp_path / "here")
    assert contents(tmp_path / "here") == made
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    report = run(Folders(log=tmp_path / "log"), videos, out, overwrite=True)
    assert (report.done, len(report.skipped), report.counts) == ((), 3, {"files": 9})
    assert not (tmp_path / "log").exists()
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def test_dry_run_touches_nothing(videos, tmp_path):
    out = tmp_path / "out"
    report = run(Folders(), videos, out, dry_run=True)
    assert report.text() == "make_folders: 3 to do, 0 skipped, 0 failed"
    assert not out.exists()
    items = inputs.items(videos)
    run_one(Folders(), items[0], out)
    run_one(Folders(seed=1), items[1], out)
    before = contents(out)
    items = (*items, Item("gone", videos / "gone.mp4"))
    report = runs.run(Folders(), items, Settings(out, dry_run=True))
    assert (report.skipped, report.replaced) == (("a",), ("b/x y%d[1]{name}(;&!)",))
    assert (report.done, report.failed) == ((*report.replaced, "c/été 日本"), ("gone",))
    assert report.text().startswith(
        "make_folders: 2 to do (1 in place of what was there), 1 skipped, 1 failed, 3 files\n  gone"
    )
    assert contents(out) == before


@pytest.mark.parametrize("count", [1, 3])
def test_threads_are_shared(tmp_path, count, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(7)))
    behave(tmp_path, "threads", workers=count)
    assert (tmp_path / "out/item 0.txt").read_text() == str(7 // count)


@pytest.mark.parametrize("inside", ["", "0001.jpg"])
def test_a_source_is_never_replaced(tmp_path, inside):
    """Items of folders of frames, made into the folder they are in."""
    item = Item("clip", tmp_path / "frames/clip" / inside)
    with pytest.raises(ValueError, match=r"is what 'clip' is made of.*Choose another --output"):
        run_one(Folders(), item, tmp_path / "frames", overwrite=True)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("a", "a"), r"0\.mp4 and of .*1\.mp4 would both be 'a'"),
        (("a", "a/b"), "would be 'a' and, inside it, 'a/b'"),
        (("x", "x.sum"), r"would both be 'x\.sum'"),
        *(((name,), "cannot be kept as")
          for name in ("../a", "/a", "a//b", "a/../b", ".", "", ".i3d-x.tmp/a", "a/.done",
                       "failed.jsonl", "a\0")),
    ],
)  # fmt: skip
def test_names_that_collide_or_lead_astray(tmp_path, names, text):
    items = [Item(name, tmp_path / f"{k}.mp4") for k, name in enumerate(names)]
    with pytest.raises(ValueError, match=text):
        runs.run(Folders(), items, Settings(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written(videos, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for output in ("file", "file/inside"):
        with pytest.raises(NotADirectoryError, match=r"file is not a folder, and .* to be written"):
            run(Folders(), videos, tmp_path / output, dry_run=True)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(PermissionError, match=r"out cannot be written: .* takes no new files"):
        run(Folders(), videos, tmp_path / "out")
    with pytest.raises(TypeError, match="not JSON serializable"):
        run(Folders(seed=Path("x")), videos, videos / "out")
    assert not (videos / "out").exists()


@pytest.mark.parametrize(("length", "failures"), [(244, 0), (251, 0), (252, 1)])
def test_very_long_names(tmp_path, length, failures):
    """NAME.sum of 255 bytes is the longest there is; its marker has a name of its own."""
    (tmp_path / "a.mp4").touch()
    item = Item("é" * (length // 2) + "a" * (length % 2), tmp_path / "a.mp4")
    for state in ("done", "skipped"):
        report = run_one(Folders(), item, tmp_path / "out")
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


# What fails


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
    assert reasons[2].startswith("KeyError: 'x' (tasks.py:")
    assert reasons[3].startswith("MemoryError: no text (tasks.py:")
    assert reasons[4].startswith("RuntimeError: behave made no item 5.txt (run_item.py:")
    assert reasons[5] == "the worker process ended (exit status 3)"
    assert reasons[6] == "the worker process died (signal 9)"
    assert (lines[0]["source"], lines[0]["command"]) == (str(tmp_path / "1.how"), "behave")
    text = report.text().splitlines()
    assert text[0] == "behave: 1 done, 0 skipped, 7 failed, 1 good"
    assert text[1] == r"  item 1: a value\nof two lines"
    assert text[-1] == f"  (all reasons: {tmp_path / 'out' / 'failed.jsonl'})"
    assert set(contents(tmp_path / "out")) == {"item 0.txt", ".item 0.txt.done", "failed.jsonl"}
    text = behave(tmp_path, *["value"] * 12).text().splitlines()
    assert (len(text), text[-2]) == (13, "  and 2 more")


def test_a_failure_that_is_put_right_leaves_the_list(tmp_path):
    report = behave(tmp_path, "value", "os", "good", allow_failures=2)
    assert report.status == 0
    assert [line["item"] for line in failed(tmp_path / "out")] == ["item 0", "item 1"]
    behave(tmp_path, "good")  # the other one is not among the items, and stays
    assert [line["item"] for line in failed(tmp_path / "out")] == ["item 1"]
    path = tmp_path / "out/failed.jsonl"  # as if killed after an item's success
    path.write_text(path.read_text().replace("item 1", "item 0"))
    report = behave(tmp_path, "good", "good", "good")
    assert (report.skipped, report.done) == (("item 0", "item 2"), ("item 1",))
    assert not path.exists()


def test_a_list_that_is_none_is_said_before_any_work(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/failed.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"failed\.jsonl, line 1: expected a JSON object"):
        behave(tmp_path, "good")
    assert set(contents(tmp_path / "out")) == {"failed.jsonl"}


@full
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", ["full", "wrapped full"])
def test_a_full_disk_ends_the_run(tmp_path, how, workers):
    with pytest.raises(OSError, match=r"the disk of .*out is full; .* items are left to do"):
        behave(tmp_path, "good", how, *["hang" if workers else "good"] * 3, workers=workers)
    assert set(contents(tmp_path / "out")) <= {"item 0.txt", ".item 0.txt.done"}


@pytest.mark.parametrize(("how", "error"), [("import", ImportError), ("interrupt", BaseException)])
def test_what_ends_a_run_leaves_nothing_behind(tmp_path, how, error):
    with pytest.raises(error):
        behave(tmp_path, "good", "value", how, "good")
    names = {"item 0.txt", ".item 0.txt.done", "failed.jsonl"}
    assert set(contents(tmp_path / "out")) == names


def test_the_list_of_failures_is_shared(tmp_path):
    """Four writers at once, and no line is lost."""
    names = [f"{number}-{k:02d}" for number in range(4) for k in range(10)]

    def write(number):
        for name in names[10 * number : 10 * number + 10]:
            run_one(Folders(), Item(name, tmp_path / "gone"), tmp_path / "out")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line["item"] for line in failed(tmp_path / "out")] == names


# Other runs on the same folder


@pytest.fixture
def others(monkeypatch, tmp_path):
    """A function: another process makes an item until this run waits for it, then calls `end`."""

    def begin(command, name, end):
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        key = run_item.key(command, name)
        (out / f".i3d-{key}.tmp").mkdir()
        held, end_of_it = threading.Event(), threading.Event()

        def hold():
            with run_item.lock(out, key):
                held.set()
                end_of_it.wait(30)
                time.sleep(0.1)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(30)

        def wait(self, count):
            if count:
                try:
                    end()
                finally:
                    end_of_it.set()

        monkeypatch.setattr(Progress, "wait", wait)
        return thread

    return begin


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", ["done", "died"])
def test_an_item_that_others_make_is_waited_for(videos, tmp_path, others, how, workers):
    out, log, theirs = tmp_path / "out", tmp_path / "log", tmp_path / "theirs"
    run(Folders(), videos, theirs)

    def end():
        assert len(list(out.rglob("*.sum"))) == 2  # the others are not kept waiting
        if how == "done":
            next(out.glob(".i3d-*.tmp")).rmdir()
            for name in ("a", "a.sum", ".a.sum.done"):
                (theirs / name).rename(out / name)

    thread = others("make_folders", "a", end)
    report = run(Folders(log=log), videos, out, workers=workers)
    thread.join()
    assert (len(report.done), len(report.skipped)) == ((2, 1) if how == "done" else (3, 0))
    assert (report.status, report.counts) == (0, {"files": 9})
    assert len(log.read_text().splitlines()) == len(report.done)
    run(Folders(), videos, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_ctrl_c_ends_the_wait(videos, tmp_path, others):
    def end():
        raise KeyboardInterrupt

    others("make_folders", "a", end)
    with pytest.raises(KeyboardInterrupt):
        run(Folders(), videos, tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.sum"))) == 2


def test_other_commands_and_other_items_are_no_matter(videos, tmp_path):
    out, key = tmp_path / "out", run_item.key("other", "a")
    out.mkdir()
    with run_item.lock(out, key):
        (out / f".i3d-{key}.tmp").mkdir()
        assert len(run(Folders(), videos, out).done) == 3
        assert (out / f".i3d-{key}.tmp").is_dir()  # its lock is held
    runs.run(Folders(), [], Settings(out))
    assert not any(name.startswith(".i3d") for name in contents(out))
