"""Which frames of a video are asked for: a span of time, at a rate."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

from common.preprocessing.resampling import Rate, exact, resample
from common.video._timestamps import Item, Shown, VideoError

# Containers round timestamps to a tick (1 ms in Matroska), so a frame may carry a time a little
# after the moment it is for. Coarse ticks (1/25 s in AVI) are exact: hence the cap.
_MOST_ROUNDING = Fraction(1, 1000)

# A frame that stays for longer, seconds, is a wrong timestamp rather than a still: at 25 frames a
# second it would be 15,000 copies.
_LONGEST_STILL = 600


@dataclasses.dataclass(frozen=True)
class Span:
    """Which frames: see `video.read_frames`."""

    fps: Rate | None
    start: Rate
    end: Rate | None
    max_frames: int | None

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
        self, path: Path, shown: Iterable[Shown[Item]], tick: Fraction
    ) -> Iterator[tuple[Fraction, Item]]:
        """The frames of the span, each with the moment it is for; `tick` as in `VideoFile`."""
        start = exact(self.start)
        end = None if self.end is None else exact(self.end)
        if self.fps is None:
            for each in shown:
                if end is not None and each.time >= end:
                    return
                if each.time >= start:
                    yield each.time, each.item
            return
        rate = exact(self.fps)
        if self.max_frames is not None:
            last = start + self.max_frames / rate
            end = last if end is None else min(end, last)
        rounding = min(tick / 2, _MOST_ROUNDING)
        shown = _without_long_stills(path, shown, start, end)
        for k, item in enumerate(resample(shown, rate, start, end, rounding)):
            yield start + k / rate, item


def _without_long_stills(
    path: Path, shown: Iterable[Shown[Item]], start: Fraction, end: Fraction | None
) -> Iterator[Shown[Item]]:
    """The same frames; one that would stay for too long within the span is an error."""
    held: Shown[Item] | None = None

    def check(until: Fraction) -> None:
        if held is None:
            return
        seconds = (until if end is None else min(until, end)) - max(held.time, start)
        if seconds > _LONGEST_STILL:
            raise VideoError(
                f"{path}: the frame at {float(held.time):.2f} s would be shown for "
                f"{float(seconds):g} s, more than {_LONGEST_STILL} s: a timestamp is wrong. "
                "Re-encode the file, or choose a span without it."
            )

    for each in shown:
        check(each.time)
        held = each
        yield each
    if held is not None:
        check(held.time + held.duration)
