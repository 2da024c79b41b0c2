"""One way to frames: a video file, a folder of images, an array, or computed flow.

Time 0 is the moment the first frame is shown. Containers start their clocks anywhere and count
frames wrongly, so nothing here looks at a start time or trusts a frame count.
"""

import abc
import contextlib
import dataclasses
import functools
import itertools
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.flow.stamp import FlowStamp
from common.video import video_files
from common.video.video_file import RGB, Shown, VideoFile
from common.video.video_file import VideoError as VideoError

Rate = float | Fraction
# [H, W, C]: uint8 RGB; or float32 flow, x and y, in [-1, 1], where 1 is 20 pixels.
Picture = NDArray[Any]

# Containers round timestamps to a tick (1 ms in Matroska), so a frame may carry a time a little
# after the moment it is for. Coarse ticks (1/25 s in AVI) are exact: hence the cap.
_MOST_ROUNDING = Fraction(1, 1000)
_LONGEST_STILL = 600  # seconds that a frame may be repeated for


class FrameSource(abc.ABC):
    """The frames, or the flow, of one clip."""

    path: Path  # the file or folder it is read from
    stamp: FlowStamp | None = None  # None for RGB, and for flow that says nothing

    @property
    def rate(self) -> float | None:
        """Frames per second; None if nothing states it."""
        return self.stamp.fps if self.stamp else None

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of frames. A video file is decoded for it, once, as headers are often wrong."""

    @abc.abstractmethod
    def pictures(self, indices: Sequence[int] | None = None) -> Iterator[Picture]:
        """Yields the pictures of ascending indices, or all; one that is repeated is one array.

        Raises `ValueError` for a damaged file, or a frame that is not there.
        """

    def __iter__(self) -> Iterator[Picture]:
        return self.pictures()

    def __str__(self) -> str:
        return str(self.path)

    def read(self, indices: Iterable[int]) -> Picture:
        """Reads frames of any 0-based indices as [T, H, W, C]; each is decoded once.

        Raises `ValueError` for no index or one outside, a damaged file, or frames of several sizes.
        """
        wanted = list(indices)
        if not wanted:
            raise ValueError(f"{self}: expected indices of frames. Received: none.")
        ascending = sorted(set(wanted))
        pictures = np.stack([*self.pictures(ascending)])
        return np.asarray(pictures[np.searchsorted(ascending, wanted)])

    def checked(self, indices: Sequence[int] | None) -> Sequence[int]:
        """Returns the ascending indices, None being all; `ValueError` for one that is not there."""
        indices, last = range(len(self)) if indices is None else indices, len(self) - 1
        if indices and not 0 <= indices[0] <= indices[-1] <= last:
            got = f"{indices[0]} to {indices[-1]}"
            raise ValueError(f"{self}: expected indices from 0 to {last}. Received: {got}.")
        return indices


@dataclasses.dataclass(frozen=True)
class Video(FrameSource):
    """Frames [H, W, 3], uint8 RGB, upright, of a span of a video, in the order they are shown.

    With `fps`, frame k is what is on the screen at `start + k / fps`: the last frame whose
    timestamp is not later; the last of all stays as long as its duration says. All are
    as large as the first.

    Raises `FileNotFoundError`, and `ValueError` for senseless settings. Reading raises `VideoError`
    for what is no video or damaged, a span without frames, and a folder with gaps.
    """

    path: Path  # the video file, or a folder of numbered images: see `video_files.find`
    fps: Rate | None = None  # to resample to; None yields every frame as it is stored
    start: Rate = 0  # first moment, in seconds from the first frame
    end: Rate | None = None  # moment to stop before; None is the end of the video
    max_frames: int | None = None
    source_fps: Rate | None = None  # of a folder of images, which `fps`, `start` and `end` need
    strict: bool = False  # whether a file cut short (see `VideoFile.frames`) is an error
    threads: int | None = None  # of the decoder; None takes one a core
    square_pixels: bool = True  # False keeps pixels as they are stored

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path}: there is no such video file. Check the path.")
        end = self.start + 1 if self.end is None else self.end
        fps = 1 if self.fps is None else self.fps
        if not 0 <= self.start < end < math.inf or not 0 < fps <= 1000:
            got = f"start {self.start}, end {self.end}, fps {self.fps}"
            raise ValueError(f"expected 0 <= start < end and 0 < fps <= 1000. Received: {got}.")
        whole = self.fps is self.end is None and not self.start
        if not whole and self.source_fps is None and self.path.is_dir():
            raise ValueError(
                f"{self}: a folder of images has no times: fps, start and end need source_fps, the "
                "rate the images were taken at."
            )

    @property
    def rate(self) -> float | None:
        """Frames per second that come out; without `fps`, those that the header states."""
        rate = self.fps or self.source_fps
        if not rate and not self.path.is_dir():
            with contextlib.closing(VideoFile(self.path)) as file:
                rate = file.rate
        return float(rate) if rate else None

    def __len__(self) -> int:
        return self._length

    @functools.cached_property
    def _length(self) -> int:
        return sum(1 for _ in dataclasses.replace(self, strict=True).timed())

    def timed(self, first: int = 0) -> Iterator[tuple[float, RGB]]:
        """Yields each frame with its time in seconds from the first frame of the video.

        With `fps`, that is the moment `start + k / fps`, and frame `first` is the first; else the
        frame's own timestamp. Images in a folder without a rate count as one per second.
        """
        start = exact(self.start) + (first / exact(self.fps) if self.fps else 0)
        moment = last = None
        with self._opened(start) as (shown, to_rgb, tick):
            moments: Iterator[tuple[Fraction, Any]]
            most = None if self.max_frames is None else max(self.max_frames - first, 0)
            end = math.inf if self.end is None else exact(self.end)
            if self.fps:
                rate = exact(self.fps)
                last_moment = end if most is None else min(end, start + most / rate)
                moments = _at_rate(shown, rate, start, tick, last_moment, self)
            else:
                moments = ((each.time, each.item) for each in shown if each.time >= start)
            moments = itertools.takewhile(lambda pair: pair[0] < end, moments)
            for moment, item in itertools.islice(moments, most):
                if item is not last:  # a frame shown twice is converted once
                    last, rgb = item, to_rgb(item)
                yield float(moment), rgb
        if moment is None:
            raise VideoError(f"{self}: no frame is shown from second {float(start):g} on.")

    def pictures(self, indices: Sequence[int] | None = None) -> Iterator[RGB]:
        if indices is None:
            yield from (frame for _, frame in self.timed())
            return
        wanted = deque(indices)
        first = max(wanted[0], 0) if self.fps else 0
        for index, (_, frame) in enumerate(self.timed(first), first):
            if index == wanted[0]:
                yield frame
                wanted.popleft()
                if not wanted:
                    return
        raise ValueError(f"{self}: has no frame {wanted[0]}.")

    @contextlib.contextmanager
    def _opened(
        self, start: Fraction
    ) -> Iterator[tuple[Iterator[Shown], Callable[[Any], RGB], Fraction]]:
        """Yields what is shown, the conversion to RGB, and the rounding of times in seconds."""
        if self.path.is_dir():
            step, paths = 1 / exact(self.source_fps or 1), video_files.find(self.path)
            size = video_files.read_image(paths[0]).shape[:2]
            read = functools.partial(video_files.read_image, size=size)
            yield (Shown(k * step, step, path) for k, path in enumerate(paths)), read, Fraction(0)
            return
        with contextlib.closing(VideoFile(self.path, self.threads, self.square_pixels)) as file:
            yield file.frames(start, self.strict), file.to_rgb, file.tick


def read_frames(path: str | os.PathLike[str], *span: Any, **options: Any) -> Iterator[RGB]:
    """Yields the frames of a `Video`, which is checked at once."""
    return iter(Video(Path(path), *span, **options))


class VideoInfo(NamedTuple):
    width: int  # as shown, upright
    height: int
    fps: float | None  # as the header states
    frames: int
    duration: float | None = None  # seconds; None of images, as the times of frames
    times: tuple[float, ...] | None = None


def measure(path: str | os.PathLike[str], threads: int | None = None) -> VideoInfo:
    """Decodes a whole video, strictly, and keeps no pictures; raises as `Video`."""
    path = Video(Path(path)).path
    if path.is_dir():
        sizes = [frame.shape for frame in Video(path)]
        return VideoInfo(sizes[0][1], sizes[0][0], None, len(sizes))
    with contextlib.closing(VideoFile(path, threads)) as file:
        shown = [(each.time, each.duration) for each in file.frames(Fraction(0), strict=True)]
        times = tuple(float(time) for time, _ in shown)
        fps = float(file.rate) if file.rate else None
        return VideoInfo(file.width, file.height, fps, len(times), float(sum(shown[-1])), times)


def exact(number: Rate) -> Fraction:
    """Returns the rational that was meant: 29.97002997 is 30000/1001."""
    return Fraction(number).limit_denominator(100_000)


def _at_rate(
    shown: Iterable[Shown],
    rate: Fraction,
    start: Fraction,
    tick: Fraction,
    last: Fraction | float = math.inf,
    name: object = "",
) -> Iterator[tuple[Fraction, Any]]:
    """Yields the moments `start + k / rate`, as far as `last`, and what is on the screen then."""
    rounding = min(tick / 2, _MOST_ROUNDING)
    k, held = 0, None
    for each in itertools.chain(shown, [None]):
        if held is not None:
            until = each.time if each is not None else held.time + held.duration
            still = min(until, last) - start - k / rate
            if still > _LONGEST_STILL:  # its repetitions could fill a disk
                raise VideoError(
                    f"{name}: the frame at {float(start + k / rate):.2f} s would be shown for "
                    f"{float(still):g} s: a timestamp is wrong. Convert the video."
                )
            while start + k / rate < until - rounding:
                yield start + k / rate, held.item
                k += 1
        held = each
