"""A run: what is done, skipped, made anew, refused and listed; kills, and several at a time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from common.jobs import locks, runs
from common.jobs import task as tasks
from common.jobs.conftest import NAMES
from common.jobs.task import Item
from common.testing.tasks import Folders, contents, failed, run, settings, states, told

ROOT = Path(__file__).parents[2]


@pytest.fixture
def item(videos):
    return Item("a", videos / "a.mp4")


def test_all_is_made_then_skipped_wherever_it_is(videos, tmp_path):
    """With what file managers leave in it, and with numbers that `count_frames` writes anew."""
    out = tmp_path / "not/there/yet"
    outcomes = run(Folders(), videos, out, workers=2)
    assert [each.name for each in outcomes] == ["a", "b/x y%d[1]{name}(;&!)", "c/été 日本"]
    summary = runs.summary("make_folders", outcomes, settings(out))
    assert summary == "make_folders: 3 done, 0 skipped, 0 failed, 9 files"
    made = contents(out)
    files = {f"a/image_{k:05d}.bin" for k in range(3)}
    assert {name for name in made if name.startswith(("a", ".", "failed"))} == {
        "a", "a/.done", *files, "a.sum", ".a.sum.done",
    }  # fmt: skip
    for engine in ("local", "threads"):
        run(Folders(), videos, tmp_path / engine, workers=0 if engine == "local" else 2)
        assert contents(tmp_path / engine) == made
    shutil.copytree(out, tmp_path / "copy")
    (tmp_path / "copy/a/.hidden").mkdir()
    (tmp_path / "copy/a/.hidden/file").touch()
    videos.rename(tmp_path / "moved")
    log = tmp_path / "log"
    outcomes = run(Folders(log=log), tmp_path / "moved", tmp_path / "copy", overwrite=True)
    assert (states(outcomes), log.exists()) == (["skipped"] * 3, False)
    assert outcomes[0].counts == {"files": 3}


def test_dry_run_touches_nothing(videos, item, tmp_path):
    out = tmp_path / "out"
    assert states(run(Folders(), videos, out, dry_run=True)) == ["done"] * 3
    assert not out.exists()
    run(Folders(), [item], out)
    before = contents(out)
    items = [item, Item("b", item.source), Item("gone", videos / "gone.mp4")]
    assert states(run(Folders(), items, out, dry_run=True)) == ["skipped", "done", "failed"]
    outcomes = run(Folders(seed=1), items, out, dry_run=True)
    summary = runs.summary("make_folders", outcomes, settings(out, dry_run=True))
    assert summary.splitlines() == [
        "make_folders: 2 to do (1 in place of what was there), 0 skipped, 1 failed",
        f"  gone: {videos / 'gone.mp4'}: there is no such file or folder.",
    ]
    assert contents(out) == before


def test_a_marker_says_what_was_done(item, tmp_path):
    run(Folders(seed=4), [item], tmp_path)
    marker = json.loads((tmp_path / "a/.done").read_text())
    assert marker.pop("source")["name"] == "a.mp4"
    assert len(marker.pop("hash")) == 64
    assert marker == {
        "command": "make_folders", "counts": {"files": 3}, "parameters": {"seed": 4},
        "span": [None, None], "fps": None, "also": [],
        "files": {f"image_{k:05d}.bin": 3200 for k in range(3)},
    }  # fmt: skip
    assert json.loads((tmp_path / ".a.sum.done").read_text())["files"] == {"": 64}


@pytest.mark.parametrize(
    "change",
    ["parameters", "source", "also", "span", "rate", "a file gone", "a file cut", "a target gone"],
)
def test_what_is_done_differently_is_done_again(videos, item, tmp_path, change):
    out, task = tmp_path / "out", Folders()
    run(task, [item], out)
    if change == "parameters":
        task = Folders(seed=1)
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
    assert states(run(task, [item], out)) == ["done" if change == "a target gone" else "replaced"]
    run(task, [item], tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_what_is_made_of_a_folder_depends_on_its_frames_and_its_marker(tmp_path):
    """Not on `n_frames`, which `count_frames` may write between two runs."""

    def digest():
        return tasks.marker(Folders(), Item("a", tmp_path))["hash"]

    for k in range(1, 4):
        (tmp_path / f"image_{k:05d}.jpg").write_text(f"frame {k}")
    before = digest()
    (tmp_path / "n_frames").write_text("3")
    assert digest() == before
    (tmp_path / "image_00003.jpg").write_text("frame X")
    found = {before, digest()}
    (tmp_path / "image_00002.jpg").unlink()
    found.add(digest())
    (tmp_path / ".done").write_text('{"hash": "extracted anew"}')
    assert len({*found, digest()}) == 4


# What others put there


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a", "precious"),
        ("a/notes.txt", "added to what is done"),
        ("a/u/frame000001.jpg", "added"),
        ("a.sum", "changed"),
        *(("a/.done", text) for text in
          ("junk", "[]", "[" * 99999, '{"command":"other"}', '{"files":[1]}', '{"counts":7}')),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_not_ours_stays(item, tmp_path, path, content, seed):
    """Whether it is in the way, in what is done or in what has to be made anew."""
    out = tmp_path / "out"
    if path == "a":
        out.mkdir()
    else:
        run(Folders(), [item], out)
    (out / path).parent.mkdir(exist_ok=True)
    (out / path).write_text(content)
    before = contents(out)
    (outcome,) = run(Folders(seed=seed), [item], out)
    assert "a" in outcome.reason and outcome.reason.endswith(
        "exists and was not made by make_folders, or was changed since; it stays as it is. "
        "--overwrite replaces it."
    )
    assert [line["reason"] for line in failed(out)] == [outcome.reason]
    (out / "failed.jsonl").unlink()
    assert contents(out) == before
    assert states(run(Folders(seed=seed), [item], out, overwrite=True)) == ["replaced"]
    run(Folders(seed=seed), [item], tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


@pytest.mark.parametrize("names", [("a", "a"), ("x", "x.sum"), ("../a",), ("/a",), ("a/../b",)])
def test_names_that_collide_or_lead_astray(tmp_path, names):
    items = [Item(name, tmp_path / f"{k}.mp4") for k, name in enumerate(names)]
    with pytest.raises(ValueError, match=r"would both be|leads out of"):
        run(Folders(), items, tmp_path / "out")
    with pytest.raises(ValueError, match=r"'a' would replace .*Choose another --output"):
        run(Folders(), [Item("a", tmp_path / "a/1.jpg")], tmp_path, overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file is not a folder"):
        run(Folders(), items[:1], tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# What fails


def test_failures_are_listed_until_they_are_put_right(tmp_path, capsys):
    out = tmp_path / "out"
    items = [*told(tmp_path, "good", "value", "bug", "kill"), Item("é" * 128, tmp_path / "0.mp4")]
    how = settings(out, workers=2, allow_failures=3)
    assert runs.main(Folders(), items, how) == 1
    text = capsys.readouterr().out.splitlines()
    assert text[0] == "make_folders: 1 done, 0 skipped, 4 failed, 3 files"
    assert text[1] == r"  item 1: a value\nof two lines"
    assert text[-1] == f"  (all reasons: {out}/failed.jsonl)"
    reasons = {line["item"]: line["reason"] for line in failed(out)}
    assert reasons["item 2"].startswith("KeyError('x') (tasks.py:")
    assert reasons["item 3"] == "the worker process died (signal 9)"
    assert "File name too long" in reasons["é" * 128]
    assert {name.partition("/")[0] for name in contents(out)} == {
        "item 0", "item 0.sum", ".item 0.sum.done", "failed.jsonl",
    }  # fmt: skip
    items = told(tmp_path, "good", "good", "value")[:2]  # the others are not asked, and stay
    assert states(run(Folders(), items, out)) == ["skipped", "done"]
    assert {line["item"] for line in failed(out)} == {*reasons} - {"item 1"}
    many = run(Folders(), told(tmp_path, *["value"] * 12), tmp_path / "many")
    assert runs.summary("x", many, settings(out)).splitlines()[-2] == "  and 2 more"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ("full", OSError, "No space left"),
        ("import", ImportError, "needs x"),
        ("interrupt", KeyboardInterrupt, None),
    ],
)
def test_what_ends_a_run_leaves_nothing_behind(tmp_path, how, error, text, workers):
    if how == "interrupt" and workers:
        pytest.skip("which is of this process")
    items = told(tmp_path, "good", how, *["hang" if workers else "good"] * 3)
    with pytest.raises(error, match=text):
        run(Folders(), items, tmp_path / "out", workers=workers)
    assert {name.partition("/")[0] for name in contents(tmp_path / "out")} <= {
        "item 0", "item 0.sum", ".item 0.sum.done",
    }  # fmt: skip


# Kills, and other runs on the same folder


def _dies_at(step, function):
    """Whether `function`, in a forked process, dies at its `step`-th change of the file system."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = [step]

    def hook(event, arguments):
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"):
            left[0] -= 1
            if not left[0]:
                os._exit(9)

    try:
        sys.addaudithook(hook)
        function()
    finally:
        os._exit(0)


