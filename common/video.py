"""Decodes the frames of a video file, resampled by presentation timestamps.

Time 0 is the moment the first frame is shown. Containers start their clocks anywhere and count
frames wrongly, so nothing here looks at a start time or trusts a frame count.
"""

import dataclasses
import heapq
import os
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import logging
from numpy.typing import NDArray

from common.errors import listing
from common.resampling import Rate, exact, resample

if TYPE_CHECKING:
    import av

# Containers round timestamps to a tick (1 ms in Matroska), so a frame may carry a time a little
# after the moment it is for. Coarse ticks (1/25 s in AVI) are exact: hence the cap.
_MOST_ROUNDING = Fraction(1, 1000)

# Frames held back to put timestamps in order; codecs reorder by fewer in the containers that
# need it (AVI), and more would only cost memory.
_REORDER_WINDOW = 4


class VideoError(ValueError):
    """A file that is no readable video; the text names it and says what is wrong."""


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What the header of a video says; nothing in here has been counted.

    Attributes:
        width: Pixels, as shown (after rotation).
        height: Pixels, as shown (after rotation).
        fps: Average frames a second, None where the file does not say.
        frames: Frame count as the header states it, None where it does not. Often wrong.
        duration: Seconds, None where the file does not say.
    """

    width: int
    height: int
    fps: float | None
    frames: int | None
    duration: float | None


@dataclasses.dataclass(frozen=True)
class _Shown:
    """A decoded frame and when it is on the screen, in seconds from the first frame."""

    time: Fraction
    duration: Fraction
    frame: "av.VideoFrame"


def read_frames(
    path: str | os.PathLike[str],
    fps: Rate | None = None,
    start: Rate = 0,
    end: Rate | None = None,
    max_frames: int | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Yields frames [H, W, 3], uint8 RGB, upright, in the order they are shown.

    With `fps`, output k is what is on the screen at `start + k / fps`: the last frame whose
    timestamp is not later. The last frame stays as long as its duration says. A frame that is
    shown twice is the same array twice.

    Args:
        path: The video file.
        fps: Frames a second to resample to; None yields every frame as it is stored.
        start: First moment, seconds from the first frame.
        end: Moment to stop before, seconds from the first frame; None is the end of the video.
        max_frames: Stops after so many frames.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: Not a video, no video stream, no frames in the span, or damaged data.
        ValueError: A rate, a span or a count that makes no sense.
    """
    path = _existing(path)
    _check_span(fps, start, end, max_frames)
    return _read(path, fps, start, end, max_frames)


def info(path: str | os.PathLike[str]) -> VideoInfo:
    """Reads size, rate and length from the header, and the rotation from the first frame.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: Not a video, no video stream, or no frame that decodes.
    """
    import av

    path = _existing(path)
    with _open(path) as container:
        stream = _video_stream(path, container)
        first = next(_decoded(path, container, stream), None)
        if first is None:
            raise _no_frames(path)
        height, width = first.height, first.width
        if _quarter_turns(first) % 2:
            height, width = width, height
        duration: Fraction | None = None
        if stream.duration and stream.time_base:
            duration = stream.duration * stream.time_base
        elif container.duration:
            duration = Fraction(container.duration, av.time_base)
        rate = _rate(stream)
        return VideoInfo(
            width=width,
            height=height,
            fps=float(rate) if rate else None,
            frames=stream.frames or None,
            duration=float(duration) if duration else None,
        )


def _read(
    path: Path, fps: Rate | None, start: Rate, end: Rate | None, max_frames: int | None
) -> Iterator[NDArray[np.uint8]]:
    with _open(path) as container:
        stream = _video_stream(path, container)
        shown = _timed(path, stream, _decoded(path, container, stream))
        frames: Iterator[av.VideoFrame]
        if fps is None:
            frames = _span(shown, exact(start), None if end is None else exact(end))
        else:
            rounding = min((stream.time_base or Fraction(0)) / 2, _MOST_ROUNDING)
            triples = ((each.time, each.duration, each.frame) for each in shown)
            frames = resample(triples, fps, start, end, rounding)
        count, last, rgb = 0, None, None
        for frame in frames:
            if rgb is None or frame is not last:  # a frame shown twice is converted once
                last, rgb = frame, _to_rgb(frame)
            yield rgb
            count += 1
            if count == max_frames:
                return
    if not count:
        raise VideoError(
            f"{path}: no frame is shown from second {float(start):g} "
            f"to {'the end' if end is None else f'{float(end):g}'}. Choose a span inside the video."
        )


