"""Cuts the windows of a stream of frames, which is seen once, from begin to end.

A window is given out as soon as its last frame is there, and frames that no later window needs are
let go: what is in memory does not grow with the length of the stream.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from common import arch
from common.features import chunks
from common.features.extraction import Extraction
from common.preprocessing.crops import Frames

Span = tuple[int, int]
"""The first frame that a row is of, and one past the last."""


class Window(NamedTuple):
    """Frames that give a row, or several of a dense map.

    Attributes:
        clip: [T, H, W, C].
        spans: Of each row. A window that gives one row stands for as many as there are spans.
        skip: Rows of a dense map before the first of these, which are of no use.
    """

    clip: Frames
    spans: tuple[Span, ...]
    skip: int = 0


class Windows(Protocol):
    """What takes the frames of a stream one by one."""

    def push(self, frame: Frames) -> Iterable[Window]:
        """Takes the next frame [H, W, C]; gives the windows that are whole with it."""
        ...

    def end(self) -> Iterable[Window]:
        """Takes it that there are no more frames; gives the windows that are left.

        Raises:
            ValueError: There are too few, and that is an error.
        """
        ...


def create(extraction: Extraction, net: arch.Network, endpoint: str, total: int | None) -> Windows:
    """Makes what cuts the windows of one stream.

    Args:
        extraction: `filled`.
        net: What sees them.
        endpoint: What is taken of it.
        total: Frames there will be, which only "dense" needs.

    Raises:
        ValueError: The network cannot take such windows.
    """
    if extraction.mode == "dense":
        if total is None:
            raise ValueError("dense features need the number of frames.")
        return Dense(extraction, net, endpoint, total)
    return (Segments if extraction.mode == "segment" else Framewise)(extraction)


class Segments:
    """A window every `stride` frames, from the first frame on; those that are whole."""

    def __init__(self, extraction: Extraction):
        self._extraction = extraction
        self._held = _Held()
        self._next = 0

    def push(self, frame: Frames) -> Iterator[Window]:
        self._held.add(frame)
        stop = self._next + self._extraction.span
        if self._held.count == stop:
            clip = self._held.clip(range(self._next, stop, self._extraction.step))
            yield Window(clip, ((self._next, stop),))
            self._next += self._extraction.hop
        self._held.forget(self._next)

    def end(self) -> Iterator[Window]:
        if self._next == 0:
            yield from _short(self._held, self._extraction)


class Framewise:
    """A window around every `frequency`-th frame; of an even one the longer half comes after it."""

    def __init__(self, extraction: Extraction):
        self._extraction = extraction
        self._held = _Held()
        self._center = 0
        self._before = (extraction.span - 1) // 2
        self._after = extraction.span - 1 - self._before
        self._missed = 0  # centres so far whose window does not fit
        self._last: Window | None = None  # kept back, for the rows at the end

    def push(self, frame: Frames) -> Iterator[Window]:
        self._held.add(frame)
        while self._center + self._after < self._held.count:
            if self._center >= self._before or self._extraction.pad == "frames":
                yield from self._give(self._window())
            else:
                self._missed += 1
            self._center += self._extraction.frequency
        self._held.forget(max(0, self._center - self._before))

    def end(self) -> Iterator[Window]:
        left = range(self._center, self._held.count, self._extraction.frequency)
        if self._extraction.pad == "frames":
            for self._center in left:
                yield self._window()
        elif self._last is None:
            yield from _short(self._held, self._extraction, self._missed + len(left))
        else:
            again = len(left) if self._extraction.pad == "rows" else 0
            yield self._last._replace(spans=(*self._last.spans, *self._last.spans[-1:] * again))

    def _window(self) -> Window:
        """Around the centre; what is beyond the first and the last frame is that frame again."""
        start, stop = self._center - self._before, self._center + self._after + 1
        most = self._held.count - 1
        indices = [min(max(k, 0), most) for k in range(start, stop, self._extraction.step)]
        return Window(self._held.clip(indices), ((max(start, 0), min(stop, most + 1)),))

    def _give(self, window: Window) -> Iterator[Window]:
        """One window late, but where nothing is repeated at the end."""
        if self._extraction.pad == "frames":
            yield window
            return
        if self._last:
            yield self._last
        elif self._extraction.pad == "rows":
            window = window._replace(spans=window.spans * (self._missed + 1))
        self._last = window


class Dense:
    """All of the stream, in parts that give the same rows as the whole would."""

    def __init__(self, extraction: Extraction, net: arch.Network, endpoint: str, total: int):
        self._extraction = extraction
        self._held = _Held()
        self._total = total
        self._least, _, _ = arch.smallest_size(net)
        frames = max(total, self._least)
        self._chunks = list(chunks.plan(net, endpoint, frames, max(extraction.chunk, self._least)))
        seen = arch.time_spans(net, endpoint, frames)
        self._all = tuple(
            (max(int(first), 0), min(int(last) + 1, total))
            for first, last in zip(seen.first, seen.last, strict=True)
        )

    def push(self, frame: Frames) -> Iterator[Window]:
        self._held.add(frame)
        while self._chunks and self._chunks[0].stop == self._held.count:
            chunk = self._chunks.pop(0)
            clip = self._held.clip(range(chunk.start, chunk.stop))
            yield Window(clip, self._all[chunk.rows], chunk.skip)
        self._held.forget(self._chunks[0].start if self._chunks else self._held.count)

    def end(self) -> Iterator[Window]:
        if self._held.count != self._total:
            raise ValueError(
                f"there were {self._total} frames when they were counted, and "
                f"{self._held.count} when they were read. Do not change files while they are read."
            )
        if self._chunks:  # shorter than the shortest that the network takes
            indices = _filled(self._held.count, self._least, self._extraction.short)
            if indices:
                yield Window(self._held.clip(indices), self._all)


class _Held:
    """The last frames of a stream, by their number in it."""

    def __init__(self) -> None:
        self.count = 0
        self._frames: dict[int, Frames] = {}

    def add(self, frame: Frames) -> None:
        self._frames[self.count] = frame
        self.count += 1

    def clip(self, indices: Iterable[int]) -> Frames:
        return np.stack([self._frames[index] for index in indices])

    def forget(self, before: int) -> None:
        """Lets go of all frames before one."""
        for index in range(next(iter(self._frames), before), before):
            self._frames.pop(index, None)


def _short(held: _Held, extraction: Extraction, rows: int = 1) -> Iterator[Window]:
    """The window of a stream that is too short for one."""
    indices = _filled(held.count, extraction.span, extraction.short)
    if indices:
        repeated = rows if extraction.pad == "rows" and extraction.mode == "framewise" else 1
        yield Window(held.clip(indices[:: extraction.step]), ((0, held.count),) * repeated)


def _filled(count: int, wanted: int, short: str) -> list[int]:
    """`wanted` of `count` frames; none where such a stream is to be skipped.

    Raises:
        ValueError: There are too few, and that is an error.
    """
    if short == "skip":
        return []
    if short == "error" or not count:
        raise ValueError(
            f"has {count} frames, and {wanted} are needed. --short=loop begins it again, "
            "--short=pad repeats its last frame, --short=skip gives no rows."
        )
    return [k % count if short == "loop" else min(k, count - 1) for k in range(wanted)]
