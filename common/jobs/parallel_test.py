"""Processes, threads, and a Ray cluster: results, errors, deaths, and early ends."""

import builtins
import contextlib
import functools
import operator
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from common.jobs import parallel, runs
from common.jobs.parallel import WorkerDiedError
from common.jobs.runs import Settings
from common.testing.tasks import Behaves, Folders, contents, failed, run, told

ROOT = Path(__file__).parents[2]
PATIENCE = 30  # seconds for what happens at once; a busy machine is slow

COMMAND = '''
"""A command: its settings and `main`, the task in a module of its own."""
import dataclasses
from pathlib import Path
from common import command
from common.jobs import inputs, runs
from common.settings import setting
from common.testing.tasks import Folders

@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Makes folders."""
    videos: Path = setting("Where they are.")
    out: Path = setting("Where they go.")

def main(settings):
    report = runs.run(Folders(), inputs.items(settings.videos), runs.Settings(settings.out, 2))
    print(report.text())
    return report.status

if __name__ == "__main__":
    command.start(main, Settings)
'''
UNGUARDED = """
import os
from common.jobs import parallel
def ours(name): pass
os.environ["IMPORTED"] = os.environ.get("IMPORTED", "") + "+"
print([f.result() for _, f in parallel.each({}, ["IMPORTED"], 1)])
"""


class OddError(Exception):
    """Does not pickle: it is made of two values, and keeps one."""

    def __init__(self, one, two):
        super().__init__(one)


def _act(what):
    """Does what it is told, in a worker."""
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "exit":
        raise SystemExit(7)
    if what == "disk":
        raise FileNotFoundError(2, "not there", "x")
    if what == "odd":
        raise OddError("of two", 2)
    if what == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
    if what == "threads":
        return os.environ["OMP_NUM_THREADS"], os.environ["OPENCV_FOR_THREADS_NUM"]
    return os.getpid()


@pytest.mark.parametrize("engine", ["local", "threads"])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_argument_gets_its_result(engine, workers):
    double = functools.partial(operator.mul, 2)
    found = [(k, each.result()) for k, each in parallel.each(double, range(50), workers, 1, engine)]
    assert (found if workers < 2 else sorted(found)) == [(k, 2 * k) for k in range(50)]
    assert list(parallel.each(double, [], workers, 1, engine)) == []


