"""Decodes a video file with PyAV: assigns a time to every frame, and seeks where that is exact."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from absl import logging
from numpy.typing import NDArray

from common.io import listing
from common.video.timestamps import Shown, VideoError, in_order, stamp, timed

if TYPE_CHECKING:
    import av

# FFmpeg's names of the containers that are opened, of videos and, for a better error, of sound.
_CONTAINERS = (
    "aac,ac3,aiff,apng,asf,av1,avi,avif,dv,flac,flv,gif,h261,h263,h264,hevc,ivf,m4v,matroska,mjpeg,"
    "mov,mp3,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,vc1,wav,webp_pipe,wtv,yuv4mpegpipe"
)

# Seeking is exact if the container marks keyframes and stores when each frame is shown: MP4 and its
# kin, Matroska and WebM. AVI numbers frames as they are stored, MPEG-TS has no index.
_SEEKABLE = ("mov,mp4", "matroska")

# Containers whose header states when the last frame ends, counted from timestamp 0.
_STATING_THE_END = ("matroska", "flv")

# Frames held back to put timestamps in order. AVI may be wrong by as many B-frames as follow one
# another (16 in x264); the others state when a frame is shown, and need it for faulty files alone.
_WINDOW, _AVI_WINDOW = 4, 18

# Seconds before the moment asked for that a seek aims at: some indices count in the order of
# storage, which is ahead by a few frames.
_SEEK_MARGIN = 1

# Pixels less than this from square are taken as square: encoders round the ratio.
_NEARLY_SQUARE = Fraction(1, 100)
_MOST_STRETCH = Fraction(8)

_MOST_TILT = 0.02  # from a quarter turn: the tangent of about a degree, as FFmpeg allows

# The least part of the stated length that a whole file has. Headers are off by some frames at the
# end, and by a second or two if sound goes on after the pictures.
_WHOLE = Fraction(9, 10)


class VideoFile:
    """A video file that is open for reading, as a context manager.

    Attributes:
        tick: Seconds that its timestamps count in; 0 if unknown.
        rate: Frames per second as the header states; None if it does not.
        stated_frames: Frame count as the header states; None if it does not.
        duration: Seconds as the header states; None if it does not.
        width: Pixels of the first frame, as shown: upright, and square if that was asked for.
        height: See `width`.
    """

    def __init__(self, path: Path, threads: int | None = None, square_pixels: bool = True):
        """Opens the file and decodes the first frame.

        Raises:
            VideoError: It is not a video, has no video stream or no frame that decodes, or is to be
                shown askew.
        """
        import av
        from av.video.reformatter import VideoReformatter

        self.path = path
        self._threads = threads
        self._origin = 0.0
        self._open()
        try:
            stream = self._stream
            self.tick = stream.time_base or Fraction(0)
            # PyAV gives an unknown rate as None or as a rational of 0/0 or 0/1: all are falsy.
            self.rate: Fraction | None = stream.average_rate or stream.guessed_rate or None
            self.stated_frames = stream.frames or None
            self.duration: Fraction | None = None
            if stream.duration and self.tick:
                self.duration = stream.duration * self.tick
            elif self._container.duration:
                self.duration = Fraction(self._container.duration, av.time_base)
            self._format = self._container.format.name
            self._window = _AVI_WINDOW if self._format == "avi" else _WINDOW
            self._decoding = self._decoded()
            first = next(self._decoding, None)
            if first is None:
                raise VideoError(
                    f"{path}: has a video stream without a single frame. Fetch or make it again."
                )
            self._first = first
            self._origin = first.time or 0.0
            self._orientation = _orientation(path, first)
            width = _square_width(path, stream, first.width) if square_pixels else first.width
            self._size = (width, first.height)
            self.width, self.height = self._size[:: -1 if self._orientation[0] else 1]
            self._reformatter = VideoReformatter()  # one for all frames: it keeps its tables
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def frames(self, start: Fraction, strict: bool) -> Iterator[Shown["av.VideoFrame"]]:
        """Yields the frames in the order they are shown; call it once.

        Frames that are no longer shown at `start`, in seconds, may be left out, so that decoding
        can begin after a seek. Raises `VideoError` for damaged data, and if `strict` for a file
        that is cut short, which else is a warning.
        """
        aim = start - _SEEK_MARGIN
        head = [self._first, *islice(self._decoding, self._window)]
        if aim > 0 and self._format.startswith(_SEEKABLE) and in_order(head):
            origin, decoding = self._after_seeking(stamp(self._first), aim)
        else:
            origin, decoding = None, chain(head, self._decoding)
        usual = 1 / (self.rate or Fraction(25))
        end = Fraction(0)
        for each in timed(self.path, usual, decoding, self._window, origin):
            end = each.time + each.duration
            yield each
        if text := self._cut_short(end):
            if strict:
                raise VideoError(text)
            logging.warning("%s", text)

    def to_rgb(self, frame: "av.VideoFrame") -> NDArray[np.uint8]:
        """Converts a frame to [height, width, 3] uint8 RGB, upright."""
        converted = self._reformatter.reformat(
            frame, *self._size, format="rgb24", threads=self._threads
        )
        picture = np.asarray(converted.to_ndarray(), np.uint8)
        transposed, down, across = self._orientation
        turned = picture.transpose(1, 0, 2) if transposed else picture
        return np.ascontiguousarray(turned[::down, ::across])

    def _decoded(self) -> Iterator["av.VideoFrame"]:
        """Yields frames in the decoder's order, which is that of showing. Damage is an error."""
        import av

        time, count = 0.0, 0
        frames = self._container.decode(self._stream)
        while True:
            try:
                frame = next(frames, None)
            except (av.FFmpegError, EOFError) as error:
                raise self._damaged(time, count) from error
            if frame is None:
                return
            time = time if frame.time is None else frame.time - self._origin
            if frame.is_corrupt:
                raise self._damaged(time, count)
            yield frame
            count += 1

    def _after_seeking(
        self, origin: Fraction, aim: Fraction
    ) -> tuple[Fraction | None, Iterator["av.VideoFrame"]]:
        """Returns `origin` and the frames from the last keyframe before `aim`; else None and all.

        From a keyframe on, the decoder yields what it yields when it comes from the beginning.
        Frames stored after the keyframe and shown before it may need frames that were not decoded,
        and are left out.
        """
        import av
        from av.video.frame import PictureType

        depth = self._stream.codec_context.reorder_depth
        decoding = self._decoded()
        try:
            self._container.seek(int((origin + aim) / self.tick), stream=self._stream)
            # The decoder forgets how many frames it must hold back to put them in order.
            self._stream.codec_context.reorder_depth = depth
            key = next(f for f in decoding if f.key_frame and f.pict_type == PictureType.I)
            head = [key, *islice(decoding, self._window)]
        except (av.FFmpegError, VideoError, StopIteration):
            head = []
        if head and in_order(head) and stamp(head[0]) - origin <= aim:
            return origin, chain(head, decoding)
        self._container.close()
        self._open()
        return None, self._decoded()

    def _open(self) -> None:
        self._container, self._stream = _open(self.path)
        self._stream.thread_type = "AUTO"
        if self._threads is not None:
            self._stream.thread_count = self._threads

    def _cut_short(self, end: Fraction) -> str:
        """Compares the length with the header's; "" if it fits or the header states none."""
        stated = self.duration
        if stated and self._format.startswith(_STATING_THE_END):
            stated -= stamp(self._first)
        elif not self.stated_frames:
            return ""  # what FFmpeg guesses
        elif self._format == "avi" and self.rate:  # FFmpeg fits its duration to the file's size
            stated = self.stated_frames / self.rate
        if stated is None or end >= _WHOLE * stated:
            return ""
        return (
            f"{self.path}: cut short. The header states {float(stated):.2f} s, the pictures end at "
            f"{float(end):.2f} s. Fetch it again, or re-encode it if what is left of it will do."
        )

    def _damaged(self, time: float, count: int) -> VideoError:
        return VideoError(
            f"{self.path}: damaged at about {time:.2f} s, after {count} good frames. "
            "Fetch it again, or re-encode it if what is left of it will do."
        )


