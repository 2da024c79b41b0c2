"""When each frame of a video is shown, and which frames a span of time holds."""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from absl import logging

if TYPE_CHECKING:
    import av

Item = TypeVar("Item")
Rate = float | Fraction

# Containers round timestamps to a tick (1 ms in Matroska), so a frame may carry a time a little
# after the moment it is for. Coarse ticks (1/25 s in AVI) are exact: hence the cap.
_MOST_ROUNDING = Fraction(1, 1000)
_LONGEST_STILL = 600  # seconds: a wrong timestamp would fill the disk with copies of a frame


class VideoError(ValueError):
    """A file that is no readable video; the text names it and says what is wrong."""


class Shown(NamedTuple, Generic[Item]):
    """A frame and when it is on the screen, in seconds from the first frame."""

    time: Fraction
    duration: Fraction
    item: Item


def exact(number: Rate) -> Fraction:
    """Returns the rational that was meant: 29.97002997 is 30000/1001."""
    if isinstance(number, Fraction):
        return number
    return Fraction(number).limit_denominator(100_000)


def timed(
    path: Path,
    usual: Fraction,
    frames: Iterable["av.VideoFrame"],
    window: int,
    origin: Fraction | None = None,
) -> Iterator[Shown["av.VideoFrame"]]:
    """Assigns a time to every frame, in order.

    A decoder yields frames in the order they are shown, while some AVI files number them in the
    order they are stored: so the k-th frame gets the k-th smallest timestamp. A missing timestamp
    is the one before plus `usual`, with a warning.

    Args:
        path: The file, for messages.
        usual: Seconds that a frame is shown if nothing says so.
        frames: Frames in the order of the decoder.
        window: Frames held back to put timestamps in order; they cost memory.
        origin: The timestamp of time 0 in seconds; None is the first frame's.

    Raises:
        VideoError: Timestamps go back by more than `window` frames.
    """
    held: deque[av.VideoFrame] = deque()
    times: list[Fraction] = []  # a heap, as long as `held`
    time, last, warned = -usual, None, False
    for frame in itertools.chain(frames, [None]):
        if frame is not None:
            if _is_stamped(frame):
                time = stamp(frame)
            else:
                time += usual
                if not warned:
                    rate = f"{float(1 / usual):g} frames a second"
                    logging.warning("%s: timestamps are missing; taking %s instead.", path, rate)
                warned = True
            heapq.heappush(times, time)
            held.append(frame)
        while len(held) > (window if frame is not None else 0):
            moment, shown = heapq.heappop(times), held.popleft()
            origin = moment if origin is None else origin
            if last is not None and moment < last:
                raise VideoError(
                    f"{path}: timestamps go back from {float(last - origin):.2f} s to "
                    f"{float(moment - origin):.2f} s, as when files are joined without new ones. "
                    "Re-encode it."
                )
            last = moment
            duration = shown.duration * (shown.time_base or Fraction(0)) or usual
            yield Shown(moment - origin, duration, shown)


def stamp(frame: "av.VideoFrame") -> Fraction:
    """Returns the timestamp in seconds; 0 if there is none."""
    return (frame.pts or 0) * (frame.time_base or Fraction(0))


def in_order(frames: list["av.VideoFrame"]) -> bool:
    """Returns whether all have a timestamp, later than the one before."""
    return all(map(_is_stamped, frames)) and all(
        stamp(a) < stamp(b) for a, b in itertools.pairwise(frames)
    )


def _is_stamped(frame: "av.VideoFrame") -> bool:
    return frame.pts is not None and bool(frame.time_base)


def pick(
    shown: Iterable[Shown[Item]],
    fps: Rate | None = None,
    start: Rate = 0,
    end: Rate | None = None,
    max_frames: int | None = None,
    tick: Fraction = Fraction(0),
    name: object = "video",
) -> Iterator[tuple[Fraction, Item]]:
    """Yields the frames of a span, each with its moment in seconds.

    For `fps` to `max_frames` see `video.Video`. `shown` are all frames, in order; `tick` is what
    timestamps are rounded to, in seconds; 0 if they are exact; `name` is for errors.

    Raises:
        VideoError: At a rate, a frame would be shown for more than ten minutes.
    """
    start, end = exact(start), None if end is None else exact(end)
    if fps:
        last = math.inf if max_frames is None else start + max_frames / exact(fps)
        last = last if end is None else min(last, end)
        moments = _at_rate(shown, exact(fps), start, tick, last, name)
    else:
        moments = ((each.time, each.item) for each in shown if each.time >= start)
    for count, (moment, item) in enumerate(moments):
        if end is not None and moment >= end:
            return
        yield moment, item
        if count + 1 == max_frames:
            return


def _at_rate(
    shown: Iterable[Shown[Item]],
    rate: Fraction,
    start: Fraction,
    tick: Fraction,
    last: Fraction | float,
    name: object,
) -> Iterator[tuple[Fraction, Item]]:
    rounding = min(tick / 2, _MOST_ROUNDING)
    moments = (start + k / rate for k in itertools.count())
    moment = next(moments)
    held: Shown[Item] | None = None
    for each in itertools.chain(shown, [None]):
        if held is not None:
            until = each.time if each is not None else held.time + held.duration
            seconds = min(until, last) - moment
            if seconds > _LONGEST_STILL:
                raise VideoError(
                    f"{name}: the frame at {float(moment):.2f} s would be shown for "
                    f"{float(seconds):g} s, more than {_LONGEST_STILL} s: a timestamp is wrong. "
                    "Re-encode the file, or choose a span without it."
                )
            while moment < until - rounding:
                yield moment, held.item
                moment = next(moments)
        held = each
