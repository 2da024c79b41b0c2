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

from common.video import timestamps
from common.video.image_folders import ImageFolder
from common.video.source import FrameSource
from common.video.timestamps import Rate, Shown, exact
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

    Attributes:
        path: The video file, or a folder of numbered images: see `image_folders.find`.
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
        object.__setattr__(self, "path", _existing(self.path))
        for name in ("fps", "source_fps"):
            if (rate := getattr(self, name)) is not None and not 0 < rate <= 1000:
                raise ValueError(f"{name} must be above 0 and at most 1000, got {rate}.")
        for name in ("max_frames", "threads"):
            if (count := getattr(self, name)) is not None and count < 1:
                raise ValueError(f"{name} must be at least 1, or None, got {count}.")
        if not 0 <= self.start < (math.inf if self.end is None else self.end) or (
            self.end is not None and math.isinf(self.end)
        ):
            raise ValueError(
                f"a span must have 0 <= start < end, in seconds, got {self.start} to {self.end}."
            )
        if self.source_fps is not None and not self.path.is_dir():
            raise ValueError(
                f"{self.path}: source_fps is for folders of images; a file has timestamps."
            )
        whole = self.fps is self.end is None and not self.start
        if self.path.is_dir() and self.source_fps is None and not whole:
            raise ValueError(
                f"{self.path}: a folder of images has no times of its own: fps, start and end need "
                "source_fps, the rate the images were taken at."
            )

    @property
    def rate(self) -> float | None:  # type: ignore[override]
        """Frames per second that come out; without `fps`, those that `info` states."""
        return float(self.fps) if self.fps else info(self.path, self.source_fps).fps

    def __len__(self) -> int:
        return self._length

    @functools.cached_property
    def _length(self) -> int:
        return sum(1 for _ in dataclasses.replace(self, strict=True).timed())

    def __str__(self) -> str:
        return str(self.path)

    def timed(self) -> Iterator[tuple[float, RGB]]:
        """Yields each frame with its time in seconds from the first frame of the video.

        With `fps` that is the moment `start + k / fps`, else the frame's own timestamp; images
        in a folder without a rate count as one per second.
        """
        moment = None
        for moment, rgb in self._decoded(self.start, self.max_frames, self.strict):
            yield moment, rgb
        if moment is None:
            end = "the end" if self.end is None else f"{float(self.end):g}"
            raise VideoError(
                f"{self.path}: no frame is shown from second {float(self.start):g} to {end}. "
                "Choose a span inside the video."
            )

    def pictures(self, indices: Sequence[int] | None = None) -> Iterator[RGB]:
        if indices is None:
            yield from (frame for _, frame in self.timed())
            return
        wanted = [*reversed(indices)]
        start, first = exact(self.start), 0
        if self.fps:  # begin with the first that is wanted
            first = max(indices[0], 0)
            start += first / exact(self.fps)
        count = min(indices[-1] + 1, self.max_frames or math.inf) - first
        decoded = self._decoded(start, int(count), strict=False) if count > 0 else ()
        for index, (_, frame) in enumerate(decoded, first):
            if index == wanted[-1]:
                yield frame
                wanted.pop()
        if wanted:
            at = f" at {float(self.fps):g} a second" if self.fps else ""
            raise ValueError(f"{self.path}: has no frame {wanted[-1]}{at}.")

    def _decoded(
        self, start: Rate, max_frames: int | None, strict: bool
    ) -> Iterator[tuple[float, RGB]]:
        last: Any = None
        with _open(self.path, self.source_fps, self.threads, self.square_pixels) as source:
            shown: Iterator[Shown[Any]] = source.frames(exact(start), strict)
            span = self.fps, start, self.end, max_frames
            for moment, item in timestamps.pick(shown, *span, source.tick, self.path):
                if item is not last:  # a frame shown twice is converted once
                    last, rgb = item, source.to_rgb(item)
                yield float(moment), rgb


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
        times: When each frame of a measured file is shown, in seconds from the first.
    """

    width: int
    height: int
    fps: float | None
    frames: int | None
    duration: float | None
    times: tuple[float, ...] | None = None


def info(path: str | os.PathLike[str], source_fps: Rate | None = None) -> VideoInfo:
    """Reads size, rate and length from the header, and the rotation from the first frame.

    `source_fps` is the images per second of a folder, if known. Raises as `measure`.
    """
    with _open(path, source_fps) as source:
        return _stated(source)


def measure(
    path: str | os.PathLike[str], threads: int | None = None, square_pixels: bool = True
) -> VideoInfo:
    """Decodes a whole video, strictly, and keeps no pictures: whatever is wrong is an error.

    A folder of images has no rate and no times. For the settings see `Video`.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: As `Video` with `strict`.
    """
    with _open(path, None, threads, square_pixels) as source:
        if isinstance(source, ImageFolder):
            for image in source.paths:
                source.to_rgb(image)  # checks it
            return _stated(source)
        times = []
        for shown in source.frames(Fraction(0), strict=True):
            times.append(float(shown.time))
            end = float(shown.time + shown.duration)
        return dataclasses.replace(
            _stated(source), frames=len(times), duration=end, times=tuple(times)
        )


def _existing(path: str | os.PathLike[str]) -> Path:
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: there is no such video file. Check the path.")
    return Path(path)


def _open(
    path: str | os.PathLike[str],
    source_fps: Rate | None,
    threads: int | None = None,
    square_pixels: bool = True,
) -> VideoFile | ImageFolder:
    path = _existing(path)
    if path.is_dir():
        return ImageFolder(path, None if source_fps is None else exact(source_fps))
    return VideoFile(path, threads, square_pixels)


def _stated(source: VideoFile | ImageFolder) -> VideoInfo:
    fps = float(source.rate) if source.rate else None
    duration = float(source.duration) if source.duration else None
    return VideoInfo(source.width, source.height, fps, source.stated_frames, duration)
