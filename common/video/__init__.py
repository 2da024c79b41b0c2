"""Frames of a time span of a video, which is a file or a folder of images.

Time 0 is the moment the first frame is shown. Containers start their clocks anywhere and count
frames wrongly, so nothing here looks at a start time or trusts a frame count.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.video.image_folders import ImageFolder
from common.video.source import FrameSource
from common.video.spans import Rate, Span, exact
from common.video.timestamps import Shown
from common.video.timestamps import VideoError as VideoError
from common.video.video_file import VideoFile

RGB = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Video(FrameSource):
    """Frames [H, W, 3], uint8 RGB, upright, of a span of a video, in the order they are shown.

    With `fps`, frame k is what is on the screen at `start + k / fps`: the last frame whose
    timestamp is not later. The last frame stays as long as its duration says. A few frames are in
    memory at a time, however long the video; what is before `start` is passed over by seeking if
    that changes nothing (MP4, Matroska, WebM), so that damage there goes unseen.

    All frames are as large as the first. Pixels that are not square are made so by stretching or
    shrinking the width, as players do; less than 1 % from square is square.

    A folder of numbered images is a video too: see `image_folders.find` for the names.

    Attributes:
        path: The video file, or the folder.
        fps: Frames per second to resample to; None yields every frame as it is stored.
        start: First moment, in seconds from the first frame.
        end: Moment to stop before, in seconds from the first frame; None is the end of the video.
        max_frames: Stops after so many frames.
        source_fps: Images per second of a folder, which has no times of its own; not for files.
        strict: A file that ends earlier than its header states (by a tenth or more) is an error;
            else it is a warning in the log.
        threads: Threads of the decoder; None leaves it to the decoder, which takes one a core.
        square_pixels: False keeps pixels as they are stored.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A rate, a span or a count makes no sense, or a folder lacks the rate that
            `fps`, `start` and `end` need.

    Reading raises `VideoError`: not a video, no video stream, no frames in the span, damaged data,
    timestamps that go back; turned by something else than quarter turns; a folder without frames,
    or with a gap in their numbers.
    """

    path: Path
    fps: Rate | None = None
    start: Rate = 0
    end: Rate | None = None
    max_frames: int | None = None
    source_fps: Rate | None = None
    strict: bool = False
    threads: int | None = None
    square_pixels: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", _existing(self.path, self.threads))
        span = self._span
        if self.source_fps is not None and not 0 < self.source_fps <= 1000:
            raise ValueError(f"source_fps must be above 0 and at most 1000, got {self.source_fps}.")
        is_folder = self.path.is_dir()
        if self.source_fps is not None and not is_folder:
            raise ValueError(
                f"{self.path}: source_fps is for folders of images; a file has timestamps."
            )
        whole = span == Span(max_frames=self.max_frames)
        if is_folder and self.source_fps is None and not whole:
            raise ValueError(
                f"{self.path}: a folder of images has no times of its own: fps, start and end need "
                "source_fps, the rate the images were taken at."
            )

    @property
    def rate(self) -> float | None:  # type: ignore[override]
        """Frames per second that come out; without `fps`, a file's header states it."""
        if self.fps is None and not self.path.is_dir():
            return info(self.path).fps
        rate = self.fps or self.source_fps
        return None if rate is None else float(rate)

    def __len__(self) -> int:
        return self._length

    def __str__(self) -> str:
        return str(self.path)

    def timed(self) -> Iterator[tuple[float, RGB]]:
        """Yields each frame with its time in seconds from the first frame of the video.

        With `fps` that is the moment `start + k / fps`, else the frame's own timestamp; images
        in a folder without a rate count as one per second.
        """
        with self._opened() as source:
            last: Any = None
            rgb: RGB | None = None
            shown: Iterator[Shown[Any]] = source.frames(exact(self.start), self.strict)
            for moment, item in self._span.pick(shown, source.tick):
                if rgb is None or item is not last:  # a frame shown twice is converted once
                    last, rgb = item, source.to_rgb(item)
                yield float(moment), rgb
        if rgb is None:
            raise VideoError(
                f"{self.path}: no frame is shown from second {float(self.start):g} "
                f"to {'the end' if self.end is None else f'{float(self.end):g}'}. "
                "Choose a span inside the video."
            )

    def pictures(self, indices: Sequence[int] | None = None) -> Iterator[RGB]:
        if indices is None:
            yield from (frame for _, frame in self.timed())
            return
        wanted, count, first = set(indices), 0, 0
        last = min(indices[-1], (self.max_frames or math.inf) - 1)
        part = dataclasses.replace(self, max_frames=int(max(last, 0)) + 1, strict=False)
        if self.fps and 0 < indices[0] <= last:
            start = exact(self.start) + indices[0] / exact(self.fps)
            if exact(start) == start:  # else it would be rounded, and another frame might be shown
                first = indices[0]
                part = dataclasses.replace(part, start=start, max_frames=int(last) - first + 1)
        for index, frame in enumerate(part.pictures(), first):
            if index in wanted:
                yield frame
                count += 1
        if count < len(indices):
            at = f" at {float(self.fps):g} a second" if self.fps else ""
            missing = indices[0] if indices[0] < 0 else indices[count]
            raise ValueError(f"{self.path}: has no frame {missing}{at}.")

    @property
    def _span(self) -> Span:
        return Span(self.fps, self.start, self.end, self.max_frames)

    @functools.cached_property
    def _length(self) -> int:
        return sum(1 for _ in dataclasses.replace(self, strict=True).timed())

    def _opened(self) -> VideoFile | ImageFolder:
        if self.path.is_dir():
            return ImageFolder(self.path, exact(self.source_fps or 1))
        return VideoFile(self.path, self.threads, self.square_pixels)


