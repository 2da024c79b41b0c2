"""Frames that are kept as numbered images in a folder, as data sets ship and tools extract them."""

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from common._timestamps import Shown, VideoError
from common.errors import listing

if TYPE_CHECKING:
    import av

# A frame is anything, then its number, then the suffix: image_00001.jpg, 00001.jpg, X-000001.png.
_FRAME = re.compile(r"(?P<prefix>.*?)(?P<number>[0-9]+)(?P<suffix>\.(?:jpg|jpeg|png))", re.I)
# Flow that tools put beside the frames; the other convention, image_00001x.jpg, has no number last.
_FLOW_PREFIXES = ("flow_x_", "flow_y_")

_CODECS = {b"\xff\xd8": "mjpeg", b"\x89P": "png"}
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


def read(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Decodes a JPEG or PNG image to [H, W, 3] uint8 RGB; alpha is left out.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: Neither JPEG nor PNG, or damaged.
    """
    import av
    from av.video.reformatter import Interpolation

    path = Path(path)
    content = path.read_bytes()
    codec = _CODECS.get(content[:2])
    if codec is None:
        raise VideoError(f"{path}: is neither a JPEG nor a PNG image. Fetch or make it again.")
    # Not av.open: it takes a % in a name for a pattern.
    decoder = cast("av.VideoCodecContext", av.CodecContext.create(codec, "r"))
    decoder.thread_count = 1
    decoder.options = {"err_detect": "explode"}  # else what is damaged comes out grey
    try:
        frames = [*decoder.decode(av.Packet(content)), *decoder.decode(None)]
    except (av.FFmpegError, EOFError) as error:
        raise _damaged(path) from error
    cut = codec == "mjpeg" and content.rfind(_JPEG_END) < content.rfind(_JPEG_SCAN)
    if not frames or frames[0].is_corrupt or cut:
        raise _damaged(path)
    # Without bias and with even colours, as libjpeg has them.
    smooth = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    converted = frames[0].reformat(format="rgb24", interpolation=smooth, threads=1)
    return np.asarray(converted.to_ndarray(), np.uint8)


def _frame(name: str) -> re.Match[str] | None:
    return None if name.startswith((".", *_FLOW_PREFIXES)) else _FRAME.fullmatch(name)


def _two_patterns(folder: Path, examples: list[str]) -> VideoError:
    return VideoError(
        f"{folder}: the frames are named in {len(examples)} ways: {listing(examples)}. Expected "
        "the frames of one video alone: move the others elsewhere."
    )


def _damaged(path: Path) -> VideoError:
    return VideoError(f"{path}: is a damaged image. Fetch or make it again.")
