"""The command, killed, interrupted, shared, and on a cluster, ends in the same bytes.

The tests of `common.jobs` prove it of the runner; this is a real process with a network.
"""

import contextlib
import os
import re
import signal
import subprocess
import time

import pytest

from common.testing import features_commands as commands
from common.testing.films import Film
from common.testing.forking import environment
from common.testing.tasks import contents, failed
from parity_tests.conftest import NEEDS

COUNT = 6  # videos

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


def test_killed_interrupted_and_shared_runs_end_in_the_same_bytes(backend, data, tmp_path):
    assert counts(start(backend, data, tmp_path / "whole")) == {"done": COUNT, "skipped": 0}
    whole, output = contents(tmp_path / "whole"), tmp_path / "out"
    for number in (signal.SIGKILL, signal.SIGINT):
        left = done(output)
        process = start(backend, data, output)
        while process.poll() is None and done(output) <= left:
            time.sleep(0.005)
        os.kill(process.pid, number)
        text, complaints = process.communicate(timeout=60)
        if number == signal.SIGKILL:
            assert process.returncode == -number
        else:
            assert (process.returncode, text) == (1, "")
            assert "Traceback" not in complaints
            assert complaints.endswith("error: interrupted.\n")
        assert not failed(output)
        for name, content in contents(output).items():
            assert name.startswith(".") or whole[name] == content, name
    runs = [start(backend, data, output) for _ in range(2)]
    both = [counts(run) for run in runs]
    assert [sum(each.values()) for each in both] == [COUNT, COUNT]
    assert 0 < sum(each["done"] for each in both) < COUNT
    assert contents(output) == whole


def test_a_cluster_gives_the_same_bytes(data, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name, flags in (("here", ()), ("ray", ("--engine=ray",))):
        process = start("i3d_torch", data, tmp_path / name, *flags)
        assert counts(process) == {"done": COUNT, "skipped": 0}
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")


def done(output):
    """How many items are done."""
    with contextlib.suppress(FileNotFoundError):
        return sum(1 for path in output.rglob("*.json") if not path.name.startswith("."))
    return 0


def start(backend, data, output, *flags):
    given = ("--mode=framewise", "--frequency=2", "--workers=2", *flags)
    return subprocess.Popen(
        commands.line(backend, "clips", output, *given), cwd=data, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # A shell's background processes, such as tests may be, are deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def counts(process):
    """Waits for the end of a run, which is a good one; the numbers in its summary."""
    text, complaints = process.communicate()
    assert process.returncode == 0, text + complaints
    found = re.findall(r"(\d+) (done|skipped)", text)
    return {word: int(number) for number, word in found}
