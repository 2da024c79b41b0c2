"""Cuts a stream of frames, seen once from beginning to end, into the windows of its rows.

A window is yielded as soon as its last frame is there, and frames that no later window needs are
dropped, so memory does not grow with the length of the stream.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from common import arch
from common.features.settings import Extraction
from common.preprocessing.crops import Frames

Span = tuple[int, int]
"""The first frame of a row, and one past its last."""


class Window(NamedTuple):
    """Frames that give one row, or several of a dense map.

    Attributes:
        clip: [T, H, W, C]; None repeats the row before.
        spans: One for each row; several for a single row repeat it.
        skip: Rows of a dense map that come before those of `spans`, and are not used.
    """

    clip: Frames | None
    spans: tuple[Span, ...]
    skip: int = 0


class Chunk(NamedTuple):
    """A part of a clip that gives some rows of the whole.

    Attributes:
        start: Its first frame.
        stop: One past its last frame.
        rows: The rows of the whole that it gives.
        skip: Rows that it computes before those, which depend on frames before its start.
    """

    start: int
    stop: int
    rows: slice
    skip: int


class _Plan(NamedTuple):
    """A window whose frames may not be there yet: their numbers in ascending order."""

    frames: Sequence[int]
    spans: tuple[Span, ...]
    skip: int = 0


class Windows:
    """Cuts the windows of one stream."""

    def __init__(
        self, extraction: Extraction, net: arch.Network, endpoint: str, total: int | None = None
    ):
        """Plans the windows.

        Args:
            extraction: Complete settings.
            net: The network that sees the windows.
            endpoint: The endpoint taken from it.
            total: Number of frames, which only "dense" needs.

        Raises:
            ValueError: The network has no rows for such a stream; see `chunks`.
        """
        self._extraction = extraction
        self._total = total
        self._held: dict[int, Frames] = {}
        self._count = 0
        self._last: _Plan | None = None
        self._center = 0  # of the next window of "framewise"
        if extraction.mode == "dense":
            assert total is not None
            self._shortest, _, _ = arch.smallest_size(net)
            self._rows = _dense_rows(net, endpoint, total, max(total, self._shortest))
            most = max(extraction.chunk, self._shortest)
            parts = chunks(net, endpoint, total, most) if total >= self._shortest else ()
            self._plans: Iterator[_Plan] = (
                _Plan(range(part.start, part.stop), self._rows[part.rows], part.skip)
                for part in parts
            )
        else:
            self._shortest = extraction.span
            self._plans = self._segments() if extraction.mode == "segment" else self._framewise()
        self._next = next(self._plans, None)

    def push(self, frame: Frames) -> Iterator[Window]:
        """Takes the next frame [H, W, C]; yields the windows that it completes."""
        self._held[self._count] = frame
        self._count += 1
        while self._next and self._next.frames[-1] < self._count:
            yield self._cut(self._next)
            self._last, self._next = self._next, next(self._plans, None)
        if self._next or self._last:  # otherwise the stream is known to be too short
            needed = self._next.frames[0] if self._next else self._count
            for number in range(next(iter(self._held)), min(needed, self._count)):
                del self._held[number]

    def end(self) -> Iterator[Window]:
        """Takes the end of the stream; yields the windows that are left.

        Raises:
            ValueError: There are too few frames, and `short` is "error".
        """
        extraction = self._extraction
        if extraction.mode == "dense" and self._count != self._total:
            raise ValueError(
                f"there were {self._total} frames when they were counted, and {self._count} when "
                "they were read. Do not change files while they are read."
            )
        if extraction.mode == "framewise" and extraction.pad == "frames":
            for center in range(self._center, self._count, extraction.frequency):
                yield self._cut(self._around(center, self._count))
        elif self._last is None:
            yield from self._short()
        elif extraction.mode == "framewise" and extraction.pad == "rows":
            left = len(range(self._center, self._count, extraction.frequency))
            yield Window(None, self._last.spans[-1:] * left)

    def _segments(self) -> Iterator[_Plan]:
        extraction = self._extraction
        for start in itertools.count(0, extraction.stride or extraction.span):
            stop = start + extraction.span
            yield _Plan(range(start, stop, extraction.step), ((start, stop),))

    def _framewise(self) -> Iterator[_Plan]:
        """Windows around every `frequency`-th frame; even ones have their longer half after it."""
        extraction = self._extraction
        repeated = 1
        for self._center in itertools.count(0, extraction.frequency):
            if extraction.pad != "frames" and self._center < (extraction.span - 1) // 2:
                repeated += extraction.pad == "rows"  # the first row that fits stands for it
                continue
            plan = self._around(self._center)
            yield plan._replace(spans=plan.spans * repeated)
            repeated = 1

    def _around(self, center: int, count: int | None = None) -> _Plan:
        """The window of a frame; beyond the ends of the stream its outermost frames are repeated.

        Args:
            center: The frame.
            count: Frames of the stream; None before its end is known.
        """
        span = self._extraction.span
        start = center - (span - 1) // 2
        stop = start + span
        end = stop if count is None else min(stop, count)
        frames = [min(max(k, 0), end - 1) for k in range(start, stop, self._extraction.step)]
        return _Plan(frames, ((max(start, 0), end),))

    def _short(self) -> Iterator[Window]:
        """The window of a stream that is too short for one."""
        extraction, count, wanted = self._extraction, self._count, self._shortest
        if extraction.short == "skip":
            return
        if extraction.short == "error" or not count:
            raise ValueError(
                f"has {count} frames, and {wanted} are needed. --short=loop starts it again, "
                "--short=pad repeats its last frame, --short=skip gives no rows."
            )
        loop = extraction.short == "loop"
        frames = [k % count if loop else min(k, count - 1) for k in range(wanted)]
        if extraction.mode == "dense":
            yield self._cut(_Plan(frames, self._rows))
            return
        repeated = 1
        if extraction.mode == "framewise" and extraction.pad == "rows":
            repeated = len(range(0, count, extraction.frequency))
        yield self._cut(_Plan(frames[:: extraction.step], ((0, count),) * repeated))

    def _cut(self, plan: _Plan) -> Window:
        return Window(np.stack([self._held[k] for k in plan.frames]), plan.spans, plan.skip)


def chunks(net: arch.Network, endpoint: str, frames: int, most: int) -> list[Chunk]:
    """Divides a clip into chunks that give every row of an endpoint once, in order.

    Chunks overlap, and rows that depend on frames beyond their chunk are skipped: every row is
    computed from the frames and the padding that the whole clip has there, so it is the same number
    up to the order of sums. A clip of up to `most` frames is one chunk. Of a longer one all chunks
    but the last have one length: the greatest up to `most` that leaves the clip's remainder, so
    that every layer pads and strides as it does in the whole (see `arch.Spans.period`).

    Args:
        net: The network.
        endpoint: One whose rows see a part of the clip.
        frames: Frames of the clip.
        most: Frames of a chunk, at most.

    Raises:
        ValueError: `most` frames cannot hold what some row sees, or `arch.time_spans` has no rows
            for this clip and endpoint.
    """
    spans = arch.time_spans(net, endpoint, frames)
    total, period = len(spans.first), spans.period
    shortest = arch.smallest_size(net)[0]
    shortest += (frames - shortest) % period
    # For each row, the latest start of a chunk that gives it, and how long that must be.
    starts = np.minimum(np.maximum(spans.first, 0) // period * period, frames - shortest)
    needed = np.maximum(np.minimum(spans.last + 1, frames) - starts, shortest)
    least = int((needed + (frames - needed) % period).max())
    if most < least:
        raise ValueError(
            f"{net.name}: chunks are too short for what a row of {endpoint} sees of a clip of"
            f" {frames} frames. Expected at least {least} frames. Received: {most}."
        )
    length = min(most, frames)
    length -= (length - frames) % period

    found: list[Chunk] = []
    row = 0
    while row < total:
        start = int(starts[row])
        stop = min(start + length, frames)
        end = total if stop == frames else int(np.searchsorted(spans.last, stop))
        found.append(Chunk(start, stop, slice(row, end), row - start // spans.step))
        row = end
    return found


def _dense_rows(net: arch.Network, endpoint: str, total: int, frames: int) -> tuple[Span, ...]:
    """The spans of the rows of a clip of `frames` frames, of which `total` are the stream's."""
    seen = arch.time_spans(net, endpoint, frames)
    return tuple(
        (max(int(first), 0), min(int(last) + 1, total))
        for first, last in zip(seen.first, seen.last, strict=True)
    )
