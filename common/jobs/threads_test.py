"""The crew of threads: results, errors, an early end; and runs that it does."""

import dataclasses
import functools
import operator
import os
import threading

import pytest

from common.flags import PLACES
from common.jobs import _threads, runs
from common.jobs.runs import Settings
from common.testing.tasks import Folders, behave, contents, failed, run

PATIENCE = 30  # seconds for what happens at once; a busy machine is slow


@pytest.mark.parametrize("count", [0, 1, 2, 80])
def test_every_argument_gets_its_result(count):
    double = functools.partial(operator.mul, 2)
    assert sorted(_threads.each(double, range(50), count, 1)) == [(k, 2 * k) for k in range(50)]
    assert list(_threads.each(double, [], count, 1)) == []


def test_one_thread_keeps_the_order():
    assert [k for k, _ in _threads.each(abs, range(50), 1, 1)] == list(range(50))


@pytest.mark.parametrize("count", [2, 3])
def test_so_many_work_at_the_same_time(count):
    together = threading.Barrier(count)

    def work(_):
        together.wait(PATIENCE)
        return threading.current_thread()

    threads = {thread for _, thread in _threads.each(work, range(2 * count), count, 1)}
    assert len(threads) == count
    assert threading.current_thread() not in threads
    assert all(thread.daemon for thread in threads)


def test_none_is_started_without_work(monkeypatch):
    started, start = [], threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: started.append(1) or start(self))
    assert sorted(_threads.each(abs, [-1, -2], 50, 1)) == [(-2, 2), (-1, 1)]
    assert len(started) == 2


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("error", [OSError, ImportError, IndexError, SystemExit, KeyboardInterrupt])
def test_whatever_is_raised_is_raised_here(error, count):
    def work(number):
        if number == 3:
            raise error("of this one")
        return number

    results = []
    with pytest.raises(error, match="of this one"):
        results.extend(_threads.each(work, range(4), count, 1))


@pytest.mark.parametrize("end", ["closed", "an error"])
def test_an_end_gives_out_no_more(end):
    begun, threads, at_work, go = [], set(), threading.Semaphore(0), threading.Event()

    def work(number):
        begun.append(number)
        threads.add(threading.current_thread())
        if number == 0 and end == "closed":
            return
        at_work.release()
        if number == 0:
            raise OSError("no space")
        go.wait(PATIENCE)

    results = _threads.each(work, range(50), 2, 1)
    if end == "closed":
        assert next(results) == (0, None)
        assert at_work.acquire(timeout=PATIENCE)
        assert at_work.acquire(timeout=PATIENCE)
        results.close()
    else:
        with pytest.raises(OSError, match="no space"):
            next(results)
    go.set()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert set(begun) <= {0, 1, 2}


def test_a_run_makes_the_same(videos, tmp_path):
    run(Folders(), videos, tmp_path / "one")
    log = tmp_path / "log"
    report = run(Folders(log=log), videos, tmp_path / "two", workers=2, engine="threads")
    assert (len(report.done), report.status) == (3, 0)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert {line.split()[0] for line in log.read_text().splitlines()} == {str(os.getpid())}
    report = run(Folders(), videos, tmp_path / "two", workers=2, engine="threads")
    assert len(report.skipped) == 3


def test_a_task_may_hold_what_does_not_pickle(videos, tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Locked(Folders):
        lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

        def make(self, item, temporary):
            with self.lock:
                return super().make(item, temporary)

    assert len(run(Locked(), videos, tmp_path / "out", workers=3, engine="threads").done) == 3


def test_a_run_lists_what_fails(tmp_path):
    hows = ("good", "value", "bug", "good", "os", "memory", "nothing")
    report = behave(tmp_path, *hows, workers=3, engine="threads", allow_failures=5)
    assert (report.done, report.status) == (("item 0", "item 3"), 0)
    assert [line["error"] for line in failed(tmp_path / "out")] == [
        "ValueError", "KeyError", "FileNotFoundError", "MemoryError", "RuntimeError",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        pytest.param(
            "full", OSError, "is full; 1 items are left to do",
            marks=pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here"),
        ),
        ("import", ImportError, r"needs x\. Install it"),
        ("interrupt", KeyboardInterrupt, None),
        ("exit", SystemExit, "3"),
    ],
)  # fmt: skip
def test_what_ends_a_run(tmp_path, how, error, text):
    with pytest.raises(error, match=text):
        behave(tmp_path, "good", how, workers=1, engine="threads")
    assert set(contents(tmp_path / "out")) == {"item 0.txt", ".item 0.txt.done"}


def test_the_commands_of_preparation_do_without():
    """Decoding may crash, and keeps the interpreter to itself: theirs are processes."""
    assert set(runs.ENGINES) == {"local", "ray", "threads"}
    assert PLACES == ("local", "ray")
    assert Settings("out").engine == "local"
