"""Runs that are killed, interrupted, and done by several at once: the tree ends the same."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.jobs import inputs, runs
from common.jobs.runs import Item, Settings
from common.testing.tasks import Behaves, Folders, contents, failed

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


def _start(program, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
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


def _killed_and_ended(tmp_path, rounds, count):
    """Kills runs of `count` items at random moments, then lets one end."""
    videos, out, log = _videos(tmp_path / "videos", count), tmp_path / "out", tmp_path / "log"
    items = inputs.items(videos)
    runs.run(Folders(files=5), items, Settings(tmp_path / "fresh", workers=0))
    # Half of it is there already, made with other parameters, and is to be replaced.
    runs.run(Folders(files=5, seed=1), items[::2], Settings(out, workers=0))
    chance, kills = random.Random(7), {"parent": 0, "worker": 0}
    for _ in range(rounds):
        log.unlink(missing_ok=True)
        process = _start(PROGRAM, videos, out, log, 2, 0.004)
        _until(lambda process=process: _pids(log) or process.poll() is not None)
        time.sleep(chance.uniform(0, 0.15))
        if chance.random() < 0.5 and _pids(log):
            with contextlib.suppress(ProcessLookupError):
                os.kill(_pids(log)[-1], signal.SIGKILL)
                kills["worker"] += 1
            time.sleep(chance.uniform(0, 0.1))
        kills["parent"] += process.poll() is None
        process.kill()
        process.communicate()
        for pid in set(_pids(log)):
            _until(lambda pid=pid: _gone(pid))
    log.unlink(missing_ok=True)
    process = _start(PROGRAM, videos, out, log, 2, 0)
    assert process.communicate()[1] == ""
    assert process.returncode == 0
    assert contents(out) == contents(tmp_path / "fresh")
    return kills, len(_pids(log))


def test_killed_runs_end_in_the_same_tree(tmp_path):
    kills, left = _killed_and_ended(tmp_path, 3, 60)
    assert kills["parent"] >= 2
    assert 0 < left < 60


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    kills, left = _killed_and_ended(tmp_path, 20, 200)
    assert kills["parent"] >= 18
    assert kills["worker"] >= 5
    assert 0 < left < 200


def test_workers_die_with_a_killed_parent(tmp_path):
    """In the middle of an item; what they leave is swept by whoever comes next."""
    (tmp_path / "how").write_text("hang")
    (tmp_path / "notes").mkdir()
    process = _start(HANGING, tmp_path)
    _until(lambda: len([p for p in (tmp_path / "notes").iterdir() if p.read_text()]) == 2)
    process.kill()
    process.communicate()
    for note in (tmp_path / "notes").iterdir():
        _until(lambda note=note: _gone(int(note.read_text())))
    assert len(list((tmp_path / "out/.work").iterdir())) == 2
    assert len(list((tmp_path / "out/.claims").iterdir())) == 3  # of the items and of the run
    (tmp_path / "good").write_text("good")
    task, item = Behaves(tmp_path / "notes"), Item("another", tmp_path / "good")
    assert runs.run(task, [item], Settings(tmp_path / "out", workers=0)).status == 0
    assert set(contents(tmp_path / "out")) == {"another.txt", ".another.txt.done"}


def test_ctrl_c_ends_all_and_leaves_nothing(tmp_path):
    """The terminal sends it to every process of the group."""
    (tmp_path / "how").write_text("hang")
    (tmp_path / "notes").mkdir()
    process = _start(HANGING, tmp_path)
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
    several = [_start(PROGRAM, videos, out, log, 2, 0.004) for _ in range(3)]
    for process in several:
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert sorted(name for _, name in lines) == [f"clip {k:03d}" for k in range(40)]
    assert len({pid for pid, _ in lines}) > 2  # more than one run did some
    runs.run(Folders(files=5), inputs.items(videos), Settings(tmp_path / "fresh", workers=0))
    assert contents(out) == contents(tmp_path / "fresh")


def test_a_killed_worker_costs_its_item_alone(tmp_path):
    videos, out, log = _videos(tmp_path / "videos", 20), tmp_path / "out", tmp_path / "log"
    process = _start(PROGRAM, videos, out, log, 2, 0.01)
    _until(lambda: len(_pids(log)) > 4)
    victim = _pids(log)[-1]
    os.kill(victim, signal.SIGKILL)
    process.communicate()
    (line,) = failed(out)
    assert process.returncode == 1
    assert line["reason"] == "the worker process died (signal 9)"
    assert line["item"] in [x.split(" ", 1)[1] for x in log.read_text().splitlines()]
    made = {name.removesuffix(".sum") for name in contents(out) if name.endswith(".sum")}
    assert made == {f"clip {k:03d}" for k in range(20)} - {line["item"]}
    assert not {".work", ".claims"} & set(contents(out))
