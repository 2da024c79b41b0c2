"""Runs that are killed at random steps end in the same bits as one that is left alone.

I3D_KILLS=10 kills them more often than CI has the time for.
"""

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


def start(module, data, output, *launcher, **changes):
    """Starts a training command, whose launcher, if any, is a module too."""
    annotations, source = data
    fields = [f"--set={name}={value}" for name, value in (FIELDS | changes).items()]
    paths = [f"--annotations={annotations}", f"--rgb={source.rgb}", f"--output={output}"]
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            *launcher,
            module,
            *paths,
            *fields,
            "--workers=1",
            "--notensorboard",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # tests share the cores
    )


def ended(process):
    """The output of a process that ends well, on both of its streams."""
    text, complaints = process.communicate()
    assert process.returncode == 0, complaints
    return text + complaints


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def logged(output):
    """The training steps in the log, with repetitions."""
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


def went_on(text):
    """Whether a run says that it began with a later step than the first."""
    return any(int(step) > 0 for step in re.findall(r"resuming after step (\d+)", text))


def test_kills(module, data, tmp_path):
    ended(start(module, data, tmp_path / "whole"))
    killed = tmp_path / "killed"
    rng = random.Random(0)
    for step in sorted(rng.sample(range(1, STEPS * 2 // 3), KILLS)):
        before = max(logged(killed), default=0)
        process = start(module, data, killed)
        assert wait_for(process, killed, max(step, before + 1))  # it is at work, not importing
        time.sleep(rng.uniform(0, 0.1))
        kill(process)
    assert went_on(ended(start(module, data, killed)))
    for name in ("model.safetensors", f"snapshots/step_{STEPS:06d}.safetensors"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert logged(killed) == list(range(1, STEPS + 1))


def test_a_worker_of_torchrun_is_killed(data, tmp_path):
    """All of them are started again, and go on from the last snapshot to the end."""
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    launcher = ["torch.distributed.run", "--nproc_per_node=2", "--max_restarts=2", "--standalone"]
    # Each has two clips: one is too few for the statistics of a batch.
    process = start("i3d_torch.train", data, tmp_path, *launcher, "-m", batch=4)
    assert wait_for(process, tmp_path, 5)
    children = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    workers = [int(line.split()[0]) for line in children if "i3d_torch.train" in line]
    os.kill(max(workers), signal.SIGKILL)
    text = ended(process)
    assert f"trained {STEPS} steps" in text
    assert went_on(text)
    assert logged(tmp_path) == list(range(1, STEPS + 1))


def test_a_run_goes_on_in_the_other_framework(data, tmp_path):
    """Through the commands: half of the steps in each."""
    for framework in conftest.NEEDS.values():
        pytest.importorskip(framework)
    first, second = (f"i3d_{name}" for name in conftest.NEEDS)
    process = start(f"{first}.train", data, tmp_path)
    assert wait_for(process, tmp_path, STEPS // 2)
    kill(process)
    text = ended(start(f"{second}.train", data, tmp_path))
    assert went_on(text)
    assert f"trained {STEPS} steps" in text
    assert json.loads((tmp_path / "model.json").read_text())["backend"] == second
