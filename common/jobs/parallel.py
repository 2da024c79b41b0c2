"""Calls a function for many arguments at a time: in processes, in threads, or on a Ray cluster."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import resource_tracker
from queue import SimpleQueue
from typing import Any, Generic, Literal, TypeVar

from common.hardware import THREADS

Argument = TypeVar("Argument")
Result = TypeVar("Result")
Call = Callable[[Any], Any]
Engine = Literal["local", "threads", "ray"]

_RETRIES = 3  # times that Ray repeats a call whose worker died
_PATIENCE = 10.0  # seconds for the end of calls on a cluster that are cancelled
_STARTING = threading.Lock()  # held while a process is started, which inherits the environment


class WorkerDiedError(ChildProcessError):
    """The process died that was to compute a result; the text says how."""


def each(
    function: Callable[[Argument], Result],
    arguments: Iterable[Argument],
    workers: int,
    threads: int = 1,
    engine: Engine = "local",
) -> Generator[tuple[Argument, Future[Result]], None, None]:
    """Yields each argument with its result, as they are ready; close it to end the rest.

    "local" starts processes: a crash costs one result, `WorkerDiedError`, and no other. They end
    with the generator and with this process, however it ends; Ctrl-C does not reach them. They are
    started afresh ("spawn"), so a program works under `if __name__ == "__main__":`.

    "threads" are of this process, and share what the function holds, such as a network.

    "ray" is the cluster of RAY_ADDRESS, or one on this machine. A call whose worker dies is
    repeated elsewhere. Every machine needs this package, and the same paths of sources and output.

    Args:
        function: Pickles, as do its arguments and results, unless the engine is "threads".
        arguments: What to call it with.
        workers: How many at a time; 0 calls the function here, where a debugger can look. Ray has
            as many as its cluster has processors, and `workers` of them on this machine.
        threads: Threads for the libraries in each process, unless the environment says otherwise.
        engine: See above.

    Raises:
        ImportError: Ray is not installed.
        RuntimeError: Processes cannot be started (by `result()` of the future).
    """
    waiting = deque(arguments)
    if not workers and engine != "ray":
        for argument in waiting:
            future: Future[Result] = Future()
            future.set_result(function(argument))
            yield argument, future
        return
    if not waiting:
        return
    ready: SimpleQueue[tuple[Argument, Future[Result]]] = SimpleQueue()

    def work(call: Callable[[Argument], Result]) -> None:
        with contextlib.suppress(IndexError):
            while True:
                argument, future = waiting.popleft(), Future[Result]()
                try:
                    future.set_result(call(argument))
                except BaseException as error:  # raised where somebody asks for the result
                    future.set_exception(error)
                ready.put((argument, future))

    count = len(waiting)
    with _ENGINES[engine](function, workers, threads) as calls:
        try:
            for call in calls[:count]:
                threading.Thread(target=work, args=(call,), daemon=True).start()
            for _ in range(count):
                yield ready.get()
        finally:
            waiting.clear()


class Processes(Generic[Argument, Result]):
    """Worker processes as those of `each`, for a caller that takes results in its own order."""

    def __init__(self, function: Callable[[Argument], Result], workers: int, threads: int = 1):
        """Starts nothing yet; see `each` for the arguments."""
        self._processes = [_Process(function, threads) for _ in range(workers)]
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._waiting = ThreadPoolExecutor(workers)  # a thread waits for each process

    def submit(self, argument: Argument) -> Future[Result]:
        """The future result of one call; whatever the call raises is raised by `result()`."""
        return self._waiting.submit(self._call, argument)

    def close(self) -> None:
        """Ends the processes at once."""
        self._waiting.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.close()

    def _call(self, argument: Argument) -> Result:
        process = self._idle.get()
        try:
            result: Result = process.call(argument)
            return result
        finally:
            self._idle.put(process)


@contextlib.contextmanager
def _threads(function: Call, workers: int, _: int) -> Iterator[list[Call]]:
    yield [function] * workers


@contextlib.contextmanager
def _processes(function: Call, workers: int, threads: int) -> Iterator[list[Call]]:
    several = [_Process(function, threads) for _ in range(workers)]
    try:
        yield [process.call for process in several]
    finally:
        for process in several:
            process.close()


@contextlib.contextmanager
def _ray(function: Call, workers: int, threads: int) -> Iterator[list[Call]]:
    try:
        import ray
    except ImportError as error:
        raise ImportError("--engine=ray needs Ray. Install it: pip install 'i3d[ray]'") from error
    started = not ray.is_initialized()
    if started:
        local = {"num_cpus": max(1, workers), "include_dashboard": False}
        ray.init(log_to_driver=False, **({} if os.environ.get("RAY_ADDRESS") else local))
    environment = {name: os.environ.get(name, str(threads)) for name in THREADS}
    options = {"num_cpus": 1, "max_retries": _RETRIES, "runtime_env": {"env_vars": environment}}
    remote = ray.remote(**options)(_call)
    shared = ray.put(function)
    running: set[Any] = set()

    def call(argument: object) -> Any:
        reference = remote.remote(shared, argument)
        running.add(reference)
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise WorkerDiedError(f"the worker process died {_RETRIES + 1} times") from error
        finally:
            running.discard(reference)

    try:
        # Twice as many wait here for their results as can be computed, so that none is idle.
        yield [call] * (2 * int(ray.cluster_resources().get("CPU", 1)))
    finally:
        left = list(running)
        for reference in left:
            ray.cancel(reference, force=True)
        if left:
            ray.wait(left, num_returns=len(left), timeout=_PATIENCE)
        if started:
            ray.shutdown()


_ENGINES = {"local": _processes, "threads": _threads, "ray": _ray}


def _call(function: Call, argument: object) -> Any:
    return function(argument)


class _Process:
    """A worker process, started by the first call; another takes its place when it has died."""

    def __init__(self, function: Call, threads: int):
        self._function = function
        self._threads = threads
        self._process: Any = None
        self._closed = False

    def call(self, argument: object) -> Any:
        """Calls the function there; raises what it raises, or `WorkerDiedError`."""
        if self._process is None:
            self._start()
        try:
            self._pipe.send(argument)
            succeeded, value = self._pipe.recv()
        except (EOFError, OSError):
            raise WorkerDiedError(f"the worker process {self._end()}") from None
        if not succeeded:
            raise value
        return value

    def close(self) -> None:
        """Ends the process at once, and starts no other; called by another thread."""
        with _STARTING:
            self._closed = True
        self._end()

    def _end(self) -> str:
        """Ends the process, in whatever thread comes first, and says how it ended."""
        with _STARTING:
            process, self._process = self._process, None
        if process is None:
            return "is gone"
        process.join(0 if self._closed else _PATIENCE)
        process.kill()
        process.join()
        status = process.exitcode or 0
        return f"died (signal {-status})" if status < 0 else f"ended (exit status {status})"

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        with theirs, _STARTING, _inherited(self._threads), _without_main(self._function):
            if self._closed:
                raise WorkerDiedError("the work is over")
            process = context.Process(target=_serve, args=(theirs, self._function), daemon=True)
            process.start()
            self._process = process
        try:
            self._pipe.recv()
        except (EOFError, OSError):
            raise RuntimeError(
                f"a worker process ends before it is ready ({self._end()}). The function must be "
                "of a module that can be imported, and a program that defines it must work under "
                '`if __name__ == "__main__":`.'
            ) from None


@contextlib.contextmanager
def _inherited(threads: int) -> Iterator[None]:
    """Sets what a process that is started now inherits: numbers of threads, and Ctrl-C ignored.

    The terminal sends Ctrl-C to every process; it is this one that ends the others.
    """
    missing = [name for name in THREADS if name not in os.environ]
    masks = hasattr(signal, "pthread_sigmask")  # not on Windows
    if masks:
        resource_tracker.ensure_running()  # it lets SIGINT through again when it is started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
    try:
        os.environ.update(dict.fromkeys(missing, str(threads)))
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _without_main(function: Call) -> Iterator[None]:
    """Keeps a process that is started now from importing the main program again, unless it must.

    `multiprocessing` imports it in every process, and with it TensorFlow or PyTorch: seconds and
    half a gigabyte each. Only a function that is defined there needs it.
    """
    main = sys.modules["__main__"]
    found = main.__spec__, getattr(main, "__file__", None)
    if b"__main__" not in pickle.dumps(function):
        main.__spec__ = main.__file__ = None
    try:
        yield
    finally:
        main.__spec__, main.__file__ = found


def _serve(pipe: Any, function: Call) -> None:
    """The main function of a worker process."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError):  # nobody is there any more
        pipe.send("ready")
        while True:
            argument = pipe.recv()
            try:
                answer = (True, function(argument))
            except Exception as error:
                answer = (False, _pickling(error))
            pipe.send(answer)


def _pickling(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _die_with_parent() -> None:
    """Ends this process, in the middle of its work, when its parent has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
