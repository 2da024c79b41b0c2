"""Cuts a stream of frames, seen once from beginning to end, into the windows of its rows.

A window is yielded as soon as its last frame is there, and frames that no later window needs are
dropped, so memory does not grow with the length of the stream.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common import arch
from common.features.settings import Extraction
from common.preprocessing.crops import Frames

Span = tuple[int, int]
"""The first frame of a row, and one past its last."""


class Window(NamedTuple):
    """Frames that give one row, or several of a dense map.

    Attributes:
        frames: Their numbers in the stream.
        spans: One for each row.
        skip: Rows that are computed before those of `spans`, and are not used.
    """

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
        self._made = 0
        self._before = (extraction.span - 1) // 2  # frames of a window before its centre
        self._shortest = extraction.span
        plans: Iterator[Window]
        if extraction.mode == "dense":
            assert total is not None
            self._shortest, _, _ = arch.smallest_size(net)
            if total < self._shortest:
                self._spans = _dense_spans(arch.time_spans(net, endpoint, self._shortest), total)
                plans = iter(())
            else:
                most = max(extraction.chunk, self._shortest)
                plans = iter(chunks(net, endpoint, total, most))
        elif extraction.mode == "segment":
            starts = itertools.count(0, extraction.stride or extraction.span)
            plans = (self._window(start) for start in starts)
        else:
            first = 0 if extraction.pad == "frames" else self._before_first()
            centers = itertools.count(first * extraction.frequency, extraction.frequency)
            plans = (self._window(center - self._before) for center in centers)
        self._plans = plans
        self._next = next(plans, None)

    def push(self, frame: Frames) -> Iterator[tuple[Window, Frames]]:
        """Takes the next frame [H, W, C]; yields the windows that it completes, [T, H, W, C]."""
        self._held[self._count] = frame
        self._count += 1
        while self._next and self._next.frames[-1] < self._count:
            self._made += 1
            yield self._cut(self._next)
            self._next = next(self._plans, None)
        if self._made:  # before, the stream may be too short, and all of it is needed
            needed = self._next.frames[0] if self._next else self._count
            for number in range(next(iter(self._held)), min(needed, self._count)):
                del self._held[number]

    def end(self) -> Iterator[tuple[Window, Frames]]:
        """Takes the end of the stream; yields the windows that are left.

        Raises:
            ValueError: There are too few frames, and `short` is "error".
        """
        extraction, count = self._extraction, self._count
        if extraction.mode == "dense" and count != self._total:
            raise ValueError(
                f"there were {self._total} frames when they were counted, and {count} when "
                "they were read. Do not change files while they are read."
            )
        if extraction.mode == "framewise" and extraction.pad == "frames":
            for center in range(self._made * extraction.frequency, count, extraction.frequency):
                yield self._cut(self._window(center - self._before, count))
        elif not self._made and extraction.short != "skip":
            if extraction.short == "error" or not count:
                needed = self._next.frames[-1] + 1 if self._next else self._shortest
                raise ValueError(
                    f"has {count} frames, and {needed} are needed. --short=loop starts it "
                    "again, --short=pad repeats its last frame, --short=skip gives no rows."
                )
            loop, numbers = extraction.short == "loop", range(0, self._shortest)
            if extraction.mode != "dense":
                numbers, self._spans = (
                    numbers[:: extraction.step],
                    ((0, min(count, self._shortest)),),
                )
            frames = [k % count if loop else min(k, count - 1) for k in numbers]
            yield self._cut(Window(frames, self._spans))

    def padded(self, rows: int) -> NDArray[np.int64]:
        """Which of `rows` rows are given: all; at the ends of "framewise" the outermost again."""
        extraction = self._extraction
        if extraction.mode != "framewise" or extraction.pad != "rows" or not rows:
            return np.arange(rows)
        centers = np.arange(len(range(0, self._count, extraction.frequency)))
        return (centers - self._before_first()).clip(0, rows - 1)

    def _before_first(self) -> int:
        """Rows of "framewise" before the first whose window begins within the stream."""
        return -(-self._before // self._extraction.frequency)

    def _window(self, start: int, count: int | None = None) -> Window:
        """The window that begins with a frame; beyond the ends the outermost frames are repeated.

        Args:
            start: The frame.
            count: Frames of the stream; None before its end is known.
        """
        stop = start + self._extraction.span
        end = stop if count is None else min(stop, count)
        frames = [min(max(k, 0), end - 1) for k in range(start, stop, self._extraction.step)]
        return Window(frames, ((max(start, 0), end),))

    def _cut(self, window: Window) -> tuple[Window, Frames]:
        return window, np.stack([self._held[k] for k in window.frames])


def chunks(net: arch.Network, endpoint: str, frames: int, most: int) -> list[Window]:
    """Divides a clip into windows that give every row of an endpoint once, in order.

    Windows overlap, and rows that depend on frames beyond their window are skipped: every row is
    computed from the frames and the padding that the whole clip has there, so it is the same number
    up to the order of sums. A clip of up to `most` frames is one window. Of a longer one all
    windows but the last have one length: the greatest up to `most` that leaves the clip's
    remainder, so that every layer pads and strides as it does in the whole (see
    `arch.Spans.period`).

    Args:
        net: The network.
        endpoint: One whose rows see a part of the clip.
        frames: Frames of the clip.
        most: Frames of a window, at most.

    Raises:
        ValueError: `most` frames cannot hold what some row sees, or `arch.time_spans` has no rows
            for this clip and endpoint.
    """
    seen = arch.time_spans(net, endpoint, frames)
    period = seen.period
    shortest = arch.smallest_size(net)[0]
    shortest += (frames - shortest) % period
    # For each row, the latest start of a window that gives it, and how long that must be.
    starts = np.minimum(np.maximum(seen.first, 0) // period * period, frames - shortest)
    needed = np.maximum(np.minimum(seen.last + 1, frames) - starts, shortest)
    least = int((needed + (frames - needed) % period).max())
    if most < least:
        raise ValueError(
            f"{net.name}: chunks are too short for what a row of {endpoint} sees of a clip of"
            f" {frames} frames. Expected at least {least} frames. Received: {most}."
        )
    length = min(most, frames)
    length -= (length - frames) % period

    spans = _dense_spans(seen, frames)
    found: list[Window] = []
    row = 0
    while row < len(spans):
        start = int(starts[row])
        stop = min(start + length, frames)
        end = len(spans) if stop == frames else int(np.searchsorted(seen.last, stop))
        found.append(Window(range(start, stop), spans[row:end], row - start // seen.step))
        row = end
    return found


def _dense_spans(seen: arch.Spans, total: int) -> tuple[Span, ...]:
    """The spans of rows, cut off at the ends of a stream of `total` frames."""
    firsts, lasts = seen.first.clip(0), (seen.last + 1).clip(max=total)
    return tuple(zip(firsts.tolist(), lasts.tolist(), strict=True))