def test_a_process_and_what_becomes_of_it(monkeypatch):
    """A death costs one result; errors arrive; Ctrl-C, sent to all by a terminal, does not."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENCV_FOR_THREADS_NUM", "5")
    what = ["a", "die", "b", "exit", "c", "interrupt", "threads", "disk", "odd"]
    futures = dict(parallel.each(_act, what, 1, threads=3))
    assert list(futures) == what
    with pytest.raises(WorkerDiedError, match=r"the worker process died \(signal 9\)"):
        futures["die"].result()
    with pytest.raises(WorkerDiedError, match=r"the worker process ended \(exit status 7\)"):
        futures["exit"].result()
    pids = [futures[each].result() for each in "abc"]
    assert len({os.getpid(), *pids}) == 4  # each death brings a new process
    assert futures["interrupt"].result() == pids[2]
    assert futures["threads"].result() == ("3", "5")
    assert "OMP_NUM_THREADS" not in os.environ
    with pytest.raises(FileNotFoundError) as caught:
        futures["disk"].result()
    assert caught.value.filename == "x"
    with pytest.raises(RuntimeError, match="OddError: of two"):
        futures["odd"].result()


def test_processes_end_when_nobody_listens_any_more():
    results = parallel.each(_act, ["a"] * 50, 2)
    pids = {next(results)[1].result() for _ in range(4)}
    results.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def _python(*arguments, path):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=path, timeout=120,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}"},
    )  # fmt: skip


@pytest.mark.parametrize("function", ["ours", "os.getenv"])
def test_only_a_function_of_the_program_imports_it_again(tmp_path, function):
    """One that starts workers at import would never end, and is told; others pay for nothing."""
    (tmp_path / "program.py").write_text(UNGUARDED.format(function))
    done = _python("program.py", path=tmp_path)
    if function == "ours":
        assert done.returncode == 1
        assert "a worker process ends before it is ready (ended (exit status 1))" in done.stderr
    else:
        assert (done.stdout, done.stderr) == ("['+']\n", "")


def test_calls_are_submitted():
    with contextlib.closing(parallel.Processes(functools.partial(operator.mul, 2), 2)) as pool:
        futures = [pool.submit(k) for k in range(9)]
        assert [future.result() for future in futures] == [2 * k for k in range(9)]


def test_a_command_starts_processes(videos, tmp_path):
    """Of `python -m PACKAGE.COMMAND`, which they import again."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/__init__.py").touch()
    (tmp_path / "tiny/command_of_ours.py").write_text(COMMAND)
    done = _python("-m", "tiny.command_of_ours", f"--videos={videos}", "--out=out", path=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "make_folders: 3 done, 0 skipped, 0 failed, 9 files\n"
    run(Folders(), videos, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_threads_work_at_the_same_time():
    together = threading.Barrier(3)

    def work(_):
        together.wait(PATIENCE)
        return threading.current_thread()

    threads = {each.result() for _, each in parallel.each(work, range(6), 3, engine="threads")}
    assert len(threads) == 3
    assert threading.current_thread() not in threads
    assert all(thread.daemon for thread in threads)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("error", [IndexError, SystemExit, KeyboardInterrupt])
def test_whatever_a_thread_raises_is_raised_here(error, workers):
    def work(number):
        if number == 3:
            raise error("of this one")

    with pytest.raises(error, match="of this one"):
        for _, future in parallel.each(work, range(4), workers, engine="threads"):
            future.result()


def test_threads_begin_no_more_once_nobody_listens():
    begun, go = [], threading.Event()

    def work(number):
        begun.append(number)
        assert number == 0 or go.wait(PATIENCE)

    results = parallel.each(work, range(50), 2, engine="threads")
    next(results)
    results.close()
    go.set()
    assert len(begun) <= 3


def test_a_run_in_threads_makes_the_same(videos, tmp_path):
    run(Folders(), videos, tmp_path / "one")
    log = tmp_path / "log"
    report = run(Folders(log=log), videos, tmp_path / "two", workers=2, engine="threads")
    assert (len(report.done), report.status) == (3, 0)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert {line.split()[0] for line in log.read_text().splitlines()} == {str(os.getpid())}


def test_without_ray_it_says_what_to_install(monkeypatch):
    imported = builtins.__import__

    def missing(name, *arguments):
        if name == "ray":
            raise ImportError("No module named 'ray'")
        return imported(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'i3d\[ray\]'"):
        list(parallel.each(abs, [1], 1, engine="ray"))


@pytest.fixture
def cluster(monkeypatch):
    """A cluster of two processors on this machine, which runs find and leave as it is."""
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    assert ray.is_initialized()
    ray.shutdown()


@pytest.mark.slow
def test_an_item_whose_ray_worker_was_killed_is_made_elsewhere(tmp_path, cluster):
    items = told(tmp_path, "good", "kill once", "value", "good", "good", "kill", "good")
    task = Behaves(tmp_path / "notes")
    report = runs.run(task, items, Settings(tmp_path / "out", 2, engine="ray"))
    killed = int((tmp_path / "notes/item 1").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(killed, 0)
    assert killed != os.getpid()
    assert report.done == tuple(f"item {k}" for k in (0, 1, 3, 4, 6))
    assert report.reasons["item 2"] == "a value\nof two lines"
    assert report.reasons["item 5"] == "the worker process died 4 times"
    good = [item for item in items if item.name not in report.failed]
    runs.run(task, good, Settings(tmp_path / "fresh", workers=0))
    ours = contents(tmp_path / "out")
    del ours["failed.jsonl"]
    assert ours == contents(tmp_path / "fresh")


@pytest.mark.slow
def test_a_run_that_is_left_takes_its_items_along(tmp_path, cluster):
    """The cluster goes on, its calls for this run do not."""
    items = told(tmp_path, "hang", "import")
    with pytest.raises(ImportError, match="needs x"):
        runs.run(Behaves(tmp_path / "notes"), items, Settings(tmp_path / "out", 2, engine="ray"))
    assert contents(tmp_path / "out") == {}


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_ray_starts_its_own_cluster_and_a_full_disk_ends_the_run(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    items = told(tmp_path, "good", "full", "good")
    with pytest.raises(OSError, match="is full"):
        runs.run(Behaves(tmp_path), items, Settings(tmp_path / "out", 1, engine="ray"))
    assert not ray.is_initialized()
    assert failed(tmp_path / "out") == []
