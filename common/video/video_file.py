"""Decodes a video file with PyAV: assigns a time to every frame, and seeks where that is exact."""

import contextlib
import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from absl import logging
from numpy.typing import NDArray

from common.io import listing

if TYPE_CHECKING:
    import av

RGB = NDArray[np.uint8]

# FFmpeg's containers that are opened: of videos and, for a better error, of sound.
_CONTAINERS = (
    "aac,ac3,aiff,apng,asf,av1,avi,avif,dv,flac,flv,gif,h261,h263,h264,hevc,ivf,m4v,matroska,mjpeg,"
    "mov,mp3,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,vc1,wav,webp_pipe,wtv,yuv4mpegpipe"
)
# Seeking is exact if the container marks keyframes and stores when each frame is shown.
_SEEKABLE = ("mov,mp4", "matroska")
_SEEK_MARGIN = 1  # seconds, as some indices count in the order of storage, ahead by a few frames
# Frames held back to put timestamps in order: AVI numbers frames as they are stored, and up to 16
# B-frames of x264 follow one another. The others need it for faulty files alone.
_WINDOW, _AVI_WINDOW = 4, 18
# Pixels less than this from square are taken as square: encoders round the ratio.
_NEARLY_SQUARE = Fraction(1, 100)
# The least part of the stated length that a whole file has: sound may go on after the pictures.
_WHOLE = Fraction(9, 10)


class VideoError(ValueError):
    """A file that is no readable video; the text names it and says what is wrong."""


class Shown(NamedTuple):
    """A frame and when it is on the screen, in seconds from the first frame."""

    time: Fraction
    duration: Fraction
    item: Any


class VideoFile:
    """A video file that is open for reading.

    `tick` is the seconds that its timestamps count in, 0 if unknown; `rate` the frames per second
    that the header states, if it does; `width` and `height` are of the first frame as shown.
    """

    def __init__(self, path: Path, threads: int | None = None, square_pixels: bool = True):
        """Opens the file and decodes the first frame; raises `VideoError`."""
        from av.video.reformatter import VideoReformatter

        self.path = path
        self._threads = threads
        self._origin = Fraction(0)
        self._container, self._stream = _open(path, threads)
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            stream = self._stream
            self.tick = stream.time_base or Fraction(0)
            # PyAV gives an unknown rate as None or as a rational of 0/0 or 0/1: all are falsy.
            self.rate: Fraction | None = stream.average_rate or stream.guessed_rate or None
            self._format = self._container.format.name
            self._decoding = self._decoded()
            first = next(self._decoding, None)
            if first is None:
                raise VideoError(f"{path}: has a video stream without a frame. Fetch it again.")
            self._first, self._origin = first, _stamp(first) or Fraction(0)
            self._orientation = _orientation(first)
            aspect = stream.sample_aspect_ratio or Fraction(1)  # 0 if unknown
            stretched = square_pixels and abs(aspect - 1) >= _NEARLY_SQUARE
            width = max(1, round(first.width * aspect)) if stretched else first.width
            self._size = (width, first.height)
            self.width, self.height = self._size[:: -1 if self._orientation[0] else 1]
            self._reformatter = VideoReformatter()  # one for all frames: it keeps its tables
            stack.pop_all()

    def close(self) -> None:
        self._container.close()

    def frames(self, start: Fraction, strict: bool) -> Iterator[Shown]:
        """Yields the frames in the order they are shown; call it once.

        Frames that are no longer shown at `start`, in seconds, may be left out. Raises `VideoError`
        for damaged data, and if `strict` for a file that is cut short, which else is a warning.
        """
        decoding: Iterator[av.VideoFrame] = itertools.chain([self._first], self._decoding)
        if start > _SEEK_MARGIN and self._format.startswith(_SEEKABLE):
            decoding = self._after_seeking(start - _SEEK_MARGIN)
        end = Fraction(0)
        for shown in self._timed(decoding):
            end = shown.time + shown.duration
            yield shown
        stated = self._stated_end()
        if stated and end < _WHOLE * stated:
            times = f"The header states {float(stated):.2f} s, the pictures end at {float(end):.2f}"
            text = f"{self.path}: cut short. {times} s. Fetch it again, or re-encode what is left."
            if strict:
                raise VideoError(text)
            logging.warning("%s", text)

    def to_rgb(self, frame: "av.VideoFrame") -> RGB:
        """Converts a frame to [height, width, 3] uint8 RGB, upright."""
        converted = self._reformatter.reformat(
            frame, *self._size, format="rgb24", threads=self._threads
        )
        picture = np.asarray(converted.to_ndarray(), np.uint8)
        transposed, down, across = self._orientation
        turned = picture.transpose(1, 0, 2) if transposed else picture
        return np.ascontiguousarray(turned[::down, ::across])

    def _timed(self, decoding: Iterable["av.VideoFrame"]) -> Iterator[Shown]:
        """Gives the k-th frame the k-th smallest timestamp.

        Frames are in the order they are shown, and AVI numbers them in the order they are stored. A
        missing timestamp is the one before plus a frame's usual duration.
        """
        window = _AVI_WINDOW if self._format == "avi" else _WINDOW
        usual = 1 / (self.rate or Fraction(25))
        held: deque[av.VideoFrame] = deque()
        times: list[Fraction] = []  # a heap, as long as `held`
        time = last = self._origin - usual
        for frame in itertools.chain(decoding, [None]):
            if frame is not None:
                stamp = _stamp(frame)
                time = time + usual if stamp is None else stamp
                heapq.heappush(times, time)
                held.append(frame)
            while len(held) > (window if frame is not None else 0):
                moment, shown = heapq.heappop(times), held.popleft()
                if moment < last:
                    at = float(last - self._origin)
                    text = f"timestamps go back at {at:.2f} s, as in joined files. Re-encode it."
                    raise VideoError(f"{self.path}: {text}")
                last = moment
                duration = shown.duration * (shown.time_base or Fraction(0)) or usual
                yield Shown(moment - self._origin, duration, shown)

    def _decoded(self) -> Iterator["av.VideoFrame"]:
        """Yields frames in the decoder's order, which is that of showing. Damage is an error."""
        import av

        time = 0.0
        try:
            for frame in self._container.decode(self._stream):
                time = float((_stamp(frame) or self._origin) - self._origin)
                if frame.is_corrupt:
                    raise ValueError("the frame is corrupt")
                yield frame
        except (av.FFmpegError, EOFError, ValueError) as error:
            text = f"damaged at about {time:.2f} s. Fetch it again, or re-encode what is left."
            raise VideoError(f"{self.path}: {text}") from error

    def _after_seeking(self, aim: Fraction) -> Iterator["av.VideoFrame"]:
        """Returns the frames from the last keyframe before `aim` on; all, where a seek misses it.

        What is stored after the keyframe and shown before it may need frames that were not decoded,
        and is left out.
        """
        import av
        from av.video.frame import PictureType

        depth = self._stream.codec_context.reorder_depth
        decoding = self._decoded()
        with contextlib.suppress(av.FFmpegError, VideoError, StopIteration):
            self._container.seek(int((self._origin + aim) / self.tick), stream=self._stream)
            # The decoder forgets how many frames it must hold back to put them in order.
            self._stream.codec_context.reorder_depth = depth
            key = next(f for f in decoding if f.key_frame and f.pict_type == PictureType.I)
            if (stamp := _stamp(key)) is not None and stamp - self._origin <= aim:
                return itertools.chain([key], decoding)
        self.close()
        self._container, self._stream = _open(self.path, self._threads)
        return self._decoded()

    def _stated_end(self) -> Fraction | None:
        """Returns the end of the last frame that the header states; None where FFmpeg guesses."""
        import av

        if self._format.startswith(("matroska", "flv")):  # they count from timestamp 0
            return Fraction(self._container.duration or 0, av.time_base) - self._origin
        if not self._stream.frames:
            return None
        if self._format == "avi" and self.rate:  # FFmpeg fits its duration to the file's size
            return self._stream.frames / self.rate
        return (self._stream.duration or 0) * self.tick


