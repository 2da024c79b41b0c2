"""The pool of processes: order, errors, deaths, and that none is left."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common.training.worker_pool import ordered_map

ROOT = Path(__file__).parents[2]
KEYS = [(7, 0, index) for index in range(12)]


@dataclasses.dataclass(frozen=True)
class Make:
    """Noise of a key; `log` gets a line for each call, and index 3 fails as `bad` says."""

    log: Path | None = None
    bad: str = ""

    def __call__(self, seed, epoch, index):
        if self.log:
            descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, f"{os.getpid()} {index}\n".encode())
            os.close(descriptor)
        if index == 3 and self.bad == "error":
            raise ValueError("c (d.avi): no frames")
        if index == 3 and self.bad == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 3 and self.bad == "bug":
            raise KeyError("a bug")
        if self.bad == "print":
            print("a library that talks")
        return np.random.default_rng([seed, epoch, index]).integers(0, 256, 400_000, np.uint8)


def surroundings(seed, epoch, index):
    """The frameworks that a worker has imported, and its number of threads."""
    loaded = [m for m in ("torch", "tensorflow", "sonnet", "program") if m in sys.modules]
    return loaded, [os.environ.get(f"{each}_NUM_THREADS") for each in ("OMP", "OPENBLAS")]


def run(make, workers=2, ahead=4):
    return contextlib.closing(ordered_map(make, KEYS, workers, ahead))


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


def pids(log):
    return {int(line.split()[0]) for line in log.read_text().splitlines()}


def gone(pid):
    """Whether a process has ended; its parent may not have asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def until(condition):
    """Waits for something that happens soon; half a minute is for a busy machine."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise TimeoutError(condition)


@pytest.mark.parametrize("bad", ["", "print"])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order_whoever_makes_them(workers, bad):
    with run(Make(bad=bad), workers) as results:
        found = list(results)
    assert len(found) == len(KEYS)
    for key, result in zip(KEYS, found, strict=True):
        np.testing.assert_array_equal(result, Make()(*key))


def test_an_error_comes_at_its_turn(log):
    with run(Make(log, "error")) as results:
        for _ in range(3):
            next(results)
        with pytest.raises(ValueError, match=r"^c \(d\.avi\): no frames$"):
            next(results)
        assert all(map(gone, pids(log)))


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ("kill", "died (signal 9) at item 3 of epoch 0. If memory ran out, use fewer workers."),
        ("bug", "ended (exit status 1) at item 3 of epoch 0. Its output says why."),
    ],
)
def test_a_worker_that_dies_is_an_error(log, bad, text, capfd):
    with pytest.raises(ChildProcessError) as caught, run(Make(log, bad)) as results:
        list(results)
    assert str(caught.value) == f"a data worker {text}"
    assert len(pids(log)) == 2
    assert all(map(gone, pids(log)))
    assert ("KeyError: 'a bug'" in capfd.readouterr().err) == (bad == "bug")


class Stranger:
    """Something that cannot be unpickled elsewhere."""

    def __reduce__(self):
        return (_only_here, (os.getpid(),))


def _only_here(pid):
    raise ImportError("not here")


def test_a_worker_that_cannot_begin(capfd):
    with (
        pytest.raises(ChildProcessError, match=r"ended \(exit status 1\)"),
        run(Stranger()) as found,
    ):
        list(found)
    assert "ImportError: not here" in capfd.readouterr().err


def test_the_look_ahead_is_bounded(log):
    with run(Make(log), workers=3, ahead=4) as results:
        for taken in range(1, 4):
            next(results)
            until(lambda: len(log.read_text().splitlines()) == taken + 3)  # noqa: B023
            time.sleep(0.1)
            assert len(log.read_text().splitlines()) == taken + 3


def test_all_is_closed_in_the_end(log):
    descriptors = len(os.listdir("/proc/self/fd"))
    for taken in (1, len(KEYS)):
        with run(Make(log)) as results:
            for _ in range(taken):
                next(results)
        assert pids(log)
        assert all(map(gone, pids(log)))
        assert len(os.listdir("/proc/self/fd")) == descriptors


PROGRAM = """
import sys
import __future__ as torch
sys.modules["torch"] = torch  # as an expensive import
import signal
from pathlib import Path
from common.training.worker_pool_test import Make, run, surroundings
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
with run(Make(Path(sys.argv[1])) if len(sys.argv) > 1 else surroundings) as results:
    first = next(results)
    print(first if len(sys.argv) == 1 else "begun", flush=True)
    if len(sys.argv) > 1:
        signal.pause()
"""


def start(folder, *arguments):
    (folder / "program.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"}
    environment.pop("OMP_NUM_THREADS", None)
    return subprocess.Popen(
        [sys.executable, "-m", "program", *map(str, arguments)],
        env={**environment, "OPENBLAS_NUM_THREADS": "2"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def test_workers_do_not_import_the_program(tmp_path):
    """No guard is needed, TensorFlow and PyTorch stay out, and there is one thread."""
    output, errors = start(tmp_path).communicate(timeout=60)
    assert output == "([], ['1', '2'])\n", errors
    assert errors == ""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_the_program(tmp_path, log, how):
    program = start(tmp_path, log)
    try:
        assert program.stdout.readline() == "begun\n"
        os.killpg(program.pid, how)  # as the terminal does
        _, errors = program.communicate(timeout=60)
        assert program.returncode == -how
        until(lambda: all(map(gone, pids(log))))
        assert errors.count("Traceback") == (how == signal.SIGINT)  # of the program alone
    finally:
        program.kill()
