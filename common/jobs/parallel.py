"""Calls a function for many arguments at a time: in processes, in threads, or on a Ray cluster.

The three pools have one interface: `submit(argument)` returns a `concurrent.futures.Future`, and
`close()` ends the pool (`contextlib.closing`). `each` feeds one and yields what is ready.
"""

import contextlib
import functools
import itertools
import os
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Generic, Literal, TypeVar

from common.jobs._process import STARTING, Process, WorkerDiedError
from common.processors import THREADS

__all__ = ["Processes", "Ray", "Threads", "WorkerDiedError", "each"]

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_AHEAD = 4  # arguments handed to a pool for each worker; the rest waits in `each`
_RETRIES = 3  # times that Ray repeats a call whose worker died
_PATIENCE = 10.0  # seconds for the end of calls on a cluster that are cancelled


class Threads(Generic[Argument, Result]):
    """Threads of this process, which share what the function holds, such as a network.

    A thread cannot be killed: after `close` it finishes its call, or ends with this process.
    """

    def __init__(self, function: Callable[[Argument], Result], workers: int, threads: int = 1):
        """Starts nothing yet.

        Args:
            function: May be called by several threads at a time.
            workers: Number of threads.
            threads: No effect: libraries have the threads of this process.
        """
        self.width = workers
        self._function = function
        self._todo: SimpleQueue[tuple[Argument, Future[Result]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, argument: Argument) -> Future[Result]:
        """The future result of one call; whatever the call raises is raised by `result()`."""
        future: Future[Result] = Future()
        self._todo.put((argument, future))
        if len(self._threads) < self.width:
            self._threads.append(threading.Thread(target=self._work, daemon=True))
            self._threads[-1].start()
        return future

    def close(self) -> None:
        """Cancels the calls that have not begun."""
        with contextlib.suppress(Empty):
            while task := self._todo.get_nowait():
                task[1].cancel()
        for _ in self._threads:
            self._todo.put(None)

    def _work(self) -> None:
        call = self._caller()
        while task := self._todo.get():
            argument, future = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call(argument))
                except BaseException as error:  # raised where somebody asks for the result
                    future.set_exception(error)

    def _caller(self) -> Callable[[Argument], Result]:
        return self._function


class Processes(Threads[Argument, Result]):
    """Processes: a call that crashes costs its own result and no other.

    They end with `close`, at once, and with this process, however it ends; Ctrl-C does not reach
    them. Arrays in results are not copied by pickle. Processes are started afresh ("spawn"), since
    a fork copies the locks of libraries that have threads; so a program that uses them does its
    work under `if __name__ == "__main__":`.
    """

    def __init__(self, function: Callable[[Argument], Result], workers: int, threads: int = 1):
        """Starts nothing yet.

        Args:
            function: Pickles, as do its arguments and results; each process gets it once.
            workers: Number of processes.
            threads: Threads for the libraries in each, unless the environment says otherwise.
        """
        super().__init__(function, workers, threads)
        self._library_threads = threads
        self._processes: list[Process] = []

    def close(self) -> None:
        super().close()
        with STARTING:
            processes = list(self._processes)
            for process in processes:
                process.kill()
        for thread in self._threads:
            thread.join()
        for process in processes:
            process.end()

    def _caller(self) -> Callable[[Argument], Result]:
        process = Process(self._function, self._library_threads)
        self._processes.append(process)
        return process.call


class Ray(Threads[Argument, Result]):
    """The cluster of RAY_ADDRESS, or a local one; calls whose worker dies are repeated elsewhere.

    Every machine of a cluster needs this package, and the same paths of sources and output.
    """

    def __init__(self, function: Callable[[Argument], Result], workers: int, threads: int = 1):
        """Connects to the cluster, unless this process is connected.

        Args:
            function: Pickles, as do its arguments and results.
            workers: Calls at a time on a local cluster.
            threads: Threads for the libraries in each, unless the environment says otherwise.

        Raises:
            ImportError: Ray is not installed.
        """
        try:
            import ray
        except ImportError as error:
            raise ImportError(
                "--engine=ray needs Ray. Install it: pip install 'i3d[ray]'"
            ) from error
        self._ray = ray
        self._started = not ray.is_initialized()
        if self._started and os.environ.get("RAY_ADDRESS"):
            ray.init(log_to_driver=False)
        elif self._started:
            ray.init(num_cpus=max(1, workers), include_dashboard=False, log_to_driver=False)
        # Twice as many wait here for their results as can be computed, so that none is idle.
        super().__init__(function, 2 * int(ray.cluster_resources().get("CPU", 1)))
        environment = {name: os.environ.get(name, str(threads)) for name in THREADS}
        options = {"num_cpus": 1, "max_retries": _RETRIES, "runtime_env": {"env_vars": environment}}
        self._remote = ray.remote(**options)(_call)
        self._shared = ray.put(function)
        self._running: set[Any] = set()

    def close(self) -> None:
        super().close()
        running = list(self._running)
        for reference in running:
            self._ray.cancel(reference, force=True)
        if running:
            self._ray.wait(running, num_returns=len(running), timeout=_PATIENCE)
        if self._started:
            self._ray.shutdown()

    def _caller(self) -> Callable[[Argument], Result]:
        return self._get

    def _get(self, argument: Argument) -> Result:
        reference = self._remote.remote(self._shared, argument)
        self._running.add(reference)
        try:
            result: Result = self._ray.get(reference)
            return result
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise WorkerDiedError(f"the worker process died {_RETRIES + 1} times") from error
        finally:
            self._running.discard(reference)


Engine = Literal["local", "threads", "ray"]
ENGINES: dict[str, type[Any]] = {"local": Processes, "threads": Threads, "ray": Ray}


def each(
    function: Callable[[Argument], Result],
    arguments: Iterable[Argument],
    workers: int,
    threads: int = 1,
    engine: Engine = "local",
) -> Generator[tuple[Argument, Future[Result]], None, None]:
    """Yields each argument with its result, as they are ready.

    Closing the generator closes the pool.

    Args:
        function: See the pool.
        arguments: What to call it with; at most four for each worker are taken ahead.
        workers: How many at a time; 0 calls the function here, where a debugger can look.
        threads: See the pool.
        engine: "local" for `Processes`, "threads" for `Threads`, "ray" for `Ray`.

    Raises:
        RuntimeError: Processes cannot be started (by `result()` of the future).
    """
    if not workers and engine != "ray":
        for argument in arguments:
            future: Future[Result] = Future()
            future.set_result(function(argument))
            yield argument, future
        return
    waiting, running = iter(arguments), 0
    ready: SimpleQueue[tuple[Argument, Future[Result]]] = SimpleQueue()
    with contextlib.closing(ENGINES[engine](function, workers, threads)) as pool:
        while True:
            for argument in itertools.islice(waiting, _AHEAD * pool.width - running):
                note = functools.partial(
                    lambda argument, done: ready.put((argument, done)), argument
                )
                pool.submit(argument).add_done_callback(note)
                running += 1
            if not running:
                return
            yield ready.get()
            running -= 1


def _call(function: Callable[[Argument], Result], argument: Argument) -> Result:
    return function(argument)
