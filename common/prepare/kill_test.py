"""Runs that are killed, interrupted, or share a folder: repeated, they end in the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.jobs import run_item, runs
from common.jobs.runs import Item, Settings
from common.testing import torture
from common.testing.tasks import Folders, behave, contents, run

ROOT = Path(__file__).parents[2]

SHARING = """
from pathlib import Path
from common.jobs import inputs, runs
from common.testing.tasks import Folders
task = Folders(files=5, pause=0.004, log=Path("log"))
raise SystemExit(runs.run(task, inputs.items("videos"), runs.Settings(Path("out"), 2)).status)
"""
HANGING = """
import signal
from pathlib import Path
from common.testing.tasks import behave
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
behave(Path.cwd(), *["hang"] * 9, workers=2)
"""

FLOW = ("--tvl1=warps=1", "--tvl1=scales=1")
COMMANDS = {
    "extract_frames": (),
    "extract_flow": ("--short_side=24", *FLOW),
    "extract_flow --layout=uv": ("--short_side=24", "--layout=uv", *FLOW),
    "to_numpy": FLOW,
    "preview": ("--max_frames=10", *FLOW),
    "check": (),
}


def _start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=folder, start_new_session=True, text=True,
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


def _dies_at(step, function):
    """Calls `function` in a forked process that dies at its `step`-th change of the file system.

    Returns:
        Whether it died; otherwise it had fewer steps.
    """
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
    """An item is there, made with other parameters; one is new; one fails."""
    monkeypatch.setattr(run_item, "sync", lambda path: None)  # this is no power cut
    items = [Item(name, tmp_path / f"{name}.mp4") for name in ("a", "b", "gone")]
    for item in items[:2]:
        item.source.write_text(item.name)

    def make(out, items=items, seed=0):
        return runs.run(Folders(files=2, seed=seed), items, Settings(tmp_path / out, workers=0))

    make("before", items[:1], 1)
    make("fresh")
    before, fresh = contents(tmp_path / "before"), contents(tmp_path / "fresh")
    step, died = 0, True
    while died:
        step += 1
        out = tmp_path / str(step)
        shutil.copytree(tmp_path / "before", out)
        died = _dies_at(step, lambda out=out: make(out))
        there = contents(out)
        for name, content in there.items():  # whole, of this make or of the one before
            if not name.startswith(".i3d-"):
                assert content in (before.get(name, ...), fresh.get(name, ...)), (step, name)
        for target in ("a", "b"):
            if target in there:
                made = contents(out / target)
                assert made in (contents(tmp_path / each / target) for each in ("before", "fresh"))
            assert f"{target}.sum" not in there or f".{target}.sum.done" in there
        assert make(out).failed == ("gone",)
        assert contents(out) == fresh, step
    assert step > 25


@pytest.fixture
def hanging(tmp_path):
    """A run in the middle of two items, each in a worker, and the workers."""
    (tmp_path / "notes").mkdir()
    process = _start(tmp_path, "-c", HANGING)
    _until(lambda: len([p for p in (tmp_path / "notes").iterdir() if p.read_text()]) == 2)
    return process, [int(note.read_text()) for note in (tmp_path / "notes").iterdir()]


def test_workers_die_with_a_killed_parent(tmp_path, hanging):
    """In the middle of an item; the next run removes what they leave."""
    process, workers = hanging
    process.kill()
    process.communicate()
    for pid in workers:
        _until(lambda pid=pid: _gone(pid))
    assert len(list((tmp_path / "out").glob(".i3d-*.tmp"))) == 2
    assert len(list((tmp_path / "out").glob(".i3d-*.lock"))) == 2
    assert behave(tmp_path, "good").status == 0
    assert set(contents(tmp_path / "out")) == {"item 0.txt", ".item 0.txt.done"}


def test_ctrl_c_ends_all_and_leaves_nothing(tmp_path, hanging):
    """The terminal sends it to every process of the group."""
    process, workers = hanging
    os.killpg(process.pid, signal.SIGINT)
    text = process.communicate(timeout=60)[1]
    assert text.count("Traceback") == 1  # of this program, which does not catch it
    assert text.endswith("KeyboardInterrupt\n")
    assert process.returncode == -signal.SIGINT
    assert all(map(_gone, workers))
    assert contents(tmp_path / "out") == {}


def test_three_runs_share_a_folder(tmp_path):
    """Each item is made once, whoever makes it, and all of them end well."""
    (tmp_path / "videos").mkdir()
    for k in range(40):
        (tmp_path / f"videos/clip {k:03d}.mp4").write_text(f"video {k}" * k)
    for process in [_start(tmp_path, "-c", SHARING) for _ in range(3)]:
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    lines = [line.split(" ", 1) for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(name for _, name in lines) == [f"clip {k:03d}" for k in range(40)]
    assert len({pid for pid, _ in lines}) > 2  # more than one run did some
    run(Folders(files=5), tmp_path / "videos", tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_killed_and_repeated(tmp_path, name):
    """The whole process group, while items are being made."""
    for k in range(6):
        torture.video(tmp_path / f"videos/class {k % 2}/clip_{k}.mp4", range(0, 1000 + 400 * k, 40))
    module = ("-m", f"common.prepare.{name.split()[0]}", "--input=videos", "--workers=2")
    module, out = (*module, *COMMANDS[name]), tmp_path / "out"
    process = _start(tmp_path, *module, "--output=out")
    _until(lambda: out.exists() and [*out.glob(".i3d-*.tmp")])
    os.killpg(process.pid, signal.SIGKILL)
    assert process.communicate()[1] == ""
    assert [*out.glob(".i3d-*.tmp")]
    for output in ("out", "fresh"):
        process = _start(tmp_path, *module, f"--output={output}")
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    assert contents(out) == contents(tmp_path / "fresh")
