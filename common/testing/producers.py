"""A network and threads that produce for it, for the tests of batches; none may hang."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.features.batching import Batcher

PATIENCE = 30  # seconds until a thread counts as deadlocked; a busy machine is slow


class Network:
    """Something to compute, which remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[NDArray[Any]] = []

    def __call__(self, batch: NDArray[Any]) -> NDArray[Any]:
        self.batches.append(batch.copy())
        return self.of(batch)

    @staticmethod
    def of(clips: NDArray[Any]) -> NDArray[Any]:
        """[..., N] -> [..., 2]: each row of a clip by itself."""
        return np.stack([clips.sum(-1), 3 * clips[..., 0]], -1)


def clips(
    count: int, first: int = 1, shape: tuple[int, ...] = (3,), kind: type = np.float32
) -> list[NDArray[Any]]:
    """So many, each full of a number of its own."""
    return [np.full(shape, first + k, kind) for k in range(count)]


def in_threads(batcher: Batcher, *functions: Callable[[], Any]) -> list[Any]:
    """Calls each in a thread; returns their results, raises their errors; none may hang."""
    results: dict[int, Any] = {}
    threads: list[threading.Thread] = []

    def work(k: int, function: Callable[[], Any]) -> None:
        try:
            results[k] = function()
        except BaseException as error:
            results[k] = error

    for k, function in enumerate(functions):
        threads.append(threading.Thread(target=work, args=(k, function), daemon=True))
        threads[-1].start()
    end = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    hanging = sum(thread.is_alive() for thread in threads)
    if hanging:
        batcher.close()
    assert not hanging, f"{hanging} threads hang"
    for result in results.values():
        if isinstance(result, BaseException):
            raise result
    return [results[k] for k in range(len(functions))]


def producer(
    batcher: Batcher, inputs: list[NDArray[Any]], ready: threading.Barrier | None = None
) -> Callable[[], list[NDArray[Any]]]:
    """A function that submits all, then waits for all, once all are `ready`."""

    def produce() -> list[NDArray[Any]]:
        with batcher.producing():
            if ready is not None:
                ready.wait(PATIENCE)
            futures = [batcher.submit(clip) for clip in inputs]
            return [batcher.wait(future) for future in futures]

    return produce


def until(condition: Callable[[], bool]) -> None:
    """Waits for something that another thread does at once."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)
