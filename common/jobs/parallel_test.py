"""Processes, threads, and a Ray cluster: results, errors, deaths, and early ends."""

import builtins
import contextlib
import functools
import io
import operator
import os
import signal
import sys
import threading

import pytest

from common.jobs import parallel
from common.jobs.parallel import Pool, Progress, WorkerDiedError
from common.testing.tasks import Folders, contents, failed, run, states, told

PATIENCE = 30  # seconds for what happens at once; a busy machine is slow


def _act(what):
    """Does what it is told, in a worker."""
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "exit":
        raise SystemExit(7)
    if what == "disk":
        raise FileNotFoundError(2, "not there", "x")
    if what == "threads":
        print("among the results")
        return os.environ["OMP_NUM_THREADS"], os.environ["OPENCV_FOR_THREADS_NUM"]
    return os.getpid()


def _each(*arguments, work):
    with contextlib.closing(Pool(*arguments)) as pool:
        yield from pool.each(work)


@pytest.mark.parametrize("engine", ["local", "threads"])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_argument_gets_its_result(engine, workers):
    double = functools.partial(operator.mul, 2)
    found = [(k, one.result()) for k, one in _each(double, workers, 1, engine, work=range(50))]
    assert sorted(found) == [(k, 2 * k) for k in range(50)]
    assert list(_each(double, workers, 1, engine, work=[])) == []


def test_a_process_and_what_becomes_of_it(monkeypatch):
    """A death costs one result; errors arrive."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENCV_FOR_THREADS_NUM", "5")
    what = ["a", "die", "b", "exit", "c", "threads", "disk"]
    futures = dict(_each(_act, 1, 3, work=what))
    with pytest.raises(WorkerDiedError, match=r"the worker process died \(signal 9\)"):
        futures["die"].result()
    with pytest.raises(SystemExit, match="7"):
        futures["exit"].result()
    assert len({os.getpid(), *(futures[name].result() for name in "abc")}) == 3
    assert futures["threads"].result() == ("3", "5")
    with pytest.raises(FileNotFoundError) as caught:
        futures["disk"].result()
    assert caught.value.filename == "x"


def test_processes_end_when_nobody_listens_any_more():
    results = _each(_act, 2, work=["a"] * 50)
    pids = {next(results)[1].result() for _ in range(4)}
    results.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_threads_end_with_an_error_and_begin_no_more_once_nobody_listens():
    begun, go = [], threading.Event()

    def work(number):
        begun.append(number)
        if number == 0:
            raise KeyboardInterrupt
        go.wait(PATIENCE)

    results = _each(work, 2, 1, "threads", work=range(50))
    with pytest.raises(KeyboardInterrupt):
        next(results)[1].result()
    results.close()
    go.set()
    assert len(begun) <= 4


def test_progress_is_a_bar_on_a_terminal_and_lines_in_a_log(monkeypatch, capsys):
    monkeypatch.setattr(parallel, "_PAUSE", 0)
    shown = Progress("extract_frames", 4)
    for k in range(3):
        shown.add(failed=k == 1)
    shown.close()
    last = capsys.readouterr().err.strip().splitlines()[-1].strip("\r ")
    assert last.startswith("extract_frames: 3 of 4 items, ") and last.endswith(" left, 1 failed")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = Progress("extract_frames", 1)
    shown.add(failed=True)
    shown.close()
    for text in ("extract_frames: 100%", "1/1", "1 failed"):
        assert text in terminal.getvalue()


def test_without_ray_it_says_what_to_install(monkeypatch):
    imported = builtins.__import__

    def missing(name, *arguments):
        if name == "ray":
            raise ImportError("No module named 'ray'")
        return imported(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'i3d\[ray\]'"):
        Pool(abs, 1, engine="ray")


@pytest.mark.slow
def test_a_cluster_makes_the_same_and_repeats_elsewhere_what_died(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    items = told(tmp_path / "items", "good", "kill once", "value", "good", "kill")
    outcomes = run(Folders(), items, tmp_path / "out", workers=2, engine="ray")
    assert not ray.is_initialized()
    assert states(outcomes) == ["done", "done", "failed", "done", "failed"]
    assert outcomes[2].reason == "a value\nof two lines"
    assert outcomes[4].reason == "the worker process died 4 times"
    assert [line["item"] for line in failed(tmp_path / "out")] == ["item 2", "item 4"]
    (tmp_path / "out/failed.jsonl").unlink()
    run(Folders(), [items[0], items[1], items[3]], tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    for how, error in (("full", OSError), ("import", ImportError)):
        items = told(tmp_path / "items", "hang", how)
        with pytest.raises(error, match=r"No space|needs x"):
            run(Folders(), items, tmp_path / how, workers=2, engine="ray")
