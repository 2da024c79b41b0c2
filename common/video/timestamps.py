"""Assigns a time to every frame that a decoder yields."""

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from absl import logging

if TYPE_CHECKING:
    import av

Item = TypeVar("Item")


class VideoError(ValueError):
    """A file that is no readable video; the text names it and says what is wrong."""


class Shown(NamedTuple, Generic[Item]):
    """A frame and when it is on the screen, in seconds from the first frame."""

    time: Fraction
    duration: Fraction
    item: Item


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
