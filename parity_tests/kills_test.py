"""Commands that are killed at work, and go on, end in the same bytes as those that are left alone.

The tests of `common.jobs` and `common.training` prove it of every step; these are real processes
with a network.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from common.testing import features_commands as commands
from common.testing.data import put
from common.testing.films import Film
from common.testing.forking import environment
from common.testing.tasks import contents
from common.testing.train_step import NET
from common.training import logger
from parity_tests import conftest

COUNT = 10  # videos: enough that some are left when the second is killed
STEPS = 12
FIELDS = {
    "steps": STEPS,
    "batch": 2,
    "sample_duration": 8,
    "short_side": "32,40",
    "crop": 32,
    "global_pool": "true",
    "evaluate_every": 6,
    "snapshot_every": 2,
    "log_every": 1,
    "average_decay": 0.9,
}

# A training command on a tiny network, or on networks with a sixteenth of their channels.
PROGRAM = """
import functools, importlib, sys
from common import arch, command
from common.testing.train_step import NET, make_tiny
for name, make in list(arch.ARCHITECTURES.items()):
    thin = functools.partial(lambda make, *a, **k: arch.narrow(make(*a, **k), 16), make)
    arch.ARCHITECTURES[name] = thin
arch.ARCHITECTURES[NET.name] = make_tiny
module = importlib.import_module(sys.argv.pop(1))
command.start(module.main, module.Settings)
"""

pytestmark = pytest.mark.slow


def start(line, cwd):
    return subprocess.Popen(
        line, cwd=cwd, env=environment(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # A shell's background processes, such as tests may be, are deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def wait_until(process, fulfilled):
    """Waits for something that a process does; fails where it ends before."""
    while not fulfilled():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def ended(process):
    """The output of a process that ends well, on both of its streams."""
    text, complaints = process.communicate()
    assert process.returncode == 0, complaints
    return text + complaints


def extract(package, data, output):
    flags = ("--mode=framewise", "--frequency=2", "--workers=2")
    return start(commands.line(package.__name__, "clips", output, *flags), data)


def counts(process):
    """The numbers in the summary of a good run."""
    found = re.findall(r"(\d+) (done|skipped)", ended(process))
    return {word: int(number) for number, word in found}


def test_extractions_killed_interrupted_and_shared_end_in_the_same_bytes(tmp_path):
    package = pytest.importorskip("i3d_torch")
    commands.put(tmp_path)
    for k in range(COUNT):
        Film(f"class {k % 2}/clip_{k}.mp4", 50 + 10 * k, (1, 0)).write(tmp_path / "clips")
    assert counts(extract(package, tmp_path, tmp_path / "whole")) == {"done": COUNT, "skipped": 0}
    whole, output = contents(tmp_path / "whole"), tmp_path / "out"

    def done():
        return sum(not path.name.startswith(".") for path in output.rglob("*.json"))

    for number in (signal.SIGKILL, signal.SIGINT):
        before = done()
        process = extract(package, tmp_path, output)
        wait_until(process, lambda before=before: done() > before)
        os.kill(process.pid, number)
        text, complaints = process.communicate(timeout=60)
        if number == signal.SIGINT:
            assert (process.returncode, text) == (1, "")
            assert complaints.endswith("error: interrupted.\n")
        for name, content in contents(output).items():
            assert name.startswith(".") or whole[name] == content, name
    both = [counts(run) for run in [extract(package, tmp_path, output) for _ in range(2)]]
    assert [sum(each.values()) for each in both] == [COUNT, COUNT]
    assert sum(each["done"] for each in both) < COUNT
    assert contents(output) == whole


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return put(tmp_path_factory.mktemp("data"))


def train(package, data, output, *launcher, **changes):
    """Starts a training command, whose launcher, if any, is a module."""
    annotations, source = data
    program = annotations.parent / "program.py"
    program.write_text(PROGRAM)
    fields = [f"--set={name}={value}" for name, value in (FIELDS | changes).items()]
    flags = [f"--annotations={annotations}", f"--rgb={source.rgb}", f"--output={output}"]
    line = [sys.executable, *launcher, str(program), f"{package}.train", *flags, *fields]
    return start([*line, "--workers=1", "--notensorboard"], None)


def logged(output):
    """The training steps in the log, with repetitions."""
    return [entry["step"] for entry in logger.read(output) if "learning_rate" in entry]


def assert_went_on(text, steps=STEPS):
    """A run says that it began with a later step than the first."""
    assert any(int(step) > 0 for step in re.findall(r"resuming after step (\d+)", text))
    assert f"trained {steps} steps" in text


def test_a_killed_run_ends_in_the_same_bytes(package, data, tmp_path):
    name, killed = package.__name__, tmp_path / "killed"
    # TensorFlow takes long to build graphs of the other.
    own = {"architecture": "inception_i3d" if name == "i3d_torch" else NET.name}
    ended(train(name, data, tmp_path / "whole", **own))
    process = train(name, data, killed, **own)
    wait_until(process, lambda: max(logged(killed), default=0) >= STEPS // 3)
    kill(process)
    assert_went_on(ended(train(name, data, killed, **own)))
    for path in (tmp_path / "whole").rglob("*.safetensors"):
        other = killed / path.relative_to(tmp_path / "whole")
        assert other.read_bytes() == path.read_bytes(), path.name
    assert logged(killed) == list(range(1, STEPS + 1))


def test_a_worker_of_torchrun_is_killed(data, tmp_path):
    """All of them are started again, and go on from the last snapshot to the end."""
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    launcher = ["torch.distributed.run", "--nproc_per_node=2", "--max_restarts=2", "--standalone"]
    # Each has two clips: one is too few for the statistics of a batch.
    changes = {"batch": 4, "steps": 40, "architecture": NET.name}
    process = train("i3d_torch", data, tmp_path, "-m", *launcher, **changes)
    wait_until(process, lambda: max(logged(tmp_path), default=0) >= 5)
    children = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    workers = [int(line.split()[0]) for line in children if "i3d_torch.train" in line]
    os.kill(max(workers), signal.SIGKILL)
    assert_went_on(ended(process), 40)
    assert logged(tmp_path) == list(range(1, 41))


def test_a_run_goes_on_in_the_other_framework(data, tmp_path):
    """Through the commands: half of the steps in each."""
    for framework in conftest.NEEDS.values():
        pytest.importorskip(framework)
    own = {"architecture": NET.name}
    process = train("i3d_tf", data, tmp_path, **own)
    wait_until(process, lambda: max(logged(tmp_path), default=0) >= STEPS // 2)
    kill(process)
    assert_went_on(ended(train("i3d_torch", data, tmp_path, **own)))
    assert json.loads((tmp_path / "model.json").read_text())["backend"] == "i3d_torch"
