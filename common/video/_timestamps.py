"""Puts a time to every frame that a decoder hands out."""

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
    """Puts a time to every frame, in order.

    A decoder hands frames out in the order they are shown, while some AVI files number them in
    the order they are stored: the k-th frame therefore gets the k-th smallest timestamp.

    Args:
        path: The file, for messages.
        usual: How long a frame is shown where nothing says so, seconds.
        frames: As the decoder hands them out.
        window: Frames held back to put timestamps in order; they cost memory.
        origin: The timestamp that is time 0, seconds; None is the first frame's.

    Raises:
        VideoError: Timestamps that go back by more than `window` frames.
    """
    held: deque[tuple[Fraction, av.VideoFrame]] = deque()  # duration, frame
    times: list[Fraction] = []
    last: Fraction | None = None

    def oldest() -> Shown["av.VideoFrame"]:
        nonlocal origin, last
        time = heapq.heappop(times)
        origin = time if origin is None else origin
        if last is not None and time < last:
            raise VideoError(
                f"{path}: timestamps go back from {float(last - origin):.2f} s to "
                f"{float(time - origin):.2f} s, as when files are joined without new ones. "
                "Re-encode it."
            )
        last = time
        duration, frame = held.popleft()
        return Shown(time - origin, duration, frame)

    for time, frame in stamped(path, usual, frames):
        tick = frame.time_base or Fraction(0)
        heapq.heappush(times, time)
        held.append((frame.duration * tick or usual, frame))
        if len(held) > window:
            yield oldest()
    while held:
        yield oldest()


def stamped(
    path: Path, usual: Fraction, frames: Iterable["av.VideoFrame"]
) -> Iterator[tuple[Fraction, "av.VideoFrame"]]:
    """Timestamps in seconds; a missing one is the one before plus `usual`, with a word."""
    time, missing = -usual, 0
    for frame in frames:
        if frame.pts is not None and frame.time_base:
            time = frame.pts * frame.time_base
        else:
            time += usual
            missing += 1
            if missing == 1:
                rate = f"{float(1 / usual):g} frames a second"
                logging.warning("%s: timestamps are missing; taking %s instead.", path, rate)
        yield time, frame


def stamp(frame: "av.VideoFrame") -> Fraction:
    """The timestamp in seconds; 0 where there is none."""
    return (frame.pts or 0) * (frame.time_base or Fraction(0))


def in_order(frames: list["av.VideoFrame"]) -> bool:
    """Whether all have a timestamp, later than the one before."""
    known = all(frame.pts is not None and frame.time_base for frame in frames)
    return known and all(stamp(a) < stamp(b) for a, b in itertools.pairwise(frames))
