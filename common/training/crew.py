"""Processes that make examples ahead of the one that trains.

They are programs of their own, not started by `multiprocessing`, which has each process import the
main program again, and TensorFlow or PyTorch with it: seconds, and up to half a gigabyte each.

The pixels of a clip go through a pipe as they are. Of clips of 64x224x224 bytes, two busy cores
pass on 280 to 560 a second, as many as through shared memory, which containers have little of;
pickled, as a `ProcessPoolExecutor` does, 30 to 56. Making one takes 40 to 80 ms.
"""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.processors import THREADS
from common.training.examples import Example

Key = tuple[int, int, int]
"""Epoch, index and seed of an example."""

_PATIENCE = 10.0  # seconds to wait for the exit status of a process whose pipe has ended

_PROGRAM = "import sys; sys.path[:] = {}; from common.training import crew; crew.work({})"


class Dataset(Protocol):
    """Something that makes examples, and pickles: `examples.TrainingSet`."""

    def __len__(self) -> int: ...

    def example(self, epoch: int, index: int, seed: int) -> Example: ...


class Crew:
    """Worker processes, and a thread for each that waits for it.

    They end with `close`, and when this process ends, however it does. Ctrl-C does not reach them.
    """

    def __init__(self, dataset: Dataset, workers: int):
        """Starts them all; each gets the data set once.

        Raises:
            ChildProcessError: One of them ended at once.
        """
        self._workers = []
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="examples")
        try:
            for _ in range(workers):
                self._workers.append(_Worker())
            data = ForkingPickler.dumps(dataset)
            for worker in self._workers:
                worker.begin(data)
                self._idle.put(worker)
        except BaseException:
            self.close()
            raise

    def examples(self, keys: Iterable[Key], ahead: int) -> Iterator[Example]:
        """Yields the example of each key, in order.

        Args:
            keys: Of the examples.
            ahead: How many are in memory or in work at most, beside those that were taken.

        Raises:
            ValueError, OSError, ImportError: The data set raised it, at the turn of that example.
            ChildProcessError: A worker died.
        """
        waiting: deque[Future[Example]] = deque()
        for key in keys:
            if len(waiting) == ahead:
                yield waiting.popleft().result()
            waiting.append(self._threads.submit(self._make, key))
        while waiting:
            yield waiting.popleft().result()

    def close(self) -> None:
        """Ends the processes, whatever they are at; may be called again."""
        for worker in self._workers:
            worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.end()

    def _make(self, key: Key) -> Example:
        worker = self._idle.get()
        try:
            return worker.make(key)
        finally:
            self._idle.put(worker)


def work(descriptor: int) -> None:
    """What a worker does: the program that `Crew` starts, at its end of the pipe."""
    pipe: connection.Connection[Any, Any] = connection.Connection(descriptor)
    with contextlib.suppress(EOFError, ConnectionError):  # nobody is there any more
        dataset = pipe.recv()
        while True:
            epoch, index, seed = pipe.recv()
            try:
                example = dataset.example(epoch, index, seed)
            except (ValueError, OSError, ImportError) as error:
                pipe.send(error)
                continue
            clip = np.ascontiguousarray(example.clip)
            pipe.send((example.name, example.target, clip.shape, clip.dtype.str))
            _write(descriptor, clip)


class _Worker:
    """A process, and this end of its pipe."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._pipe: connection.Connection[Any, Any] = connection.Connection(ours.detach())
        self._death = ""
        with theirs:
            program = _PROGRAM.format(sys.path, theirs.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                env={**dict.fromkeys(THREADS, "1"), **os.environ},
                pass_fds=[theirs.fileno()],
                process_group=0,  # the terminal's Ctrl-C is for the first process alone
            )

    def begin(self, dataset: memoryview) -> None:
        """Sends the data set, pickled."""
        try:
            self._pipe.send_bytes(dataset)
        except OSError:
            raise self._died("before it could begin") from None

    def make(self, key: Key) -> Example:
        """Has it make one example, and waits for it."""
        try:
            answer = self._ask(key)
        except (EOFError, OSError):
            raise self._died(f"over item {key[1]} of epoch {key[0]}") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """Waits for the end of the process."""
        self._process.wait()
        self._pipe.close()

    def _ask(self, key: Key) -> Example | Exception:
        self._pipe.send(key)
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            return answer
        name, target, shape, dtype = answer
        clip = np.empty(shape, dtype)
        _read(self._pipe.fileno(), clip)
        return Example(name, clip, target)

    def _died(self, when: str) -> ChildProcessError:
        """The same however often it is asked."""
        if not self._death:
            try:
                status = self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                status = self._process.wait()
            how = f"died (signal {-status})" if status < 0 else f"ended (exit status {status})"
            reason = (
                "Where memory ran out, use fewer workers."
                if status == -signal.SIGKILL
                else "What it printed says why."
            )
            self._death = f"a process that loads data {how} {when}. {reason}"
        return ChildProcessError(self._death)


def _write(descriptor: int, array: NDArray[Any]) -> None:
    left = array.data.cast("B")
    while left:
        left = left[os.write(descriptor, left) :]


def _read(descriptor: int, array: NDArray[Any]) -> None:
    """Fills an array; `Connection.recv` would allocate as much anew for every part that comes."""
    left = array.data.cast("B")
    while left:
        count = os.readv(descriptor, [left])
        if not count:
            raise EOFError
        left = left[count:]
