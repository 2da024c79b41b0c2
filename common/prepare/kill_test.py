"""Runs that are killed, interrupted, or share a folder: repeated, they end in the same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.jobs import inputs, runs
from common.jobs.runs import Item, Settings
from common.testing import torture
from common.testing.tasks import Behaves, Folders, contents

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys
from pathlib import Path
from common.jobs import inputs, runs
from common.testing.tasks import Folders
videos, out, log, workers, pause = sys.argv[1:]
task = Folders(files=5, pause=float(pause), log=Path(log))
report = runs.run(task, inputs.items(videos), runs.Settings(Path(out), int(workers)))
sys.exit(report.status)
"""

HANGING = """
import signal
import sys
from pathlib import Path
from common.jobs import runs
from common.testing.tasks import Behaves
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
folder = Path(sys.argv[1])
items = [runs.Item(str(k), folder / "how") for k in range(9)]
runs.run(Behaves(folder / "notes"), items, runs.Settings(folder / "out", 2))
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


def _start(*arguments):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=ROOT, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _videos(folder, count):
    folder.mkdir()
    for k in range(count):
        (folder / f"clip {k:03d}.mp4").write_text(f"video {k}" * k)
    return folder


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


def _pids(log):
    return [int(line.split()[0]) for line in log.read_text().splitlines()] if log.exists() else []


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


def test_a_death_at_any_step(tmp_path):
    """Half of the items are there, made with other parameters; one fails."""
    items = [Item(name, tmp_path / f"{name}.mp4") for name in ("a", "b", "gone")]
    for item in items[:2]:
        item.source.write_text(item.name)
    runs.run(Folders(seed=1), items[:1], Settings(tmp_path / "before", workers=0))
    runs.run(Folders(), items, Settings(tmp_path / "fresh", workers=0))
    before, fresh = contents(tmp_path / "before"), contents(tmp_path / "fresh")
    step = 0
    died = True
    while died:
        step += 1
        out = tmp_path / str(step)
        runs.run(Folders(seed=1), items[:1], Settings(out, workers=0))
        died = _dies_at(step, lambda out=out: runs.run(Folders(), items, Settings(out, workers=0)))
        for name, content in contents(out).items():  # whole, of this make or of the one before
            if not name.startswith(".i3d-"):
                assert content in (before.get(name, ...), fresh.get(name, ...)), (step, name)
        for target in ("a", "b"):
            if (out / target).exists():
                made = contents(out / target)
                assert made in (
                    contents(tmp_path / tree / "a") for tree in ("before", "fresh")
                ) or (made == contents(tmp_path / "fresh" / target))
            if (out / f"{target}.sum").exists():
                assert (out / f".{target}.sum.done").exists()
        assert runs.run(Folders(), items, Settings(out, workers=0)).failed == ("gone",)
        assert contents(out) == fresh, step
    assert step > 30


def test_a_run_that_is_killed_and_repeated(tmp_path):
    videos, out, log = _videos(tmp_path / "videos", 40), tmp_path / "out", tmp_path / "log"
    process = _start("-c", PROGRAM, videos, out, log, 2, 0.004)
    _until(lambda: len(_pids(log)) > 5)
    process.kill()
    process.communicate()
    for pid in set(_pids(log)):
        _until(lambda pid=pid: _gone(pid))
    log.unlink()
    report = runs.run(Folders(files=5, log=log), inputs.items(videos), Settings(out, 0))
    assert len(report.done) == len(_pids(log)) < 40
    runs.run(Folders(files=5), inputs.items(videos), Settings(tmp_path / "fresh", 0))
    assert contents(out) == contents(tmp_path / "fresh")


def test_workers_die_with_a_killed_parent(tmp_path):
    """In the middle of an item; the next run removes what they leave."""
    (tmp_path / "how").write_text("hang")
    (tmp_path / "notes").mkdir()
    process = _start("-c", HANGING, tmp_path)
    _until(lambda: len([p for p in (tmp_path / "notes").iterdir() if p.read_text()]) == 2)
    process.kill()
    process.communicate()
    for note in (tmp_path / "notes").iterdir():
        _until(lambda note=note: _gone(int(note.read_text())))
    assert len(list((tmp_path / "out").glob(".i3d-*.tmp"))) == 2
    assert len(list((tmp_path / "out").glob(".i3d-*.lock"))) == 2
    (tmp_path / "good").write_text("good")
    task, item = Behaves(tmp_path / "notes"), Item("another", tmp_path / "good")
    assert runs.run(task, [item], Settings(tmp_path / "out", workers=0)).status == 0
    assert set(contents(tmp_path / "out")) == {"another.txt", ".another.txt.done"}


def test_ctrl_c_ends_all_and_leaves_nothing(tmp_path):
    """The terminal sends it to every process of the group."""
    (tmp_path / "how").write_text("hang")
    (tmp_path / "notes").mkdir()
    process = _start("-c", HANGING, tmp_path)
    _until(lambda: len([p for p in (tmp_path / "notes").iterdir() if p.read_text()]) == 2)
    os.killpg(process.pid, signal.SIGINT)
    text = process.communicate(timeout=60)[1]
    assert text.count("Traceback") == 1  # of this program, which does not catch it
    assert text.endswith("KeyboardInterrupt\n")
    assert process.returncode == -signal.SIGINT
    for note in (tmp_path / "notes").iterdir():
        assert _gone(int(note.read_text()))
    assert contents(tmp_path / "out") == {}


def test_three_runs_share_a_folder(tmp_path):
    """Each item is made once, whoever makes it, and all of them end well."""
    videos, out, log = _videos(tmp_path / "videos", 40), tmp_path / "out", tmp_path / "log"
    several = [_start("-c", PROGRAM, videos, out, log, 2, 0.004) for _ in range(3)]
    for process in several:
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert sorted(name for _, name in lines) == [f"clip {k:03d}" for k in range(40)]
    assert len({pid for pid, _ in lines}) > 2  # more than one run did some
    runs.run(Folders(files=5), inputs.items(videos), Settings(tmp_path / "fresh", workers=0))
    assert contents(out) == contents(tmp_path / "fresh")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_killed_and_repeated(tmp_path, name):
    """The whole process group, while items are being made."""
    for k in range(6):
        torture.video(tmp_path / f"videos/class {k % 2}/clip_{k}.mp4", range(0, 1000 + 400 * k, 40))
    command, out = name.split()[0], tmp_path / "out"
    module = ("-m", f"common.prepare.{command}", f"--input={tmp_path / 'videos'}", *COMMANDS[name])
    process = _start(*module, f"--output={out}", "--workers=2")
    _until(lambda: out.exists() and [*out.glob(".i3d-*.tmp")])
    os.killpg(process.pid, signal.SIGKILL)
    assert process.communicate()[1] == ""
    assert [*out.glob(".i3d-*.tmp")]
    for output in (out, tmp_path / "fresh"):
        process = _start(*module, f"--output={output}", "--workers=2")
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    assert contents(out) == contents(tmp_path / "fresh")
