"""Frames that are kept as numbered images in a folder, as data sets ship and tools extract them."""

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.io import listing
from common.video._timestamps import Shown, VideoError

# A frame is anything, then its number, then the suffix: image_00001.jpg, 00001.jpg, X-000001.png.
_FRAME = re.compile(r"(?P<prefix>.*?)(?P<number>[0-9]+)(?P<suffix>\.(?:jpg|jpeg|png))", re.I)
# Flow that tools put beside the frames; the other convention, image_00001x.jpg, has no number last.
_FLOW_PREFIXES = ("flow_x_", "flow_y_")

# First bytes; and in a JPEG, the start of a scan and the end.
_JPEG, _PNG = b"\xff\xd8", b"\x89P"
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"


class ImageFolder:
    """A folder of frames as a video: the same methods as `VideoFile`.

    Attributes:
        tick: 0: times are exact.
        paths: The images in the order of their numbers.
        width: Pixels of the first image; all are as large.
        height: See `width`.
    """

    tick = Fraction(0)

    def __init__(self, folder: Path, rate: Fraction):
        """Lists the images and reads the first.

        Args:
            folder: Where they are.
            rate: Images a second.

        Raises:
            VideoError: See `find`, or the first image does not decode.
        """
        self._period = 1 / rate
        self.paths = find(folder)
        self.height, self.width, _ = read(self.paths[0]).shape

    def __enter__(self) -> "ImageFolder":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def frames(self, start: Fraction, strict: bool) -> Iterator[Shown[Path]]:
        """The image files in order, all of them; a gap is an error with and without `strict`."""
        for k, path in enumerate(self.paths):
            yield Shown(k * self._period, self._period, path)

    def to_rgb(self, path: Path) -> NDArray[np.uint8]:
        """The image as [height, width, 3] uint8 RGB; raises `VideoError` for another size."""
        rgb = read(path)
        if rgb.shape[:2] != (self.height, self.width):
            raise VideoError(
                f"{path}: is {rgb.shape[1]}x{rgb.shape[0]}, {self.paths[0].name} is "
                f"{self.width}x{self.height}. Frames of one video have one size."
            )
        return rgb


def find(folder: str | os.PathLike[str]) -> list[Path]:
    """The frames in a folder in the order of their numbers, which begin at 0 or 1.

    A frame's name ends in its number and .jpg, .jpeg or .png. Anything else is no frame: lists
    and marks such as n_frames, hidden files, flow (image_00001x.jpg, flow_x_00001.jpg).

    Raises:
        VideoError: No frames, frames named in two ways, or a number is missing.
    """
    folder = Path(folder)
    numbered: dict[tuple[str, str], list[tuple[int, str]]] = {}  # by prefix and suffix
    for name in os.listdir(folder):
        if match := _frame(name):
            key = (match["prefix"], match["suffix"])
            numbered.setdefault(key, []).append((int(match["number"]), name))
    if not numbered:
        raise VideoError(
            f"{folder}: expected a video file, got a folder without numbered frames. Name one file "
            "in it, or a folder of images such as image_00001.jpg."
        )
    if len(numbered) > 1:
        raise _two_patterns(folder, [min(named)[1] for named in numbered.values()])
    [((prefix, suffix), named)] = numbered.items()
    digits = min(len(name) for _, name in named) - len(prefix) - len(suffix)
    first = 0 if min(named)[0] == 0 else 1
    present = {number: name for number, name in sorted(named)}
    for number, name in named:
        if name != (expected := f"{prefix}{number:0{digits}d}{suffix}"):
            shortest = min((other for _, other in named), key=len)
            raise _two_patterns(folder, [shortest, name if name != shortest else expected])
    for number in range(first, first + len(named)):
        if number not in present:
            raise VideoError(
                f"{folder}: {prefix}{number:0{digits}d}{suffix} is missing, of {len(named)} frames "
                f"up to {present[max(present)]}. Extract the frames again."
            )
    return [folder / name for name in present.values()]


def is_frame(name: str) -> bool:
    """Whether a file of this name is a frame; see `find`."""
    return _frame(name) is not None


def read(
    path: str | os.PathLike[str], *, grey: bool = False, strict: bool = True
) -> NDArray[np.uint8]:
    """Decodes a JPEG or PNG image to [H, W, 3] uint8 RGB, or [H, W] where grey is asked for.

    Alpha is left out. An orientation in Exif is not applied: frames of one video have one, and
    torchvision and PIL take pixels as they are stored, too.

    Args:
        path: The image.
        grey: One channel.
        strict: Look for damage within a JPEG too, in two to three times the time. Most of what
            lost bytes is found, and half of what had some overwritten. A file that is cut short,
            and any damage in a PNG, is always found.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: Neither JPEG nor PNG, or damaged.
    """
    import cv2

    path = Path(path)
    content = path.read_bytes()  # cv2.imread does not open every name on every system
    if not content.startswith((_JPEG, _PNG)):
        raise VideoError(f"{path}: is neither a JPEG nor a PNG image. Fetch or make it again.")
    # What is damaged or missing in a JPEG, OpenCV makes up without a word.
    if content.startswith(_JPEG) and (_is_cut(content) or (strict and not _is_sound(content))):
        raise _damaged(path)
    kind = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), kind | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise _damaged(path) from error
    if image is None:
        raise _damaged(path)
    return np.asarray(image if grey else cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _is_cut(jpeg: bytes) -> bool:
    return jpeg.rfind(_JPEG_END) < jpeg.rfind(_JPEG_SCAN)


def _is_sound(jpeg: bytes) -> bool:
    """Whether FFmpeg decodes it without a complaint."""
    import av

    # Not av.open: it takes a % in a name for a pattern.
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.thread_count = 1
    decoder.options = {"err_detect": "explode"}
    try:
        frames = [*decoder.decode(av.Packet(jpeg)), *decoder.decode(None)]
    except (av.FFmpegError, EOFError):
        return False
    return bool(frames) and not frames[0].is_corrupt


def _frame(name: str) -> re.Match[str] | None:
    return None if name.startswith((".", *_FLOW_PREFIXES)) else _FRAME.fullmatch(name)


def _two_patterns(folder: Path, examples: list[str]) -> VideoError:
    return VideoError(
        f"{folder}: the frames are named in {len(examples)} ways: {listing(examples)}. Expected "
        "the frames of one video alone: move the others elsewhere."
    )


def _damaged(path: Path) -> VideoError:
    return VideoError(f"{path}: is a damaged image. Fetch or make it again.")
