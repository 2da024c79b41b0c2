"""Runs that are killed at random steps end in the same bits as one that is left alone.

I3D_KILLS=10 kills them more often than CI has the time for.
"""

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from common.testing.data import put
from parity_tests import conftest

KILLS = min(20, int(os.environ.get("I3D_KILLS", "1")))
STEPS = max(24, 2 * KILLS)  # a kill needs a step of its own, in the first two thirds
FIELDS = {
    "steps": STEPS,
    "batch": 2,
    "sample_duration": 8,
    "short_side": "32,40",
    "crop": 32,
    "global_pool": "true",
    "evaluate_every": 12,
    "snapshot_every": 2,
    "log_every": 1,
    "average_decay": 0.9,
}

pytestmark = pytest.mark.slow


@pytest.fixture(params=conftest.NEEDS)
def module(request):
    pytest.importorskip(conftest.NEEDS[request.param], reason=f"needs the extra {request.param!r}")
    return f"i3d_{request.param}.train"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return put(tmp_path_factory.mktemp("data"))


def command(module, data, output, *before, **changes):
    annotations, source = data
    flags = [f"--annotations={annotations}", f"--rgb={source.rgb}", f"--output={output}"]
    fields = [f"--set={name}={value}" for name, value in (FIELDS | changes).items()]
    return [
        sys.executable,
        "-m",
        *before,
        module,
        "--workers=1",
        "--notensorboard",
        *flags,
        *fields,
    ]


def start(arguments):
    return subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # tests share the cores
    )


def ended(process):
    """What a process that ends well has said on both of its streams."""
    text, complaints = process.communicate()
    assert process.returncode == 0, complaints
    return text + complaints


def logged(output):
    """Steps that were noted in training, as often as they are there."""
    path = output / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [note["step"] for note in map(json.loads, lines) if "learning_rate" in note]


def wait_for(process, output, step):
    """Waits until a step is done; False where the run ended before."""
    while process.poll() is None:
        if max(logged(output), default=0) >= step:
            return True
        time.sleep(0.02)
    return False


def test_kills(module, data, tmp_path):
    ended(start(command(module, data, tmp_path / "whole")))
    killed = tmp_path / "killed"
    rng = random.Random(0)
    for step in sorted(rng.sample(range(1, STEPS * 2 // 3), KILLS)):
        before = max(logged(killed), default=0)
        process = start(command(module, data, killed))
        assert wait_for(process, killed, max(step, before + 1))  # it is at work, not importing
        time.sleep(rng.uniform(0, 0.1))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert went_on(ended(start(command(module, data, killed))))
    for name in ("model.safetensors", f"snapshots/step_{STEPS:06d}.safetensors"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert logged(killed) == list(range(1, STEPS + 1))


def test_a_worker_of_torchrun_is_killed(data, tmp_path):
    """All of them are started again, and go on from the last snapshot to the end."""
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    launcher = ["torch.distributed.run", "--nproc_per_node=2", "--max_restarts=2", "--standalone"]
    # Each has two clips: one is too few for the statistics of a batch.
    process = start(command("i3d_torch.train", data, tmp_path, *launcher, "-m", batch=4))
    assert wait_for(process, tmp_path, 5)
    os.kill(workers(process.pid)[1], signal.SIGKILL)
    text = ended(process)
    assert f"trained {STEPS} steps" in text
    assert went_on(text)
    assert logged(tmp_path) == list(range(1, STEPS + 1))


def went_on(text):
    """Whether a run has said that it began with a later step than the first."""
    return any(int(step) > 0 for step in re.findall(r"resuming after step (\d+)", text))


def workers(launcher):
    """The processes that a launcher has started, in the order of their ranks."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(launcher)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    found = [line.split(maxsplit=1) for line in listed]
    pids = [int(pid) for pid, text in found if "i3d_torch.train" in text]
    return sorted(pids)


def test_a_run_goes_on_in_the_other_framework(data, tmp_path):
    """Through the commands: half of the steps in each."""
    for framework in conftest.NEEDS.values():
        pytest.importorskip(framework)
    first, second = itertools.islice((f"i3d_{name}.train" for name in conftest.NEEDS), 2)
    process = start(command(first, data, tmp_path))
    assert wait_for(process, tmp_path, STEPS // 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    text = ended(start(command(second, data, tmp_path)))
    assert went_on(text)
    assert f"trained {STEPS} steps" in text
    assert json.loads((tmp_path / "model.json").read_text())["backend"] == second.split(".")[0]
