"""The command, killed at random moments, shared, and on a cluster, ends in the same bytes.

`common/prepare/kill_test.py` proves it of the runner; this is all of it, with a network, whose
batches are shared by what is extracted at the same time. Killed more often, as before a release:

    I3D_KILLS=20 python -m pytest parity_tests/features_kill_test.py -k kills
"""

import contextlib
import functools
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from common.testing import features_commands as commands
from common.testing.films import Film
from common.testing.forking import environment
from common.testing.tasks import contents, failed
from parity_tests.conftest import NEEDS

KILLS = int(os.environ.get("I3D_KILLS", "3"))
COUNT = 6  # videos
ROWS = ("--mode=framewise", "--frequency=2", "--workers=2")
OTHER = ("--pad=none",)  # what makes all of it anew

pytestmark = pytest.mark.slow


@pytest.fixture(params=NEEDS)
def backend(request):
    pytest.importorskip(NEEDS[request.param], reason=f"needs the extra {request.param!r}")
    return f"i3d_{request.param}"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    commands.put(folder)
    for k in range(COUNT):
        Film(f"class {k % 2}/clip_{k}.mp4", 50 + 10 * k, (1, 0)).write(folder / "clips")
    return folder


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """A function: the folder that nobody disturbed, and how many seconds it took."""

    @functools.cache
    def make(backend, *flags):
        output, start = tmp_path_factory.mktemp("made"), time.monotonic()
        assert _counts(_start(backend, data, output, *flags)) == {"done": COUNT, "skipped": 0}
        return output, time.monotonic() - start

    return make


def test_kills(data, made, tmp_path):
    """Each while something is being made; every other tree is there already, made otherwise."""
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    whole, seconds = made("i3d_torch")
    before, _ = made("i3d_torch", *OTHER)
    trees = [contents(whole), contents(before)]
    chance, kills, ended, output = random.Random(0), 0, 0, tmp_path / "out"
    shutil.copytree(before, output)
    for _ in range(3 * KILLS):
        if kills == KILLS:
            break
        left = _at_work(output)
        process = _start("i3d_torch", data, output)
        while process.poll() is None and not _at_work(output) - left:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, seconds / 4))
        process.kill()
        process.communicate()
        if process.returncode == 0:
            assert contents(output) == trees[0]
            shutil.rmtree(output)
            ended += 1
            if ended % 2:
                shutil.copytree(before, output)
            continue
        assert process.returncode == -signal.SIGKILL
        kills += bool(_at_work(output) - left)
        _assert_whole(output, trees)
    assert kills == KILLS
    counts = _counts(_start("i3d_torch", data, output))
    assert counts["done"] + counts["skipped"] == COUNT
    assert contents(output) == trees[0]


def test_two_at_once(backend, data, made, tmp_path):
    runs = [_start(backend, data, tmp_path) for _ in range(2)]
    both = [_counts(run) for run in runs]
    assert [sum(counts.values()) for counts in both] == [COUNT, COUNT]
    assert sum(counts["done"] for counts in both) == COUNT
    assert contents(tmp_path) == contents(made(backend)[0])


def test_ctrl_c_is_one_line_and_leaves_nothing_half(backend, data, made, tmp_path):
    process = _start(backend, data, tmp_path)
    while process.poll() is None and not _at_work(tmp_path):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    text, complaints = process.communicate(timeout=60)
    assert (process.returncode, text) == (1, "")
    assert "Traceback" not in complaints
    assert complaints.endswith("error: interrupted.\n")
    _assert_whole(tmp_path, [contents(made(backend)[0])])
    assert _counts(_start(backend, data, tmp_path))["done"] > 0
    assert contents(tmp_path) == contents(made(backend)[0])


def test_a_cluster_one_of_whose_workers_is_killed(backend, data, made, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    process = _start(backend, data, tmp_path, "--engine=ray")
    while process.poll() is None and not _at_work(tmp_path):
        time.sleep(0.01)
    victims = _workers(process)
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    assert _counts(process) == {"done": COUNT, "skipped": 0}
    assert contents(tmp_path) == contents(made(backend)[0])


def _assert_whole(output, trees):
    """All that is there is of one of the trees, and is marked as such."""
    found = {
        name: content for name, content in contents(output).items() if not name.startswith(".i3d-")
    }
    assert not failed(output)
    for name, content in found.items():
        assert any(tree.get(name, ...) == content for tree in trees), name
        if name.endswith((".npy", ".json")):
            path = Path(name)
            assert str(path.parent / f".{path.name}.done") in found


def _at_work(output):
    """What is being made, or was when it was cut off: each attempt has a folder of its own."""
    with contextlib.suppress(FileNotFoundError):
        found = [each for each in os.scandir(output) if each.name.endswith(".tmp")]
        return {(each.name, each.inode()) for each in found}
    return set()


def _workers(process):
    """The processes of a cluster, below the one that started it, that are at an item."""
    parents, names = {}, {}
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            pid = int(path.name)
            parents[pid] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            names[pid] = (path / "cmdline").read_bytes()
    found = []
    for pid, name in names.items():
        above = pid
        while above in parents and above != process.pid:
            above = parents[above]
        if above == process.pid and name.startswith(b"ray::_call"):
            found.append(pid)
    return found


def _start(backend, data, output, *flags):
    return subprocess.Popen(
        commands.command(backend, "clips", output, *ROWS, *flags),
        cwd=data, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # A shell's background processes, such as tests may be, are deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def _counts(process):
    """Waits for the end of a run, which is a good one; the numbers in its summary."""
    text, complaints = process.communicate()
    assert process.returncode == 0, text + complaints
    found = re.findall(r"(\d+) (done|skipped)", text)
    return {word: int(number) for number, word in found}
