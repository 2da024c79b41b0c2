"""Frames of a time span of a video, which is a file or a folder of images.

Time 0 is the moment the first frame is shown. Containers start their clocks anywhere and count
frames wrongly, so nothing here looks at a start time or trusts a frame count.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.preprocessing.resampling import Rate, exact
from common.video._decoding import VideoFile
from common.video._spans import Span
from common.video._timestamps import Item, Shown
from common.video._timestamps import VideoError as VideoError
from common.video.image_folders import ImageFolder


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What the header of a video says; nothing in here has been counted, but images in a folder.

    Attributes:
        width: Pixels, as shown (after rotation, and with square pixels).
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
class Measured:
    """What there is in a video, found by decoding all of it.

    Attributes:
        width: Pixels, as shown (after rotation, and with square pixels if that was asked for).
        height: Pixels, as shown (after rotation).
        fps: Average frames a second as the header says, None where nothing says so.
        times: When each frame is shown, seconds from the first; None for a folder.
        frames: How many.
        seconds: From the beginning of the first frame to the end of the last; None for a folder.
    """

    width: int
    height: int
    fps: float | None
    times: tuple[float, ...] | None
    frames: int
    seconds: float | None


def read_frames(
    path: str | os.PathLike[str],
    fps: Rate | None = None,
    start: Rate = 0,
    end: Rate | None = None,
    max_frames: int | None = None,
    *,
    source_fps: Rate | None = None,
    strict: bool = False,
    threads: int | None = None,
    square_pixels: bool = True,
) -> Iterator[NDArray[np.uint8]]:
    """Yields frames [H, W, 3], uint8 RGB, upright, in the order they are shown.

    With `fps`, output k is what is on the screen at `start + k / fps`: the last frame whose
    timestamp is not later. The last frame stays as long as its duration says. A frame that is
    shown twice is the same array twice. A few frames are in memory at a time, however long the
    video; what is before `start` is passed over by seeking where that changes nothing (MP4,
    Matroska, WebM), so that damage there goes unseen.

    All frames are as large as the first. Pixels that are not square are made so by stretching or
    shrinking the width, as players do; less than 1 % from square is square.

    A folder of numbered images is a video too: see `image_folders.find` for the names.

    Args:
        path: The video file, or the folder.
        fps: Frames a second to resample to; None yields every frame as it is stored.
        start: First moment, seconds from the first frame.
        end: Moment to stop before, seconds from the first frame; None is the end of the video.
        max_frames: Stops after so many frames.
        source_fps: Images a second of a folder, which has no times of its own; for nothing else.
        strict: Reaching the end of a file earlier than its header states (by a tenth or more) is
            an error; else it is a warning in the log.
        threads: Of the decoder; None leaves it to the decoder, which takes one a core.
        square_pixels: False keeps pixels as they are stored.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: Not a video, no video stream, no frames in the span, damaged data, timestamps
            that go back, or with `fps` a frame that is shown for more than ten minutes; turned by
            something else than quarter turns; a folder without frames, or with a gap in their
            numbers.
        ValueError: A rate, a span or a count that makes no sense, or a folder without the rate
            that `fps`, `start` and `end` need.
    """
    path = _existing(path)
    if path.is_dir() and source_fps is None and fps is None and start == 0 and end is None:
        source_fps = 1  # every image: times do not matter
    span = Span(fps, start, end, max_frames)
    timed = _read(path, span, source_fps, strict, threads, square_pixels)
    return (frame for _, frame in timed)


def read_timed_frames(
    path: str | os.PathLike[str],
    fps: Rate | None = None,
    start: Rate = 0,
    end: Rate | None = None,
    max_frames: int | None = None,
    *,
    source_fps: Rate | None = None,
    strict: bool = False,
    threads: int | None = None,
    square_pixels: bool = True,
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yields the frames of `read_frames`, each with its time in seconds from the first frame.

    With `fps` that is the moment `start + k / fps`, else the frame's own timestamp.
    """
    span = Span(fps, start, end, max_frames)
    return _read(_existing(path), span, source_fps, strict, threads, square_pixels)


