"""Which frames of a video are asked for: a span of time, at a rate."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

from common.video.timestamps import Item, Shown

Rate = float | Fraction

# Containers round timestamps to a tick (1 ms in Matroska), so a frame may carry a time a little
# after the moment it is for. Coarse ticks (1/25 s in AVI) are exact: hence the cap.
_MOST_ROUNDING = Fraction(1, 1000)


@dataclasses.dataclass(frozen=True)
class Span:
    """Which frames: see `video.Video`."""

    fps: Rate | None = None
    start: Rate = 0
    end: Rate | None = None
    max_frames: int | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ValueError(f"fps must be above 0 and at most 1000, got {self.fps}.")
        end = math.inf if self.end is None else self.end
        if not 0 <= self.start < end or (self.end is not None and math.isinf(self.end)):
            raise ValueError(
                f"a span must have 0 <= start < end, in seconds, got {self.start} to {self.end}."
            )
        if self.max_frames is not None and self.max_frames < 1:
            raise ValueError(
                f"max_frames must be at least 1, or None for all, got {self.max_frames}."
            )

    def pick(
        self, shown: Iterable[Shown[Item]], tick: Fraction = Fraction(0)
    ) -> Iterator[tuple[Fraction, Item]]:
        """Yields the frames of the span, each with its moment in seconds.

        With a rate, frame k is the one on the screen at `start + k / fps`.

        Args:
            shown: All frames, in order.
            tick: Seconds that timestamps are rounded to; 0 if they are exact.
        """
        start = exact(self.start)
        end = None if self.end is None else exact(self.end)
        if self.fps is None:
            picked = ((each.time, each.item) for each in shown if each.time >= start)
            for count, (time, item) in enumerate(picked):
                if count == self.max_frames or (end is not None and time >= end):
                    return
                yield time, item
            return
        rate, k = exact(self.fps), 0
        if self.max_frames is not None:
            last = start + self.max_frames / rate
            end = last if end is None else min(end, last)
        rounding = min(tick / 2, _MOST_ROUNDING)
        for item, until in _stays(shown, rounding):
            while (moment := start + k / rate) < until:
                if end is not None and moment >= end:
                    return
                yield moment, item
                k += 1


def exact(number: Rate) -> Fraction:
    """Returns the rational that was meant: 29.97002997 is 30000/1001."""
    return Fraction(number).limit_denominator(100_000)


def _stays(shown: Iterable[Shown[Item]], rounding: Fraction) -> Iterator[tuple[Item, Fraction]]:
    """Yields each item with the moment until which it is on the screen."""
    held: Shown[Item] | None = None
    for each in shown:
        if held is not None:
            yield held.item, each.time - rounding
        held = each
    if held is not None:
        yield held.item, held.time + held.duration - rounding