def _open(path: Path) -> tuple["av.container.InputContainer", "av.VideoStream"]:
    """Opens the container, and finds its first stream of pictures but for the cover of a song."""
    import av
    from av.stream import Disposition

    if not path.stat().st_size:
        raise VideoError(f"{path}: expected a video, got an empty file. Fetch it again.")
    try:
        # "file:", as a name with a colon is a protocol otherwise. Playlists and scripts, which name
        # other files and hosts to open, are no containers.
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except (av.FFmpegError, EOFError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise VideoError(
            f"{path}: not a video that FFmpeg can open ({reason}). Expected a video file such as "
            ".mp4, .mkv, .avi, .webm or .gif; if it is one, it is damaged: fetch it again."
        ) from error
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return container, stream
    kinds = listing({stream.type for stream in container.streams}) or "nothing"
    container.close()
    raise VideoError(f"{path}: has no video stream, only {kinds}. Choose a file with pictures.")


def _orientation(path: Path, frame: "av.VideoFrame") -> tuple[bool, int, int]:
    """Reads how to show a frame: transpose it or not, then the steps (1, -1) of rows and columns.

    Without a display matrix it is shown as it is stored.
    """
    matrix = cast("bytes | None", frame.side_data.get("DISPLAYMATRIX"))  # PyAV's types lack it
    if matrix is None:
        return False, 1, 1
    # (x, y) is shown at (a x + c y, b x + d y), y pointing down, and then shifted.
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).tolist()
    straight, crossed = abs(a) + abs(d), abs(b) + abs(c)
    if min(straight, crossed) > _MOST_TILT * max(straight, crossed):
        raise VideoError(
            f"{path}: is to be shown turned by {float(np.rad2deg(np.arctan2(b, a))):.0f} degrees. "
            "Expected quarter turns. Re-encode it."
        )
    if crossed > straight:
        return True, -1 if b < 0 else 1, -1 if c < 0 else 1
    return False, -1 if d < 0 else 1, -1 if a < 0 else 1


def _square_width(path: Path, stream: "av.VideoStream", width: int) -> int:
    """Returns the width of a frame with its pixels made square; the height stays."""
    aspect = stream.sample_aspect_ratio or Fraction(1)  # 0 if unknown
    if abs(aspect - 1) < _NEARLY_SQUARE:
        return width
    if not 1 / _MOST_STRETCH <= aspect <= _MOST_STRETCH:
        raise VideoError(
            f"{path}: states pixels {float(aspect):g} times as wide as high, at most "
            f"{_MOST_STRETCH} was expected. square_pixels=False takes them as they are stored."
        )
    return max(1, round(width * aspect))