def test_a_death_at_any_step(tmp_path, monkeypatch):
    """An item is there, made with other parameters; one fails."""
    monkeypatch.setattr(runs, "sync", lambda path: None)  # this is no power cut
    items = [Item(name, tmp_path / f"{name}.mp4") for name in ("a", "gone")]
    items[0].source.write_text("a")
    run(Folders(seed=1), items[:1], tmp_path / "before")
    run(Folders(), items, tmp_path / "fresh")
    before, fresh = contents(tmp_path / "before"), contents(tmp_path / "fresh")
    step, died = 0, True
    while died:
        step += 1
        out = tmp_path / str(step)
        shutil.copytree(tmp_path / "before", out)
        died = _dies_at(step, lambda out=out: run(Folders(), items, out))
        there = contents(out)
        for name, content in there.items():  # whole, of this run or of the one before
            if not name.startswith(".i3d-"):
                assert content in (before.get(name, ...), fresh.get(name, ...)), (step, name)
        if "a" in there:
            made = contents(out / "a")
            assert made in (contents(tmp_path / each / "a") for each in ("before", "fresh"))
        assert "a.sum" not in there or ".a.sum.done" in there
        assert states(run(Folders(), items, out))[1] == "failed"
        assert contents(out) == fresh, step
    assert step > 25


