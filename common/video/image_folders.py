"""Folders of numbered images, as data sets ship their frames and tools extract them."""

import contextlib
import os
import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.video.timestamps import Shown, VideoError

# A frame is anything, then its number, then the suffix: image_00001.jpg, 00001.jpg, X-000001.png.
_FRAME = re.compile(r"(?P<prefix>.*?)(?P<number>[0-9]+)(?P<suffix>\.(?:jpg|jpeg|png))", re.I)
# Flow that tools put beside the frames; the other convention, image_00001x.jpg, has no number last.
_FLOW_PREFIXES = ("flow_x_", "flow_y_")

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG"
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of the segments with the size

_MOST_PIXELS = 2**27  # of an image; a frame of 16K video has 2**27 = 16,384 x 8,192


class ImageFolder:
    """A folder of frames as a video: the same interface as `VideoFile`."""

    tick = Fraction(0)  # times are exact

    def __init__(self, folder: Path, rate: Fraction | None):
        """Lists the images and reads the first; `rate` is images per second, None if unknown.

        Raises:
            VideoError: As `find`, or the first image does not decode.
        """
        self.rate = rate
        self.paths = find(folder)
        self.stated_frames = len(self.paths)
        self.duration = None if rate is None else self.stated_frames / rate
        self.height, self.width, _ = read(self.paths[0]).shape

    def __enter__(self) -> "ImageFolder":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def frames(self, start: Fraction, strict: bool) -> Iterator[Shown[Path]]:
        """Yields all image files in order; without a rate, one per second."""
        step = 1 / (self.rate or Fraction(1))
        for k, path in enumerate(self.paths):
            yield Shown(k * step, step, path)

    def to_rgb(self, path: Path) -> NDArray[np.uint8]:
        """Reads an image as [height, width, 3] uint8 RGB; raises `VideoError` for another size."""
        rgb = read(path)
        if rgb.shape[:2] != (self.height, self.width):
            raise VideoError(
                f"{path}: is {rgb.shape[1]}x{rgb.shape[0]}, {self.paths[0].name} is "
                f"{self.width}x{self.height}. Frames of one video have one size."
            )
        return rgb


def find(folder: str | os.PathLike[str]) -> list[Path]:
    """Lists the frames in a folder in the order of their numbers, which begin at 0 or 1.

    A frame's name ends in its number and .jpg, .jpeg or .png. Other files are ignored, such as
    n_frames, hidden files, and flow (image_00001x.jpg, flow_x_00001.jpg).

    Raises:
        VideoError: There are no frames, they are named in two ways, or a number is missing.
    """
    folder = Path(folder)
    frames = [match for name in sorted(os.listdir(folder)) if (match := _frame(name))]
    if not frames:
        raise VideoError(
            f"{folder}: expected a video file, got a folder without numbered frames. Name one file "
            "in it, or a folder of images such as image_00001.jpg."
        )
    shortest = min(frames, key=lambda match: len(match["number"]))
    prefix, digits, suffix = shortest["prefix"], len(shortest["number"]), shortest["suffix"]
    present = {}
    for frame in frames:
        number = int(frame["number"])
        present[number] = f"{prefix}{number:0{digits}d}{suffix}"
        if frame[0] != present[number]:
            raise VideoError(
                f"{folder}: the frames are named in 2 ways: {shortest[0]}, {frame[0]}. Expected "
                "the frames of one video alone: move the others elsewhere."
            )
    for number in range(0 if 0 in present else 1, max(present)):
        if number not in present:
            raise VideoError(
                f"{folder}: {prefix}{number:0{digits}d}{suffix} is missing, of {len(present)} "
                f"frames up to {present[max(present)]}. Extract the frames again."
            )
    return [folder / present[number] for number in sorted(present)]


def is_frame(name: str) -> bool:
    """Returns whether a file of this name is a frame; see `find`."""
    return _frame(name) is not None


def read(path: str | os.PathLike[str], *, grey: bool = False) -> NDArray[np.uint8]:
    """Decodes a JPEG or PNG image to [H, W, 3] uint8 RGB, or to [H, W] if grey is asked for.

    Alpha is left out. An orientation in Exif is not applied: frames of one video have one, and
    torchvision and PIL take pixels as they are stored, too. A JPEG that is cut short and any damage
    in a PNG are found; damage within a JPEG is not.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: It is neither JPEG nor PNG, damaged, or states more than 2**27 pixels.
    """
    import cv2

    path = Path(path)
    content = path.read_bytes()  # cv2.imread does not open every name on every system
    if not content.startswith((_JPEG, _PNG)):
        raise VideoError(f"{path}: is neither a JPEG nor a PNG image. Fetch or make it again.")
    if (pixels := _stated_pixels(content)) > _MOST_PIXELS:
        raise VideoError(
            f"{path}: states {pixels:,} pixels. Expected {_MOST_PIXELS:,} at most. Make it smaller."
        )
    image = None
    # OpenCV silently fills in what is missing at the end of a JPEG.
    if not content.startswith(_JPEG) or content.rfind(_JPEG_END) > content.rfind(_JPEG_SCAN):
        kind = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
        with contextlib.suppress(cv2.error):
            data = np.frombuffer(content, np.uint8)
            image = cv2.imdecode(data, kind | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise VideoError(f"{path}: is a damaged image. Fetch or make it again.")
    return np.asarray(image if grey else cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _stated_pixels(content: bytes) -> int:
    """Returns width times height as the header of a PNG or JPEG states them; 0 if it does not."""
    if content.startswith(_PNG):
        width, height = struct.unpack(">II", content[16:24].ljust(8, b"\0"))
        return int(width * height)
    at = len(_JPEG)
    while at + 9 <= len(content):
        marker, length, height, width = struct.unpack(">xBHxHH", content[at : at + 9])
        if marker in _JPEG_SIZES:
            return int(width * height)
        at += 2 + length
    return 0


def _frame(name: str) -> re.Match[str] | None:
    return None if name.startswith((".", *_FLOW_PREFIXES)) else _FRAME.fullmatch(name)
