"""A pool of processes that make training data ahead of the process that trains."""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, TypeVar

from common.processors import THREADS

T = TypeVar("T")
Key = tuple[int, int, int]
"""Seed, epoch and index of an item."""

_EXIT_TIMEOUT = 10.0  # seconds to wait for the exit status of a worker whose pipe has closed
_PROGRAM = "import sys; sys.path[:] = {}; from common.training import worker_pool as p; p.work()"


def ordered_map(
    function: Callable[[int, int, int], T], keys: Iterable[Key], workers: int, ahead: int
) -> Generator[T]:
    """Yields function(*key) for each key, in order; closing the iterator ends the processes.

    Args:
        function: It pickles, and so do its results and errors.
        keys: Its arguments.
        workers: Processes; 0 calls it in this one, when a result is asked for.
        ahead: How many results there are at most, finished or in work, that nobody has taken.

    Raises:
        ValueError, OSError, ImportError: The function raised it, at the turn of that key.
        ChildProcessError: A worker died.
    """
    if not workers:
        yield from (function(*key) for key in keys)
        return
    pickled = pickle.dumps(function)
    pool: list[_Worker] = []
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()

    def make(key: Key) -> Any:
        worker = idle.get()
        try:
            return worker.make(key)
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(workers, thread_name_prefix="workers")  # one waits for each
    try:
        for _ in range(workers):
            pool.append(_Worker(pickled))
            idle.put(pool[-1])
        waiting: deque[Future[Any]] = deque()
        for key in keys:
            if len(waiting) == ahead:
                yield waiting.popleft().result()
            waiting.append(threads.submit(make, key))
        while waiting:
            yield waiting.popleft().result()
    finally:
        for worker in pool:
            worker.process.kill()
        threads.shutdown(cancel_futures=True)
        for worker in pool:
            worker.end()


class _Worker:
    """A process that calls the function: keys go to its stdin, pickled results come from stdout.

    It is a program of its own rather than one of `multiprocessing`, which would import the main
    program again, and TensorFlow or PyTorch with it: seconds and half a gigabyte each. It ends
    when this process does, whatever the reason; Ctrl-C does not reach it.
    """

    def __init__(self, function: bytes):
        self._unsent = function
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM.format(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**dict.fromkeys(THREADS, "1"), **os.environ},
            process_group=0,  # Ctrl-C in a terminal goes to this process's group alone
        )

    def make(self, key: Key) -> Any:
        """Has it make one item, and waits for it.

        Raises:
            ValueError, OSError, ImportError: The function raised it.
            ChildProcessError: The process died.
        """
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin and stdout
        try:
            stdin.write(self._unsent + pickle.dumps(key))
            stdin.flush()
            self._unsent = b""
            answer = pickle.load(stdout)  # noqa: S301  # what our own process has written
        except (EOFError, OSError, pickle.UnpicklingError):
            raise ChildProcessError(self._death(key)) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        """Waits for the end of the killed process, and closes its pipes."""
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # it did not read all that was meant for it
                pipe.close()  # type: ignore[union-attr]

    def _death(self, key: Key) -> str:
        try:
            status = self.process.wait(_EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        how = f"died (signal {-status})" if status < 0 else f"ended (exit status {status})"
        killed = status == -signal.SIGKILL
        advice = "If memory ran out, use fewer workers." if killed else "Its output says why."
        return f"a data worker {how} at item {key[2]} of epoch {key[1]}. {advice}"


def work() -> None:
    """The program of a worker process; see `_Worker`."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get among the answers
    function = _received(sys.stdin.buffer)
    while key := _received(sys.stdin.buffer):
        try:
            answer = function(*key)
        except (ValueError, OSError, ImportError) as error:
            answer = error
        try:
            pickle.dump(answer, answers, protocol=5)
            answers.flush()
        except BrokenPipeError:
            os._exit(0)  # nobody listens any more; closing the pipe would fail again


def _received(stream: IO[bytes]) -> Any:
    """The next object; None once the other side has closed the pipe."""
    try:
        return pickle.load(stream)  # noqa: S301  # of the process that started this one
    except EOFError:
        return None