def _stamp(frame: "av.VideoFrame") -> Fraction | None:  # seconds
    return frame.pts * frame.time_base if frame.pts is not None and frame.time_base else None


def _open(
    path: Path, threads: int | None
) -> tuple["av.container.InputContainer", "av.VideoStream"]:
    """Opens the container, and finds its first stream of pictures but for the cover of a song."""
    import av
    from av.stream import Disposition

    if not path.stat().st_size:  # nor a pipe, which would be waited for
        raise VideoError(f"{path}: expected a video, got an empty file.")
    try:
        # "file:", as a name with a colon is a protocol otherwise. Playlists and scripts, which name
        # other files and hosts to open, are no containers.
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except (av.FFmpegError, EOFError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        reason = f"{reason}; {path.stat().st_size:,} bytes"
        raise VideoError(
            f"{path}: not a video that FFmpeg can open ({reason}). If it is one, fetch it again."
        ) from error
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            stream.thread_type = "AUTO"
            stream.thread_count = threads or 0  # 0 takes one a core
            return container, stream
    kinds = listing({stream.type for stream in container.streams}) or "nothing"
    container.close()
    raise VideoError(f"{path}: has no video stream, only {kinds}. Choose a file with pictures.")


def _orientation(frame: "av.VideoFrame") -> tuple[bool, int, int]:
    """Reads how to show a frame: whether to transpose it, and the steps of rows and columns."""
    matrix = cast("bytes | None", frame.side_data.get("DISPLAYMATRIX"))  # PyAV's types lack it
    if matrix is None:
        return False, 1, 1
    # (x, y) is shown at (a x + c y, b x + d y), y pointing down, and then shifted.
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):  # nearer to a quarter turn than to none or half
        return True, -1 if b < 0 else 1, -1 if c < 0 else 1
    return False, -1 if d < 0 else 1, -1 if a < 0 else 1
