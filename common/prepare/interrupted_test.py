"""The real commands, killed at random moments, end in the bytes of a run that nobody disturbed.

`kill_test.py` proves it of the runner, with small tasks and exact moments; this is all of it:
processes that start, decode, compute and write. On more trees, as before a release:

    I3D_KILLS=5 python -m pytest common/prepare/interrupted_test.py -k kills
"""

import contextlib
import functools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from common.testing.tasks import contents, failed

ROOT = Path(__file__).parents[2]
COUNT = 8  # videos
TREES = int(os.environ.get("I3D_KILLS", "2"))  # with some kills each

FLOW = ("extract_flow", "--short_side=24", "--fps=12.5", "--tvl1=warps=2")

# What is run, and what then makes all of it anew.
COMMANDS = {
    "extract_frames": (["extract_frames"], ["--short_side=96"]),
    "extract_flow": ([*FLOW], ["--bound=10"]),
    "extract_flow uv": ([*FLOW, "--layout=uv"], ["--bound=10"]),
    "extract_flow npz": ([*FLOW, "--layout=npz"], ["--last=drop"]),
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Videos of dots that move, of different lengths, in two folders."""
    folder, rng = tmp_path_factory.mktemp("videos"), np.random.default_rng(0)
    for k in range(COUNT):
        path = folder / f"class {k % 2}/clip_{k}.mp4"
        path.parent.mkdir(exist_ok=True)
        dots = np.kron(rng.integers(0, 256, (24, 40, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
        with av.open(str(path), "w") as out:
            stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = 256, 192, "yuv420p"
            for shift in range(40 + 10 * k):
                picture = np.ascontiguousarray(np.roll(dots, shift, axis=1)[:, :256])
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            out.mux(stream.encode(None))
    return folder


@pytest.fixture(scope="module")
def made(videos, tmp_path_factory):
    """A function: the folder that a command of `COMMANDS` made in peace, and how long it took.

    It takes the command's name, and whether the parameters are to be the other ones.
    """

    @functools.cache
    def make(name, other=False):
        command, change = COMMANDS[name]
        output, start = tmp_path_factory.mktemp("made"), time.monotonic()
        counts = _counts(_start(videos, output, *command, *(change if other else [])))
        assert counts == {"done": COUNT, "skipped": 0}
        return output, time.monotonic() - start

    return make


@pytest.mark.parametrize(
    ("name", "trees"),
    [
        ("extract_frames", TREES),
        ("extract_flow", TREES),
        ("extract_flow uv", 1),
        ("extract_flow npz", 1),
    ],
)
def test_four_kills_a_tree(videos, made, tmp_path, name, trees):
    """Each of them while items are being made; others do not count.

    Every other tree, the first of them, is there already, made with other parameters.
    """
    for seed in range(trees):
        chance = random.Random(seed)
        order = [*chance.sample(["parent", "group", "parent", "group"], 3), "worker"]
        _killed_and_ended(videos, made, tmp_path / str(seed), name, chance, order)


@pytest.mark.parametrize("name", ["extract_frames", "extract_flow"])
def test_two_at_once(videos, made, tmp_path, name):
    command, _ = COMMANDS[name]
    both = [_counts(run) for run in [_start(videos, tmp_path, *command) for _ in range(2)]]
    assert [sum(counts.values()) for counts in both] == [COUNT, COUNT]
    assert sum(counts["done"] for counts in both) == COUNT
    assert contents(tmp_path) == contents(made(name)[0])


@pytest.mark.parametrize("name", COMMANDS)
def test_other_parameters(videos, made, tmp_path, name):
    """All of it is made anew, nothing of before is left, and the way back ends where it began."""
    command, change = COMMANDS[name]
    shutil.copytree(made(name)[0], tmp_path / "out")
    before, after = contents(made(name)[0]), contents(made(name, other=True)[0])
    for arguments, expected in ((change, after), ([], before)):
        counts = _counts(_start(videos, tmp_path / "out", *command, *arguments))
        assert counts == {"done": COUNT, "replaced": COUNT, "skipped": 0}
        assert contents(tmp_path / "out") == expected
    assert before.keys() & after.keys()
    assert before != after


def test_a_cluster_makes_the_same(videos, made, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    run = _start(videos, tmp_path, *FLOW, "--engine=ray")
    assert _counts(run, notes=True) == {"done": COUNT, "skipped": 0}
    assert contents(tmp_path) == contents(made("extract_flow")[0])


def _killed_and_ended(videos, made, output, name, chance, whom):
    """Kills runs on one tree until each of `whom` has cut items off, then lets one end."""
    command, _ = COMMANDS[name]
    (there, one), (before, other) = made(name), made(name, other=True)
    trees = [contents(there)]
    if int(output.name) % 2 == 0:
        trees.append(contents(before))
    seconds = min(one, other) / 4  # the first run of all may compile; most is for the start

    def begin():
        shutil.rmtree(output, ignore_errors=True)
        if len(trees) == 2:
            shutil.copytree(before, output)

    begin()
    waiting = whom[::-1]
    for _ in range(60):
        if not waiting:
            break
        left = _at_work(output)
        process = _start(videos, output, *command)
        while process.poll() is None and not _at_work(output) - left:
            time.sleep(0.01)  # it has only begun
        time.sleep(chance.uniform(0, seconds))
        if _kill(process, waiting[-1], chance):
            if _after(process, waiting[-1], output, trees, left):
                waiting.pop()
        else:  # it was done before
            process.communicate()
            begin()
    assert not waiting
    counts = _counts(_start(videos, output, *command))
    assert counts["done"] + counts["skipped"] == COUNT
    assert contents(output) == trees[0]


def _kill(process, whom, chance):
    """Kills the parent, its process group, or one worker; whether it was there to be killed."""
    victims = [process.pid]
    while whom == "worker" and process.poll() is None and not (victims := _workers(process)):
        time.sleep(0.01)  # it has only begun
    if process.poll() is not None:
        return False
    with contextlib.suppress(ProcessLookupError):
        kill = os.killpg if whom == "group" else os.kill
        kill(chance.choice(victims), signal.SIGKILL)
    return True


def _at_work(output):
    """What is being made, or was when it was cut off: each attempt has a folder of its own."""
    with contextlib.suppress(FileNotFoundError):
        return set(os.listdir(output / ".work"))
    return set()


def _after(process, whom, output, trees, left):
    """What must be so after a kill; whether it cut items off, others than those that were left."""
    if whom == "parent":  # its workers may live on for a moment, and the next run meets them
        assert process.wait() in (-signal.SIGKILL, 0)  # 0: it ended just before
        process.stdout.close()
        process.stderr.close()
        return bool(_at_work(output) - left)
    text, complaints = process.communicate()
    if whom == "worker":
        assert complaints == ""
        reasons = [line["reason"] for line in failed(output)]
        assert reasons in ([], ["the worker process died (signal 9)"])
        assert process.returncode == len(reasons), text
        assert not (output / ".work").exists()
    found = {
        name: content
        for name, content in contents(output).items()
        if not name.startswith((".work", ".claims", "failed.jsonl"))
    }
    for name, content in found.items():
        assert any(tree.get(name, ...) == content for tree in trees), name
    for tree in trees:
        for mark in (name for name in found if name.endswith("/.done")):
            if found[mark] == tree[mark]:  # then all of its folder is there, of the same make
                assert _below(found, mark) == _below(tree, mark)
    return bool(failed(output) if whom == "worker" else _at_work(output) - left)


def _below(tree, mark):
    folder = mark.removesuffix(".done")
    return {name: content for name, content in tree.items() if name.startswith(folder)}


def _workers(process):
    """The worker processes of a run."""
    found = []
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
            ours = int(parent) == process.pid and state != "Z"
            if ours and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return sorted(found)


def _start(videos, output, command, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", f"common.prepare.{command}", f"--input={videos}",
         f"--output={output}", "--workers=2", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def _counts(process, notes=False):
    """Waits for the end of a run, which is a good one; the numbers in its summary."""
    text, complaints = process.communicate()
    assert process.returncode == 0, text + complaints
    assert notes or complaints == ""
    words = {"done": "done", "in place": "replaced", "skipped": "skipped"}
    found = re.findall(rf"(\d+) ({'|'.join(words)})", text)
    return {words[word]: int(number) for number, word in found}
