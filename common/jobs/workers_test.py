"""The crew: results, deaths, ends, what a worker finds around it, and commands that start it."""

import functools
import operator
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.jobs import workers
from common.jobs.workers import Died
from common.testing.tasks import Folders, contents, run

ROOT = Path(__file__).parents[2]

COMMAND = '''
"""A command as they all are: flags at import, the task in a module of its own."""
from absl import flags
from common import command
from common.jobs import inputs, runs
from common.testing.tasks import Folders
VIDEOS = flags.DEFINE_string("videos", None, "Where they are.")
OUT = flags.DEFINE_string("out", None, "Where they go.")
def main(argv):
    report = runs.run(Folders(), inputs.items(VIDEOS.value), runs.Settings(OUT.value_path(), 2))
    print(report.text())
    return report.status
if __name__ == "__main__":
    command.run(main)
'''.replace("OUT.value_path()", "__import__('pathlib').Path(OUT.value)")

SCRIPT = """
import sys
from common import cli
cli.COMMANDS["tiny"] = ("a test", "tiny.command_of_ours")
if __name__ == "__main__":
    sys.exit(cli.main())
"""


def _act(what):
    """Does what it is told, in a worker."""
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "exit":
        raise SystemExit(7)
    if what == "disk":
        raise FileNotFoundError(2, "not there", "x")
    if what == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
    if what == "threads":
        return os.environ["OMP_NUM_THREADS"], os.environ["OPENCV_FOR_THREADS_NUM"]
    return os.getpid()


@pytest.mark.parametrize("count", [0, 2])
def test_every_argument_gets_its_result(count):
    double = functools.partial(operator.mul, 2)
    assert sorted(workers.each(double, range(50), count, 1)) == [(k, 2 * k) for k in range(50)]


def test_a_death_costs_one_argument():
    told = ["a", "die", "b", "exit", "c"]
    results = list(workers.each(_act, told, 1, 1))
    assert [argument for argument, _ in results] == told
    assert results[1][1] == Died("the worker process died (signal 9)")
    assert results[3][1] == Died("the worker process ended (exit status 7)")
    pids = [results[k][1] for k in (0, 2, 4)]
    assert len(set(pids)) == 3  # each death brings a new process
    assert os.getpid() not in pids


def test_an_error_for_all_is_raised():
    with pytest.raises(FileNotFoundError) as caught:
        list(workers.each(_act, ["a", "disk", "b"], 1, 1))
    assert caught.value.filename == "x"


def test_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENCV_FOR_THREADS_NUM", "5")
    assert list(workers.each(_act, ["threads"], 1, 3)) == [("threads", ("3", "5"))]
    assert "OMP_NUM_THREADS" not in os.environ


def test_opencv_knows_the_variable():
    cv2 = pytest.importorskip("cv2")
    code = "import cv2; print(cv2.getNumThreads())"
    for count in ("1", "3"):
        environment = {**os.environ, "OPENCV_FOR_THREADS_NUM": count}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
        assert done.stdout.decode() == f"{count}\n", cv2.__version__


def test_a_program_without_a_guard_is_told(tmp_path):
    """A worker imports the program; one that starts workers at import would never end."""
    program = tmp_path / "program.py"
    program.write_text(
        "from common.jobs import workers\nprint(list(workers.each(abs, [1, 2], 2, 1)))\n"
    )
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "worker processes end before they are ready (ended (exit status 1))" in done.stderr


def test_workers_end_when_nobody_listens_any_more():
    results = workers.each(_act, ["a"] * 50, 2, 1)
    pids = {next(results)[1] for _ in range(4)}
    results.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_no_more_workers_than_arguments(monkeypatch):
    started, worker = [], workers._Worker
    monkeypatch.setattr(workers, "_Worker", lambda *given: started.append(1) or worker(*given))
    assert list(workers.each(abs, [-1, -1], 50, 1)) == [(-1, 1), (-1, 1)]
    assert len(started) == 2


def test_workers_are_deaf_to_interrupts():
    """The terminal sends Ctrl-C to all; this process ends the others."""
    ((_, result),) = workers.each(_act, ["interrupt"], 1, 1)
    assert isinstance(result, int)


@pytest.mark.parametrize("start", [["-m", "tiny.command_of_ours"], ["script", "tiny"]])
def test_commands_start_workers(videos, tmp_path, start):
    """`python -m PACKAGE.COMMAND` and the console script; workers import either again."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/__init__.py").touch()
    (tmp_path / "tiny/command_of_ours.py").write_text(COMMAND)
    (tmp_path / "script").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, *start, f"--videos={videos}", "--out=out"],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "make_folders: 3 done, 0 skipped, 0 failed, 9 files\n"
    run(Folders(), videos, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
