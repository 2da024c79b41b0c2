"""A run: what is done and skipped, its settings, names that collide or lead astray."""

import os
from pathlib import Path

import pytest

from common.jobs import inputs, runs
from common.jobs.runs import Item, Settings
from common.testing.tasks import Folders, behave, contents, failed, run


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
    assert not any(name.startswith((".i3d-", "failed")) for name in made)
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
    "name",
    ["../a", "/a", "a//b", "a/../b", ".", "", ".i3d-x.tmp/a", "a/.done", "failed.jsonl", "a\0"],
)
def test_names_that_lead_astray_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="cannot be kept as"):
        runs.run(Folders(sums=False), [Item(name, tmp_path)], Settings(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_file_in_place_of_the_output(videos, tmp_path, dry_run):
    (tmp_path / "out").touch()
    for output in ("out", "out/inside"):
        with pytest.raises(
            NotADirectoryError, match=r"out is not a folder, and .* was to be written"
        ):
            run(Folders(), videos, tmp_path / output, dry_run=dry_run)


def test_an_output_that_takes_no_files(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(PermissionError, match=r"out cannot be written: .* takes no new files"):
        run(Folders(), videos, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_parameters_must_be_json(videos, tmp_path):
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
