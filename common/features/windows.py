"""The windows of frames that the rows of a stream are of."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from common import arch
from common.features.settings import Extraction

Spans = tuple[tuple[int, int], ...]  # for each row its first frame, and one past its last


class Window(NamedTuple):
    """The numbers of frames that give one row, or several of a dense map."""

    frames: Sequence[int]
    spans: Spans
    skip: int = 0  # rows that are computed before those of `spans`, and are not used


def plan(
    extraction: Extraction, net: arch.Network, endpoint: str, count: int | None
) -> Iterator[Window]:
    """Yields the windows of a stream of `count` frames, in order; without end for None.

    "dense" needs the count. `ValueError` if there are too few frames and `short` is "error".
    """
    frames: Sequence[int]
    if extraction.mode == "dense":
        assert count is not None
        needed, _, _ = arch.smallest_size(net)
        if count >= needed:
            yield from chunks(net, endpoint, count, max(extraction.chunk, needed))
            return
        frames = range(needed)
        spans = _dense_spans(arch.time_spans(net, endpoint, needed), count)
    else:
        edges = extraction.mode == "framewise" and extraction.pad == "frames"
        first, before, every = 0, 0, extraction.stride or extraction.span
        if extraction.mode == "framewise":
            before, every = (extraction.span - 1) // 2, extraction.frequency
            first = -before if edges else rows_before(extraction) * every - before
        frames = range(0, extraction.span, extraction.rate or 1)
        for start in itertools.count(first, every):
            stop = start + extraction.span
            if count is not None and (start + before >= count if edges else stop > count):
                break
            end = stop if count is None else min(stop, count)
            shown = [min(max(start + k, 0), end - 1) for k in frames]
            yield Window(shown, ((max(start, 0), end),))
        if edges or start > first:
            return
        needed, spans = stop, ((0, min(count or 0, extraction.span)),)
    if extraction.short == "error" or not count:
        raise ValueError(
            f"has {count} frames, and {needed} are needed. --short=loop starts it again, "
            "--short=pad repeats its last frame, --short=skip gives no rows."
        )
    if extraction.short != "skip":
        loop = extraction.short == "loop"
        yield Window([k % count if loop else min(k, count - 1) for k in frames], spans)


def rows_before(extraction: Extraction) -> int:
    """Rows of "framewise" before the first whose window begins within the stream."""
    return -(-((extraction.span - 1) // 2) // extraction.frequency)


def chunks(net: arch.Network, endpoint: str, frames: int, most: int) -> list[Window]:
    """Divides a clip of `frames` into windows that give every row of an endpoint once, in order.

    Windows overlap, and rows that depend on frames beyond their window are skipped: every row sees
    the frames and the padding that the whole clip has there, so it is the same number up to the
    order of sums. All windows but the last have one length: the greatest up to `most` that leaves
    the clip's remainder, so that every layer pads and strides as in the whole. `ValueError` if
    `most` frames cannot hold what a row sees.
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
            f"{net.name}: chunks are too short for what a row of {endpoint} sees. Expected at "
            f"least {least} frames. Received: {most}."
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


def _dense_spans(seen: arch.Spans, total: int) -> Spans:
    firsts, lasts = seen.first.clip(0), (seen.last + 1).clip(max=total)
    return tuple(zip(firsts.tolist(), lasts.tolist(), strict=True))