def read_frames(
    path: str | os.PathLike[str],
    fps: Rate | None = None,
    start: Rate = 0,
    end: Rate | None = None,
    max_frames: int | None = None,
    **options: Any,
) -> Iterator[RGB]:
    """Yields frames [H, W, 3], uint8 RGB: `Video`, whose other settings are the options.

    What can be checked without decoding is checked at once.
    """
    return iter(Video(Path(path), fps, start, end, max_frames, **options))


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """Size, rate and length of a video: as its header states them, or as measured.

    Attributes:
        width: Pixels, as shown (after rotation, and with square pixels unless asked otherwise).
        height: Pixels, as shown (after rotation).
        fps: Average frames per second as the header states, None if it does not.
        frames: Frame count; None if a header does not state it, where it is often wrong.
        duration: Seconds; None if nothing states it.
        times: Of a measured file, when each frame is shown, in seconds from the first.
    """

    width: int
    height: int
    fps: float | None
    frames: int | None
    duration: float | None
    times: tuple[float, ...] | None = None


def info(path: str | os.PathLike[str], source_fps: Rate | None = None) -> VideoInfo:
    """Reads size, rate and length from the header, and the rotation from the first frame.

    Args:
        path: The video file, or a folder of images, which are counted.
        source_fps: Images per second of a folder, if known.

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
        fps = float(file.rate) if file.rate else None
        duration = float(file.duration) if file.duration else None
        return VideoInfo(file.width, file.height, fps, file.stated_frames, duration)


def measure(
    path: str | os.PathLike[str], threads: int | None = None, square_pixels: bool = True
) -> VideoInfo:
    """Decodes a whole video, strictly, and keeps no pictures: whatever is wrong is an error.

    Args:
        path: The video file, or a folder of images, which has no rate and no times.
        threads: See `Video`.
        square_pixels: See `Video`.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: As `Video` with `strict`.
        ValueError: `threads` is below 1.
    """
    path = _existing(path, threads)
    if path.is_dir():
        folder = ImageFolder(path, Fraction(1))
        for image in folder.paths:
            folder.to_rgb(image)  # checks it
        return VideoInfo(folder.width, folder.height, None, len(folder.paths), None)
    times = []
    with VideoFile(path, threads, square_pixels) as file:
        for shown in file.frames(Fraction(0), strict=True):
            times.append(float(shown.time))
            end = float(shown.time + shown.duration)
        fps = float(file.rate) if file.rate else None
        return VideoInfo(file.width, file.height, fps, len(times), end, tuple(times))


def _existing(path: str | os.PathLike[str], threads: int | None = None) -> Path:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such video file. Check the path.")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, or None for the default, got {threads}.")
    return path
