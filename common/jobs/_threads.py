"""The same work in threads of this process, which share what a task holds: a network."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def each(
    function: Callable[[Argument], Result],
    arguments: Iterable[Argument],
    workers: int,
    threads: int,
) -> Generator[tuple[Argument, Result], None, None]:
    """As `workers.each`, in threads; nothing is pickled.

    Closing the generator gives out no more arguments. A thread cannot be killed: it goes on with
    what it is at, or ends with this process.

    Args:
        function: Something that threads may call at the same time.
        arguments: What to call it with.
        workers: How many threads; 0 does it all in this one, where a debugger can look.
        threads: Of no effect: libraries have the number of threads of this process.

    Raises:
        BaseException: The function raised it, whatever it is.
    """
    if not workers:
        yield from ((each, function(each)) for each in arguments)
        return
    waiting = deque(arguments)
    count = len(waiting)
    results: SimpleQueue[tuple[Argument, Future[Result]]] = SimpleQueue()

    def work() -> None:
        while True:
            try:
                argument = waiting.popleft()
            except IndexError:
                return
            result: Future[Result] = Future()
            try:
                result.set_result(function(argument))
            except BaseException as error:  # it is raised where somebody looks
                result.set_exception(error)
            results.put((argument, result))

    try:
        for _ in range(min(workers, count)):
            threading.Thread(target=work, daemon=True).start()
        for _ in range(count):
            argument, result = results.get()
            yield argument, result.result()
    finally:
        waiting.clear()
