"""The views of the videos of a data set, in order, read ahead of the network that scores them."""

import contextlib
import dataclasses
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar
from typing import Protocol as Interface

import numpy as np

from common.annotations import Record
from common.evaluation import protocols
from common.evaluation.protocols import Protocol
from common.preprocessing import crops
from common.preprocessing.crops import Frames
from common.video.clip_reader import Clip

Item = TypeVar("Item")
Result = TypeVar("Result")


class Reader(Interface):
    """Reads frames of records, as `common.video.clip_reader.ClipReader` does; used by threads."""

    def count(self, record: Record, stream: str) -> int:
        """How many frames, or flows, there are."""
        ...

    def read(self, record: Record, indices: Sequence[int], stream: str) -> Frames:
        """Frames [T, H, W, C] of 0-based indices: uint8 RGB, or float32 flow in [-1, 1]."""
        ...

    def open(self, record: Record, stream: str) -> Clip:
        """The clip itself, which knows its rate; only labels of every frame need it."""
        ...


@dataclasses.dataclass(frozen=True)
class View:
    """A clip that the network scores.

    Attributes:
        indices: Of its frames.
        clip: [T, H, W, C] uint8 RGB, or float32 flow in [-1, 1].
    """

    indices: tuple[int, ...]
    clip: Frames


@dataclasses.dataclass(frozen=True)
class Part:
    """Some views of a video, or why there are none.

    Attributes:
        item: Place of the video among the records.
        total: Frames of the video.
        views: In the protocol's order; empty where it failed.
        error: Why it failed; empty where it did not.
    """

    item: int
    total: int = 0
    views: tuple[View, ...] = ()
    error: str = ""


def parts(
    records: Sequence[Record],
    reader: Reader,
    protocol: Protocol,
    stream: str,
    at_once: int,
    workers: int,
    shuffle: bool = False,
) -> Generator[Part]:
    """Reads the views of records in their order, however many threads read.

    Args:
        records: Of the videos.
        reader: Of frames.
        protocol: `filled`.
        stream: "rgb" or "flow".
        at_once: About so many views are read together; those of one window in time always are.
        workers: Threads that read ahead; 0 reads when a part is asked for.
        shuffle: Gives the frames of each window in a random order, the same each time.

    Yields:
        At least one part a video. A video that cannot be read (`ValueError`, `OSError`) has a part
        with its error, and may have others.
    """
    windows_at_once = max(1, at_once // protocols.COUNTS[protocol.crops])

    def plan(item: int) -> tuple[Part, list[list[int]]]:
        try:
            total = reader.count(records[item], stream)
            return Part(item, total), protocols.windows(protocol, total)
        except (ValueError, OSError) as error:
            return Part(item, error=_reason(error)), [[]]

    def read(job: tuple[Part, list[list[int]]]) -> Part:
        part, windows = job
        if part.error:
            return part
        try:
            views = _views(reader, records[part.item], windows, protocol, stream, shuffle)
            return dataclasses.replace(part, views=tuple(views))
        except (ValueError, OSError) as error:
            return Part(part.item, error=_reason(error))

    with _threads(workers) as submit:
        planned = _ahead(plan, range(len(records)), submit, workers)
        jobs = (
            (part, windows[start : start + windows_at_once])
            for part, windows in planned
            for start in range(0, len(windows), windows_at_once)
        )
        yield from _ahead(read, jobs, submit, workers)


def _views(
    reader: Reader,
    record: Record,
    windows: list[list[int]],
    protocol: Protocol,
    stream: str,
    shuffle: bool,
) -> Iterator[View]:
    """All crops of each window. Each frame is read once, even if windows share it."""
    wanted = sorted({index for window in windows for index in window})
    from common.preprocessing import resizing  # numba takes a moment

    frames = resizing.resize_clip(reader.read(record, wanted, stream), protocol.short_side or 0)
    places = protocols.corners(protocol, *crops.size_of(frames))
    for window in windows:
        if shuffle:
            rng = np.random.default_rng([*window, *os.fsencode(record.name)])
            window = rng.permutation(window).tolist()
        rows = np.searchsorted(wanted, window)
        for corner in places:
            yield View(tuple(window), crops.crop(frames, corner, protocol.crop or 0)[rows])


_Submit = Callable[..., Future[Any]] | None


@contextlib.contextmanager
def _threads(count: int) -> Iterator[_Submit]:
    """What hands work to so many threads; they end with the block, and begin nothing new then."""
    if not count:
        yield None
        return
    executor = ThreadPoolExecutor(count, thread_name_prefix="views")
    try:
        yield executor.submit
    finally:
        executor.shutdown(cancel_futures=True)


def _ahead(
    function: Callable[[Item], Result], items: Iterable[Item], submit: _Submit, most: int
) -> Iterator[Result]:
    """As `map`, with up to `most` results worked on ahead."""
    if submit is None:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(submit(function, item))
        if len(pending) > most:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _reason(error: Exception) -> str:
    return " ".join(str(error).splitlines()) or type(error).__name__
