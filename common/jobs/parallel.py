"""Calls a function for many arguments at a time: in processes, in threads, or on a Ray cluster."""

import contextlib
import importlib
import itertools
import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from common.hardware import THREADS

Argument = TypeVar("Argument")
Result = TypeVar("Result")
Call = Callable[[Any], Any]

_RETRIES = 3  # times that Ray repeats a call whose worker died
_PAUSE = 60.0  # seconds between two lines in a log


class WorkerDiedError(ChildProcessError):
    """The process died that was to compute a result; the text says how."""


class Pool(Generic[Argument, Result]):
    """Workers that call a function, by one of three engines.

    local: processes. A crash costs one result, `WorkerDiedError`, and no other. They end with the
        pool and with this process, however it ends; Ctrl-C does not reach them.
    threads: share what the function holds, such as a network.
    ray: the cluster of RAY_ADDRESS, or one on this machine, with as many workers as it has
        processors. Every machine needs this package, and the same paths of sources and output.
    """

    def __init__(
        self,
        function: Callable[[Argument], Result],
        workers: int,
        threads: int = 1,
        engine: str = "local",
    ):
        """Starts no process before there is something to call; `ImportError` without Ray.

        Function, arguments and results are pickled, but for "threads". 0 `workers` call it here,
        for a debugger; `threads` are those of the libraries in each process.
        """
        environment = {name: os.environ.get(name, str(threads)) for name in THREADS}
        self._function = function
        self._waiting: SimpleQueue[Any] = SimpleQueue()
        self._ending = contextlib.ExitStack()
        calls: list[Call] = [function] * workers
        if engine == "ray":
            calls = self._ending.enter_context(_ray(function, workers, environment))
        elif engine == "local":
            processes = [_Process(function, environment) for _ in range(workers)]
            calls = [process.call for process in processes]
            for process in processes:
                self._ending.callback(process.close)
        self._size = len(calls)
        for call in calls:
            threading.Thread(target=self._work, args=(call,), daemon=True).start()

    def submit(self, argument: Argument) -> Future[Result]:
        """The future result of one call; whatever the call raises is raised by `result()`."""
        future: Future[Result] = Future()
        if self._size:
            self._waiting.put((argument, future))
        else:
            _settle(self._function, argument, future)
        return future

    def each(self, arguments: Iterable[Argument]) -> Iterator[tuple[Argument, Future[Result]]]:
        """Yields each argument with its result, as they are ready."""
        waiting, running = iter(arguments), dict[Future[Result], Argument]()
        while True:
            for argument in itertools.islice(waiting, max(1, 2 * self._size) - len(running)):
                running[self.submit(argument)] = argument
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future

    def in_order(self, arguments: Iterable[Argument], ahead: int) -> Iterator[Result]:
        """Yields the results in the order of the arguments, with up to `ahead` more on the way."""
        waiting = deque[Future[Result]]()
        for argument in arguments:
            waiting.append(self.submit(argument))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def close(self) -> None:
        """Ends processes at once; threads end what they have begun, and begin nothing more."""
        with contextlib.suppress(Empty):
            while True:
                self._waiting.get_nowait()
        for _ in range(self._size):
            self._waiting.put(None)
        self._ending.close()

    def _work(self, call: Callable[[Argument], Result]) -> None:
        while job := self._waiting.get():
            _settle(call, *job)


def _settle(call: Call, argument: object, future: "Future[Any]") -> None:
    try:
        future.set_result(call(argument))
    except BaseException as error:  # raised where somebody asks for the result
        future.set_exception(error)


class Progress:
    """Counts items on stderr, with rate and time left: a bar on a terminal, lines in a log."""

    def __init__(self, command: str, total: int, unit: str = "items", done: int = 0):
        log: dict[str, Any] = {}
        if not sys.stderr.isatty():
            line = "{desc}: {n_fmt} of {total_fmt}{unit}, {rate_fmt}, {remaining} left{postfix}\n"
            log = {"mininterval": _PAUSE, "delay": _PAUSE, "bar_format": line}
        self._bar = tqdm(
            total=total, initial=done, desc=command, unit=f" {unit}", dynamic_ncols=True, **log
        )
        self._failed = 0

    def add(self, failed: bool) -> None:
        self._failed += failed
        if self._failed:
            self._bar.set_postfix_str(f"{self._failed} failed", refresh=False)
        self._bar.update()

    def show(self, done: int, text: str) -> None:
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        self._bar.close()


