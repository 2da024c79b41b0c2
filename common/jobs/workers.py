"""A crew of worker processes, one item at a time each; a worker may die without the others.

Workers are started afresh ("spawn"), not forked: a fork copies the locks of libraries that have
threads. So a program that starts workers needs `if __name__ == "__main__":` around what it does.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing import connection
from typing import Any, Generic, TypeVar

from common.processors import THREADS

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_FALSE_STARTS = 3  # so many workers in a row that die before they are ready end the run
_PATIENCE = 10.0  # seconds for a worker to end by itself when there is nothing more to do


@dataclasses.dataclass(frozen=True)
class Died:
    """In place of a result: the worker died over it; `reason` says how."""

    reason: str


def each(
    function: Callable[[Argument], Result],
    arguments: Iterable[Argument],
    workers: int,
    threads: int,
) -> Generator[tuple[Argument, Result | Died], None, None]:
    """Yields each argument with the function's result, in the order they are ready.

    Closing the generator kills what is still at work. Workers die with this process.

    Args:
        function: Something that pickles; what it returns pickles too.
        arguments: What to call it with; none of them is None.
        workers: How many processes; 0 does it all in this one, where a debugger can look.
        threads: How many threads a worker's libraries may use, where the environment is silent.

    Raises:
        OSError, ImportError: The function raised it.
        RuntimeError: Workers cannot be started.
    """
    if not workers:
        yield from ((each, function(each)) for each in arguments)
        return
    waiting = list(arguments)[::-1]
    crew: list[_Worker[Argument]] = []
    false_starts = 0
    try:
        while True:
            for worker in crew:
                if waiting and worker.argument is None:
                    worker.give(waiting.pop())
            while waiting and len(crew) < workers:
                crew.append(_Worker(function, threads))
                crew[-1].give(waiting.pop())
            busy = {worker.pipe: worker for worker in crew if worker.argument is not None}
            if not busy:
                return
            for pipe in connection.wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]  # of pipes, `wait` gives pipes
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError):
                    kind, value = "died", worker.end()
                    crew.remove(worker)
                argument = worker.argument
                if argument is None or kind == "ready":
                    worker.ready, false_starts = True, 0
                elif kind == "error":
                    raise value
                elif kind == "died" and not worker.ready:
                    waiting.append(argument)
                    false_starts += 1
                    if false_starts == _FALSE_STARTS:
                        raise RuntimeError(
                            f"worker processes end before they are ready ({value}). The task must "
                            "be of a module that can be imported, and a program must do its work "
                            'under `if __name__ == "__main__":`.'
                        )
                else:
                    worker.argument = None
                    yield argument, Died(f"the worker process {value}") if kind == "died" else value
    finally:
        for worker in crew:  # all of them first, for each takes a moment
            worker.dismiss()
        for worker in crew:
            worker.end()


class _Worker(Generic[Argument]):
    """A process, this end of its pipe, and what it is at: None when it is idle."""

    def __init__(self, function: Callable[[Argument], object], threads: int):
        context = multiprocessing.get_context("spawn")
        self.argument: Argument | None = None
        self.ready = False
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other, function), daemon=True)
        with _surroundings(threads):
            self._process.start()
        other.close()  # so that the pipe ends with the process

    def give(self, argument: Argument) -> None:
        self.argument = argument
        with contextlib.suppress(BrokenPipeError):  # it died; the pipe's end will say so
            self.pipe.send(argument)

    def dismiss(self) -> None:
        """Lets the process end; at once if it is at something."""
        if self.argument is not None:
            self._process.kill()
        self.pipe.close()

    def end(self) -> str:
        """Waits for the end of the process; says how it ended."""
        self.pipe.close()
        self._process.join(_PATIENCE)
        self._process.kill()
        self._process.join()
        status = self._process.exitcode or 0
        return f"died (signal {-status})" if status < 0 else f"ended (exit status {status})"


@contextlib.contextmanager
def _surroundings(threads: int) -> Iterator[None]:
    """What a process that is started now inherits: numbers of threads, and deaf to Ctrl-C.

    The terminal interrupts every process; it is this one that ends the others.
    """
    missing = [name for name in THREADS if name not in os.environ]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        os.environ.update(dict.fromkeys(missing, str(threads)))
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: "connection.Connection[Any, Any]", function: Callable[[Any], object]) -> None:
    """What a worker does."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    message: tuple[str, object] = ("ready", None)
    with contextlib.suppress(EOFError, BrokenPipeError):  # nobody is there any more
        while True:
            pipe.send(message)
            argument = pipe.recv()
            message = _answer(function, argument)


def _answer(function: Callable[[Any], object], argument: object) -> tuple[str, object]:
    try:
        return "result", function(argument)
    except (OSError, ImportError) as error:
        return "error", error


def _die_with_parent() -> None:
    """Ends this process in the middle of its work when the parent has gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