def _span(
    shown: Iterable[_Shown], start: Fraction, end: Fraction | None
) -> Iterator["av.VideoFrame"]:
    """The stored frames whose timestamps lie in [start, end)."""
    for each in shown:
        if end is not None and each.time >= end:
            return
        if each.time >= start:
            yield each.frame


def _decoded(
    path: Path, container: "av.container.InputContainer", stream: "av.VideoStream"
) -> Iterator["av.VideoFrame"]:
    """The frames as the decoder hands them out: in order of showing. Damage is an error."""
    import av

    stream.thread_type = "AUTO"
    time: float | None = 0.0
    count = 0
    frames = container.decode(stream)
    while True:
        try:
            frame = next(frames, None)
        except (av.FFmpegError, EOFError) as error:
            raise _damaged(path, time, count) from error
        if frame is None:
            break
        time = frame.time if frame.time is not None else time
        if frame.is_corrupt:
            raise _damaged(path, time, count)
        yield frame
        count += 1
    if stream.frames and count < 0.9 * stream.frames:
        logging.warning(
            "%s: the header states %d frames, %d are there. The file may be cut short.",
            path, stream.frames, count,
        )  # fmt: skip


def _timed(
    path: Path, stream: "av.VideoStream", frames: Iterable["av.VideoFrame"]
) -> Iterator[_Shown]:
    """Puts a time to every frame: the first at 0, the rest in order.

    A decoder hands frames out in the order they are shown, while some AVI files number them in
    the order they are stored: the k-th frame therefore gets the k-th smallest timestamp.
    """
    usual = 1 / (_rate(stream) or Fraction(25))
    window: deque[tuple[Fraction, av.VideoFrame]] = deque()  # duration, frame
    times: list[Fraction] = []
    origin: Fraction | None = None

    def oldest() -> _Shown:
        nonlocal origin
        time = heapq.heappop(times)
        origin = time if origin is None else origin
        duration, frame = window.popleft()
        return _Shown(time - origin, duration, frame)

    for time, frame in _stamped(path, usual, frames):
        tick = frame.time_base or Fraction(0)
        heapq.heappush(times, time)
        window.append((frame.duration * tick or usual, frame))
        if len(window) > _REORDER_WINDOW:
            yield oldest()
    if not window:
        raise _no_frames(path)
    while window:
        yield oldest()


def _stamped(
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


def _to_rgb(frame: "av.VideoFrame") -> NDArray[np.uint8]:
    rgb = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    turns = _quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


def _quarter_turns(frame: "av.VideoFrame") -> int:
    """Counter-clockwise quarter turns that make the frame upright."""
    return round((frame.rotation or 0) / 90) % 4


def _rate(stream: "av.VideoStream") -> Fraction | None:
    # PyAV gives an unknown rate as None or as a rational of 0/0 or 0/1: all are falsy.
    return stream.average_rate or stream.guessed_rate or None


def _existing(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such video file. Check the path.")
    if not path.is_file():
        raise VideoError(f"{path}: expected a video file, got a folder. Name one file in it.")
    return path


def _check_span(fps: Rate | None, start: Rate, end: Rate | None, max_frames: int | None) -> None:
    if fps is not None and not 0 < fps <= 1000:
        raise ValueError(f"fps must be above 0 and at most 1000, got {fps}.")
    if start < 0 or (end is not None and not end > start):
        raise ValueError(f"a span must have 0 <= start < end, in seconds, got {start} to {end}.")
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"max_frames must be at least 1, or None for all, got {max_frames}.")


def _open(path: Path) -> "av.container.InputContainer":
    import av

    if not path.stat().st_size:
        raise VideoError(f"{path}: expected a video, got an empty file. Fetch it again.")
    try:
        return av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, EOFError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise VideoError(
            f"{path}: not a video that FFmpeg can open ({reason}). Expected a video file such as "
            ".mp4, .mkv, .avi, .webm or .gif; if it is one, it is damaged: fetch it again."
        ) from error


def _video_stream(path: Path, container: "av.container.InputContainer") -> "av.VideoStream":
    if not container.streams.video:
        kinds = listing({stream.type for stream in container.streams}) or "nothing"
        raise VideoError(f"{path}: has no video stream, only {kinds}. Choose a file with pictures.")
    return container.streams.video[0]


def _no_frames(path: Path) -> VideoError:
    return VideoError(f"{path}: has a video stream without a single frame. Fetch or make it again.")


def _damaged(path: Path, time: float | None, count: int) -> VideoError:
    return VideoError(
        f"{path}: damaged at about {time or 0:.2f} s, after {count} good frames. "
        "Fetch it again, or re-encode it if what is left of it will do."
    )