def info(path: str | os.PathLike[str], source_fps: Rate | None = None) -> VideoInfo:
    """Reads size, rate and length from the header, and the rotation from the first frame.

    Args:
        path: The video file, or a folder of images, which are counted.
        source_fps: Images a second of a folder, where it is known.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: Not a video, no video stream, or no frame that decodes.
    """
    path = _existing(path)
    if path.is_dir():
        folder = ImageFolder(path, exact(source_fps or 1))
        count = len(folder.paths)
        rate = None if source_fps is None else float(source_fps)
        return VideoInfo(folder.width, folder.height, rate, count, rate and count / rate)
    with VideoFile(path) as file:
        return VideoInfo(
            width=file.width,
            height=file.height,
            fps=float(file.rate) if file.rate else None,
            frames=file.stated_frames,
            duration=float(file.duration) if file.duration else None,
        )


def measure(
    path: str | os.PathLike[str], threads: int | None = None, square_pixels: bool = True
) -> Measured:
    """Decodes a whole video, strictly, and keeps no pictures: what is wrong with it is an error.

    Args:
        path: The video file, or a folder of images, which has no rate.
        threads: See `read_frames`.
        square_pixels: See `read_frames`.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: As `read_frames` with `strict`.
        ValueError: `threads` is below 1.
    """
    path = _existing(path)
    _check_threads(threads)
    if path.is_dir():
        folder = ImageFolder(path, Fraction(1))
        for image in folder.paths:
            folder.to_rgb(image)  # checks it
        return Measured(folder.width, folder.height, None, None, len(folder.paths), None)
    times = []
    with VideoFile(path, threads, square_pixels) as file:
        for shown in file.frames(Fraction(0), strict=True):
            times.append(float(shown.time))
            end = shown.time + shown.duration
        rate = float(file.rate) if file.rate else None
        return Measured(file.width, file.height, rate, tuple(times), len(times), float(end))


class _Source(Protocol[Item]):
    """What a video is read from: `VideoFile` or `ImageFolder`."""

    tick: Fraction

    def frames(self, start: Fraction, strict: bool) -> Iterator[Shown[Item]]: ...

    def to_rgb(self, item: Item, /) -> NDArray[np.uint8]: ...


def _read(
    path: Path,
    span: Span,
    source_fps: Rate | None,
    strict: bool,
    threads: int | None,
    square_pixels: bool,
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Checks what can be checked before the first frame is asked for, and reads."""
    _check_threads(threads)
    if not path.is_dir():
        if source_fps is not None:
            raise ValueError(f"{path}: source_fps is for folders of images; a file has timestamps.")
        return _converted(path, span, strict, lambda: VideoFile(path, threads, square_pixels))
    if source_fps is None:
        raise ValueError(
            f"{path}: a folder of images has no times of its own: fps, start and end need "
            "source_fps, the rate the images were taken at."
        )
    if not 0 < source_fps <= 1000:
        raise ValueError(f"source_fps must be above 0 and at most 1000, got {source_fps}.")
    return _converted(path, span, strict, lambda: ImageFolder(path, exact(source_fps)))


def _converted(
    path: Path,
    span: Span,
    strict: bool,
    opened: Callable[[], AbstractContextManager[_Source[Item]]],
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    with opened() as source:
        count = 0
        last: Item | None = None
        rgb: NDArray[np.uint8] | None = None
        shown = source.frames(exact(span.start), strict)
        for moment, item in span.pick(path, shown, source.tick):
            if rgb is None or item is not last:  # a frame shown twice is converted once
                last, rgb = item, source.to_rgb(item)
            yield float(moment), rgb
            count += 1
            if count == span.max_frames:
                return
    if not count:
        raise VideoError(
            f"{path}: no frame is shown from second {float(span.start):g} "
            f"to {'the end' if span.end is None else f'{float(span.end):g}'}. "
            "Choose a span inside the video."
        )


def _check_threads(threads: int | None) -> None:
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, or None for the default, got {threads}.")


def _existing(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such video file. Check the path.")
    return path
