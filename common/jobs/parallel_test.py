"""Pools of processes and threads, and a Ray cluster: results, errors, deaths, and early ends."""

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

import numpy as np
import pytest

from common.jobs import inputs, parallel, runs
from common.jobs.parallel import Processes, Threads, WorkerDiedError
from common.jobs.runs import Item, Settings
from common.testing.tasks import Behaves, Folders, contents, failed, run

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


def _arrays(size):
    return {"clip": np.arange(size, dtype=np.int32).reshape(2, -1)[:, ::-1], "empty": np.zeros(0)}


def _results(function, arguments, workers, engine="local", threads=1):
    found = parallel.each(function, arguments, workers, threads, engine)
    return [(argument, future.result()) for argument, future in found]


@pytest.mark.parametrize("engine", ["local", "threads"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_argument_gets_its_result(engine, count):
    double = functools.partial(operator.mul, 2)
    assert sorted(_results(double, range(50), count, engine)) == [(k, 2 * k) for k in range(50)]
    assert _results(double, [], count, engine) == []


@pytest.mark.parametrize("engine", ["local", "threads"])
def test_one_worker_keeps_the_order(engine):
    assert [k for k, _ in _results(abs, range(50), 1, engine)] == list(range(50))


def test_few_arguments_are_taken_ahead():
    taken = []
    arguments = (taken.append(k) or k for k in range(1000))
    with contextlib.closing(parallel.each(abs, arguments, 2, engine="threads")) as results:
        next(results)
        assert len(taken) == 8


@pytest.mark.parametrize("engine", ["local", "threads"])
def test_an_error_is_raised_where_the_result_is_asked_for(engine):
    futures = {what: future for what, future in parallel.each(_act, ["a", "disk"], 1, 1, engine)}
    assert isinstance(futures["a"].result(), int)
    with pytest.raises(FileNotFoundError) as caught:
        futures["disk"].result()
    assert caught.value.filename == "x"


def test_a_pool_is_submitted_to(tmp_path):
    with contextlib.closing(Processes(_arrays, 2)) as pool:
        futures = [pool.submit(size) for size in (2, 4, 4_000_000)]
        for size, future in zip((2, 4, 4_000_000), futures, strict=True):
            found, expected = future.result(), _arrays(size)
            assert found.keys() == expected.keys()
            for name in expected:
                np.testing.assert_array_equal(found[name], expected[name])


# Processes


def test_a_death_costs_one_result():
    told = ["a", "die", "b", "exit", "c"]
    futures = dict(parallel.each(_act, told, 1))
    assert list(futures) == told
    with pytest.raises(WorkerDiedError, match=r"the worker process died \(signal 9\)"):
        futures["die"].result()
    with pytest.raises(WorkerDiedError, match=r"the worker process ended \(exit status 7\)"):
        futures["exit"].result()
    pids = [futures[what].result() for what in "abc"]
    assert len(set(pids)) == 3  # each death brings a new process
    assert os.getpid() not in pids


def test_an_error_that_does_not_pickle_is_said():
    ((_, future),) = parallel.each(_act, ["odd"], 1)
    with pytest.raises(RuntimeError, match="OddError: of two"):
        future.result()


def test_threads_of_libraries(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENCV_FOR_THREADS_NUM", "5")
    assert _results(_act, ["threads"], 1, threads=3) == [("threads", ("3", "5"))]
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_program_without_a_guard_is_told(tmp_path):
    """A worker imports the program; one that starts workers at import would never end."""
    program = tmp_path / "program.py"
    program.write_text(
        "from common.jobs import parallel\n"
        "print([future.result() for _, future in parallel.each(abs, [1], 1)])\n"
    )
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "worker processes end before they are ready (ended (exit status 1))" in done.stderr


def test_processes_end_when_nobody_listens_any_more():
    results = parallel.each(_act, ["a"] * 50, 2)
    pids = {next(results)[1].result() for _ in range(4)}
    results.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_processes_ignore_interrupts():
    """The terminal sends Ctrl-C to all; this process ends the others."""
    ((_, pid),) = _results(_act, ["interrupt"], 1)
    assert pid != os.getpid()


def test_a_command_starts_processes(videos, tmp_path):
    """Of `python -m PACKAGE.COMMAND`, which they import again."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/__init__.py").touch()
    (tmp_path / "tiny/command_of_ours.py").write_text(COMMAND)
    done = subprocess.run(
        [sys.executable, "-m", "tiny.command_of_ours", f"--videos={videos}", "--out=out"],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "make_folders: 3 done, 0 skipped, 0 failed, 9 files\n"
    run(Folders(), videos, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


# Threads


@pytest.mark.parametrize("count", [2, 3])
def test_so_many_threads_work_at_the_same_time(count):
    together = threading.Barrier(count)

    def work(_):
        together.wait(PATIENCE)
        return threading.current_thread()

    threads = {thread for _, thread in _results(work, range(2 * count), count, "threads")}
    assert len(threads) == count
    assert threading.current_thread() not in threads
    assert all(thread.daemon for thread in threads)


@pytest.mark.parametrize("pool", [Threads, Processes])
def test_no_more_workers_than_arguments(pool):
    with contextlib.closing(pool(abs, 50)) as several:
        futures = [several.submit(-1), several.submit(-1)]
        assert [future.result() for future in futures] == [1, 1]
        assert len(several._threads) == 2


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("error", [IndexError, SystemExit, KeyboardInterrupt])
def test_whatever_a_thread_raises_is_raised_here(error, count):
    def work(number):
        if number == 3:
            raise error("of this one")
        return number

    with pytest.raises(error, match="of this one"):
        _results(work, range(4), count, "threads")


def test_a_closed_pool_of_threads_begins_no_more():
    begun, at_work, go = [], threading.Semaphore(0), threading.Event()

    def work(number):
        begun.append(number)
        at_work.release()
        go.wait(PATIENCE)

    pool = Threads(work, 2)
    futures = [pool.submit(k) for k in range(50)]
    assert at_work.acquire(timeout=PATIENCE)
    assert at_work.acquire(timeout=PATIENCE)
    pool.close()
    go.set()
    for thread in pool._threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert set(begun) == {0, 1}
    assert all(future.cancelled() for future in futures[2:])


def test_a_run_in_threads_makes_the_same(videos, tmp_path):
    run(Folders(), videos, tmp_path / "one")
    log = tmp_path / "log"
    report = run(Folders(log=log), videos, tmp_path / "two", workers=2, engine="threads")
    assert (len(report.done), report.status) == (3, 0)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert {line.split()[0] for line in log.read_text().splitlines()} == {str(os.getpid())}
    report = run(Folders(), videos, tmp_path / "two", workers=2, engine="threads")
    assert len(report.skipped) == 3


# Ray


def test_without_ray_it_says_what_to_install(tmp_path, monkeypatch):
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


def _told(tmp_path, *hows):
    (tmp_path / "notes").mkdir()
    for k, how in enumerate(hows):
        (tmp_path / f"{k}.how").write_text(how)
    return [Item(f"{k}", tmp_path / f"{k}.how") for k in range(len(hows))]


@pytest.mark.slow
def test_ray_makes_the_same(tmp_path, cluster):
    (tmp_path / "videos").mkdir()
    for k in range(12):
        (tmp_path / f"videos/clip {k}.mp4").write_text(f"video {k}")
    items = inputs.items(tmp_path / "videos")
    report = runs.run(Folders(), items, Settings(tmp_path / "out", 2, engine="ray"))
    assert (len(report.done), report.status) == (12, 0)
    runs.run(Folders(), items, Settings(tmp_path / "fresh", workers=0))
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    report = runs.run(Folders(), items, Settings(tmp_path / "out", 2, engine="ray"))
    assert len(report.skipped) == 12


@pytest.mark.slow
def test_an_item_whose_ray_worker_was_killed_is_made_elsewhere(tmp_path, cluster):
    items = _told(tmp_path, "good", "kill once", "value", "good", "good", "kill", "good")
    task = Behaves(tmp_path / "notes")
    report = runs.run(task, items, Settings(tmp_path / "out", 2, engine="ray"))
    killed = int((tmp_path / "notes/1").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(killed, 0)
    assert killed != os.getpid()
    assert report.done == ("0", "1", "3", "4", "6")
    assert report.reasons["2"] == "a value\nof two lines"
    assert report.reasons["5"] == "the worker process died 4 times"
    good = [item for item in items if item.name not in report.failed]
    runs.run(task, good, Settings(tmp_path / "fresh", workers=0))
    ours = contents(tmp_path / "out")
    del ours["failed.jsonl"]
    assert ours == contents(tmp_path / "fresh")


@pytest.mark.slow
def test_a_run_that_is_left_takes_its_items_along(tmp_path, cluster):
    """The cluster goes on, its calls for this run do not."""
    items = _told(tmp_path, "hang", "import")
    with pytest.raises(ImportError, match="needs x"):
        runs.run(Behaves(tmp_path / "notes"), items, Settings(tmp_path / "out", 2, engine="ray"))
    assert contents(tmp_path / "out") == {}


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_ray_starts_its_own_cluster_and_a_full_disk_ends_the_run(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    items = _told(tmp_path, "good", "full", "good")
    with pytest.raises(OSError, match="is full"):
        runs.run(Behaves(tmp_path), items, Settings(tmp_path / "out", 1, engine="ray"))
    assert not ray.is_initialized()
    assert failed(tmp_path / "out") == []
