"""Batches for a network out of the clips of several threads."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Clip = tuple[NDArray[Any], "Future[NDArray[Any]]"]


class Batcher:
    """Runs a network over clips, in batches that several threads share; a context manager.

    A batch has clips of one shape and dtype. It runs when it is full, and when it is not, once no
    producer would add to it: each waits for a result, or has gone. It is then filled up with
    zeros, so that all batches have one shape and no result depends on what else was in its batch.

    No deadlock: while clips wait, a batch runs or a producer is at something else. So what a
    producer needs of another (a lock, say) it must not need while that one is in `wait`; and a
    thread that produces for two batchers leaves both before it waits for either.
    """

    def __init__(self, compute: Callable[[NDArray[Any]], NDArray[Any]], size: int):
        """Starts the thread that computes.

        Args:
            compute: From a batch [size, ...] to results [size, ...], row by row; called in a
                thread of its own, one call at a time.
            size: Clips in a batch.

        Raises:
            ValueError: `size` is below 1.
        """
        if size < 1:
            raise ValueError(f"a batch must have at least 1 clip. Received: {size}.")
        self._compute = compute
        self._size = size
        self._changed = threading.Condition()  # guards all that follows
        self._clips: list[_Clip] = []  # in the order they came
        self._awaited: dict[int, Future[NDArray[Any]] | None] = {}  # last, by producer
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Batcher":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def producing(self) -> Iterator[None]:
        """Makes this thread a producer: batches wait for the clips that it may still submit."""
        thread = threading.get_ident()
        with self._changed:
            self._awaited[thread] = None
        try:
            yield
        finally:
            with self._changed:
                self._awaited.pop(thread, None)
                self._changed.notify_all()

    def submit(self, clip: NDArray[Any]) -> "Future[NDArray[Any]]":
        """Hands in a clip, as soon as fewer than two batches of them wait.

        Args:
            clip: Any array; it is not copied and must stay as it is until there is a result.

        Returns:
            The result of this clip alone; it cannot be cancelled.

        Raises:
            RuntimeError: The batcher is closed.
        """
        future: Future[NDArray[Any]] = Future()
        future.set_running_or_notify_cancel()
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._is_crowded())
            if self._closed:
                raise _closed()
            self._clips.append((clip, future))
            self._changed.notify_all()
        return future

    def wait(self, future: "Future[NDArray[Any]]") -> NDArray[Any]:
        """Waits for a result; a producer waits here, so that batches do not wait for it.

        Raises:
            RuntimeError: The batcher was closed before.
            Exception: `compute` raised it for the batch of this clip.
        """
        thread = threading.get_ident()
        with self._changed:
            if thread in self._awaited:
                self._awaited[thread] = future
                self._changed.notify_all()
        return future.result()

    def close(self) -> None:
        """Ends the thread that computes, after its present batch; what waits is given up."""
        with self._changed:
            self._closed = True
            clips, self._clips = self._clips, []
            self._changed.notify_all()
        for _, future in clips:
            future.set_exception(_closed())
        self._thread.join()

    def _is_crowded(self) -> bool:
        return len(self._clips) >= 2 * self._size

    def _run(self) -> None:
        while clips := self._take():
            try:
                rows = self._rows([clip for clip, _ in clips])
            except BaseException as error:  # whatever it is, it is for those who wait
                for _, future in clips:
                    future.set_exception(error)
            else:
                for (_, future), row in zip(clips, rows, strict=True):
                    future.set_result(row)

    def _rows(self, clips: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """The result of each clip: copies, so that none keeps those of its neighbours."""
        batch = np.zeros((self._size, *clips[0].shape), clips[0].dtype)
        for k, clip in enumerate(clips):
            batch[k] = clip
        rows = self._compute(batch)
        if len(rows) != self._size:
            raise ValueError(f"{len(rows)} results for a batch of {self._size} clips.")
        return [np.array(row) for row in rows[: len(clips)]]

    def _take(self) -> list[_Clip]:
        """Waits for the next batch and takes it from the clips; empty when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._kind() is not None)
            kind = self._kind()
            taken = [each for each in self._clips if _kind(each) == kind][: self._size]
            futures = {future for _, future in taken}
            self._clips = [each for each in self._clips if each[1] not in futures]
            self._changed.notify_all()
            return taken

    def _kind(self) -> tuple[object, ...] | None:
        """Of which kind the next batch is; None while it is too early for one."""
        for kind, count in Counter(map(_kind, self._clips)).items():
            if count >= self._size:
                return kind
        # Nobody may submit while it is crowded, so that nothing would become full then, either.
        busy = any(each is None or each.done() for each in self._awaited.values())
        if not self._clips or (busy and not self._is_crowded()):
            return None
        return _kind(self._clips[0])


def _kind(clip: _Clip) -> tuple[object, ...]:
    return clip[0].shape, clip[0].dtype


def _closed() -> RuntimeError:
    return RuntimeError("the batcher was closed.")