@contextlib.contextmanager
def _ray(function: Call, workers: int, environment: dict[str, str]) -> Iterator[list[Call]]:
    try:
        import ray
    except ImportError as error:
        raise ImportError("--engine=ray needs Ray. Install it: pip install 'i3d[ray]'") from error
    local = {"num_cpus": max(1, workers), "include_dashboard": False}
    ray.init(log_to_driver=False, **({} if os.environ.get("RAY_ADDRESS") else local))
    options = {"num_cpus": 1, "max_retries": _RETRIES, "runtime_env": {"env_vars": environment}}
    remote = ray.remote(**options)(lambda function, argument: function(argument))
    shared = ray.put(function)

    def call(argument: object) -> Any:
        try:
            return ray.get(remote.remote(shared, argument))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise WorkerDiedError(f"the worker process died {_RETRIES + 1} times") from error

    try:
        # Twice as many wait here for their results as can be computed, so that none is idle.
        yield [call] * (2 * int(ray.cluster_resources().get("CPU", 1)))
    finally:
        ray.shutdown()  # which ends what is running


class _Process:
    """A worker process, started by the first call; another takes its place when it has died.

    `multiprocessing` would import the main program, and with it TensorFlow or PyTorch, in each.
    """

    def __init__(self, function: Call, environment: dict[str, str]):
        self._function = pickle.dumps(function)
        path = os.pathsep.join(map(os.path.abspath, sys.path))
        self._environment = {**os.environ, **environment, "PYTHONPATH": path}
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, argument: object) -> Any:
        """Calls the function there; raises what it raises, or `WorkerDiedError`."""
        data = pickle.dumps(argument)
        if self._process is None:
            data, self._process = self._function + data, self._start()
        process = self._process
        assert process.stdin and process.stdout
        try:
            process.stdin.write(data)
            process.stdin.flush()
            succeeded, value = pickle.load(process.stdout)  # noqa: S301  # our own
        except (EOFError, OSError, pickle.UnpicklingError):
            self._process, status = None, _reap(process)
            how = f"died (signal {-status})" if status < 0 else f"ended (exit status {status})"
            raise WorkerDiedError(f"the worker process {how}") from None
        if not succeeded:
            raise value
        return value

    def close(self) -> None:
        """Ends the process at once; called by another thread."""
        if process := self._process:
            process.kill()
            _reap(process)

    def _start(self) -> "subprocess.Popen[bytes]":
        spec = sys.modules["__main__"].__spec__
        main = spec.name if spec and b"__main__" in self._function else ""
        return subprocess.Popen(
            [sys.executable, "-Pc", "from common.jobs import parallel; parallel.serve()", main],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            start_new_session=True,  # else the terminal sends Ctrl-C there, too
        )


def _reap(process: "subprocess.Popen[bytes]") -> int:
    """Waits for the end of a process, closes its pipes, and returns its exit status."""
    with contextlib.suppress(BrokenPipeError), process:
        pass
    return process.wait()


def serve() -> None:
    """Runs a worker process: calls come by stdin, results go to stdout."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that is printed may get among the results
    if main := sys.argv[1]:  # the program `python -m MAIN`, which defines the function
        sys.modules["__main__"] = importlib.import_module(main)
    received: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(received,), daemon=True).start()
    function = received.get()
    while True:
        argument = received.get()
        try:
            answer = pickle.dumps((True, function(argument)))
        except BaseException as error:
            answer = pickle.dumps((False, error))
        answers.write(answer)
        answers.flush()


def _receive(received: "SimpleQueue[Any]") -> None:
    """Puts what comes by stdin into a queue; ends this process, in its work, with its parent."""
    try:
        while True:
            received.put(pickle.load(sys.stdin.buffer))  # noqa: S301  # our own
    except Exception as error:
        if not isinstance(error, EOFError):
            traceback.print_exc()
    os._exit(1)