RUN = """
import signal, sys
from pathlib import Path
from common.testing.tasks import Folders, run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
pause = float(sys.argv[1])
run(Folders(pause=pause, log=Path("log")), Path("videos"), Path("out"), workers=2)
"""


def _start(folder, pause=0.004):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(pause)], cwd=folder, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def _until(condition):
    """Waits for something that happens soon; half a minute is for a busy machine."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise TimeoutError(condition)


def _gone(pid):
    """Whether a process has ended: its parent may not have asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path, number):
    """In the middle of an item; the next run removes what a killed one leaves."""
    out, log = tmp_path / "out", tmp_path / "log"
    told(tmp_path / "videos", "hang", "hang", "hang")
    process = _start(tmp_path)
    _until(lambda: log.exists() and len(log.read_text().splitlines()) == 2)
    os.killpg(process.pid, number)
    text = process.communicate(timeout=60)[1]
    assert process.returncode == -number
    for line in log.read_text().splitlines():
        _until(lambda line=line: _gone(line.split()[0]))
    if number == signal.SIGINT:
        assert text.endswith("KeyboardInterrupt\n") and text.count("Traceback") == 1
        assert contents(out) == {}
    else:
        assert text == ""
        assert len([*out.glob(".i3d-*.tmp")]) == len([*out.glob(".i3d-*.lock")]) == 2
    told(tmp_path / "videos", "good", "good", "good")
    run(Folders(), tmp_path / "videos", out)
    run(Folders(), tmp_path / "videos", tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_two_runs_share_a_folder(tmp_path):
    """Each item is made once, whoever makes it, and all of them end well."""
    told(tmp_path / "videos", *["good"] * 20)
    for process in [_start(tmp_path, pause=0.1) for _ in range(2)]:  # alone it takes seconds
        assert (process.communicate()[1], process.returncode) == ("", 0)
    lines = [line.split(" ", 1) for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(name for _, name in lines) == sorted(map(str, range(20)))
    assert len({pid for pid, _ in lines}) > 2  # more than one run did some
    run(Folders(), tmp_path / "videos", tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", ["done", "died"])
def test_an_item_that_others_make_is_waited_for(videos, tmp_path, how, workers):
    """The other items are not kept waiting; what others fail at is made here."""
    out, log, theirs = tmp_path / "out", tmp_path / "log", tmp_path / "theirs"
    run(Folders(), videos, theirs)
    out.mkdir()
    held = threading.Event()

    def others():
        with locks.held(out / f".i3d-{runs.key('make_folders', 'a')}.lock"):
            held.set()
            _until(lambda: all((out / f"{name}.sum").exists() for name in NAMES if name != "a"))
            if how == "done":
                for name in ("a", "a.sum", ".a.sum.done"):
                    (theirs / name).rename(out / name)

    thread = threading.Thread(target=others)
    thread.start()
    held.wait(30)
    outcomes = run(Folders(log=log), videos, out, workers=workers)
    thread.join()
    assert states(outcomes) == ["skipped" if how == "done" else "done", "done", "done"]
    assert len(log.read_text().splitlines()) == states(outcomes).count("done")
    run(Folders(), videos, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")
