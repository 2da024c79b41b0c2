"""One worker process: how it is started, called, and ends."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from common.processors import THREADS

STARTING = threading.Lock()
"""Held while a process is started: it inherits what this process has set meanwhile."""

_STARTS = 3  # so many processes in a row that die before they are ready end the run
_PATIENCE = 10.0  # seconds for the end of a process


class WorkerDiedError(ChildProcessError):
    """The process died that was to compute a result; the text says how."""


class Process:
    """A worker process and this end of its pipe; another takes its place when it has died."""

    def __init__(self, function: Callable[[Any], object], threads: int):
        self._function = function
        self._threads = threads
        self._process: Any = None
        self._closed = False

    def call(self, argument: object) -> Any:
        """Calls the function there, and waits for its result.

        Raises:
            WorkerDiedError: The process died.
            RuntimeError: No process can be started.
        """
        if self._process is None:
            self._start()
        try:
            self._pipe.send(argument)
            succeeded, value = _receive(self._pipe)
        except (EOFError, OSError):
            raise WorkerDiedError(f"the worker process {self.end()}") from None
        if not succeeded:
            raise value
        return value

    def kill(self) -> None:
        """Kills the process, for good; with `STARTING` held."""
        self._closed = True
        process = self._process  # a thread may be at its end
        if process is not None:
            process.kill()

    def end(self) -> str:
        """Waits for the end of the process; says how it ended."""
        if self._process is None:
            return "is gone"
        process, self._process = self._process, None
        process.join(_PATIENCE)
        process.kill()
        process.join()
        self._pipe.close()
        status = process.exitcode or 0
        return f"died (signal {-status})" if status < 0 else f"ended (exit status {status})"

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        how = ""
        for _ in range(_STARTS):
            self._pipe, theirs = context.Pipe()
            with theirs, _inherited(self._threads):
                if self._closed:
                    raise WorkerDiedError("the pool is closed")
                process = context.Process(target=_serve, args=(theirs, self._function), daemon=True)
                process.start()
                self._process = process
            try:
                self._pipe.recv()
                return
            except (EOFError, OSError):
                how = self.end()
        raise RuntimeError(
            f"worker processes end before they are ready ({how}). The function must be of a module "
            "that can be imported, and a program must do its work under "
            '`if __name__ == "__main__":`.'
        )


@contextlib.contextmanager
def _inherited(threads: int) -> Iterator[None]:
    """Sets what a process that is started now inherits: numbers of threads, and Ctrl-C ignored.

    The terminal sends Ctrl-C to every process; it is this one that ends the others.
    """
    with STARTING:
        missing = [name for name in THREADS if name not in os.environ]
        masks = hasattr(signal, "pthread_sigmask")  # not on Windows
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
        try:
            os.environ.update(dict.fromkeys(missing, str(threads)))
            yield
        finally:
            for name in missing:
                os.environ.pop(name, None)
            if masks:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Any, function: Callable[[Any], object]) -> None:
    """The main function of a worker process."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError):  # nobody is there any more
        pipe.send("ready")
        while True:
            _send(pipe, _answer(function, pipe.recv()))


def _answer(function: Callable[[Any], object], argument: object) -> tuple[bool, object]:
    """Whether the call succeeded, and its result or exception."""
    try:
        return True, function(argument)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
        except Exception:  # an exception that does not pickle
            return False, RuntimeError(f"{type(error).__name__}: {error}")
        return False, error


def _die_with_parent() -> None:
    """Ends this process, in the middle of its work, when its parent has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _send(pipe: Any, value: object) -> None:
    """Sends a value; the bytes of its arrays follow as they are (pickle would copy them twice)."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    pipe.send((data, [view.nbytes for view in views]))
    for view in views:
        if not hasattr(os, "readv"):
            pipe.send_bytes(view)
            continue
        while view:
            view = view[os.write(pipe.fileno(), view) :]


def _receive(pipe: Any) -> tuple[bool, Any]:
    """Receives what `_send` has sent: whether it is a result, and that or an exception."""
    data, sizes = pipe.recv()
    buffers = [np.empty(size, np.uint8) for size in sizes]
    for buffer in buffers:
        view = buffer.data
        if not hasattr(os, "readv"):
            pipe.recv_bytes_into(view)
            continue
        while view:
            count = os.readv(pipe.fileno(), [view])
            if not count:
                raise EOFError
            view = view[count:]
    value: tuple[bool, Any] = pickle.loads(data, buffers=buffers)  # noqa: S301  # a child of ours
    return value
