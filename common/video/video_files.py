"""Files of videos and frames: their names, the folders they are in, and images."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.video.video_file import VideoError

SUFFIXES = (
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv",
)  # fmt: skip

# A frame is anything, then its number, then the suffix: image_00001.jpg, 00001.jpg, X-000001.png.
# Hidden files are none, nor is flow; image_00001x.jpg has no number last.
_FRAME = re.compile(r"(?!\.|flow_[xy]_)(.*?)([0-9]+)(\.(?:jpg|jpeg|png))", re.I)
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG"
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"


def is_video(path: str | os.PathLike[str]) -> bool:
    return os.path.splitext(path)[1].lower() in SUFFIXES


def is_frame(name: str) -> bool:
    return _FRAME.fullmatch(name) is not None


def files_under(folder: Path, skip: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """Yields the files in a folder and below, sorted in each, but for hidden ones and in `skip`.

    Links are followed, but not to a folder they are in.
    """
    skipped = None if skip is None else os.path.realpath(skip)
    for path, folders, names in os.walk(folder, followlinks=True):
        above = map(os.path.realpath, Path(path).absolute().parents) if os.path.islink(path) else ()
        if os.path.realpath(path) in (skipped, *above):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(path, name) for name in sorted(names) if not name.startswith("."))


def numbered(folder: Path, prefix: str, digits: int, suffix: str) -> list[Path]:
    """Lists files such as PREFIX00001SUFFIX in the order of their numbers, from 0 or 1 on.

    A number has at least so many digits, as printf writes it; `VideoError` if one is missing.
    """
    number = f"0[0-9]{{{digits - 1}}}|[1-9][0-9]{{{digits - 1},}}"
    pattern = re.compile(f"{re.escape(prefix)}({number}){re.escape(suffix)}")
    names = os.listdir(folder) if folder.is_dir() else []
    found = {int(match[1]): match[0] for match in map(pattern.fullmatch, names) if match}
    first, last = 0 if 0 in found else 1, max(found, default=0)
    if found and len(found) != last - first + 1:
        missing = next(k for k in range(first, last) if k not in found)
        text = f"{prefix}{missing:0{digits}d}{suffix} is missing. Expected files {first} to {last}"
        raise VideoError(f"{folder}: {text}. Received: {len(found)}. Make the clip again.")
    return [folder / found[number] for number in sorted(found)]


def find(folder: Path) -> list[Path]:
    """Lists the frames in a folder, whose names end in a number from 0 or 1 on and jpg or png.

    Raises `VideoError` if there are none, they are named in two ways, or a number is missing.
    """
    frames = [match for name in sorted(os.listdir(folder)) if (match := _FRAME.fullmatch(name))]
    if not frames:
        text = "expected a video, got a folder without numbered frames such as image_00001.jpg."
        raise VideoError(f"{folder}: {text}")
    first = min(frames, key=lambda match: len(match[2]))
    found = numbered(folder, first[1], len(first[2]), first[3])
    if len(found) != len(frames):
        other = next(match[0] for match in frames if folder / match[0] not in found)
        text = f"named in 2 ways: {first[0]}, {other}. Expected one video's"
        raise VideoError(f"{folder}: the frames are {text}.")
    return found


def read_image(
    path: Path, grey: bool = False, size: tuple[int, ...] | None = None
) -> NDArray[np.uint8]:
    """Decodes a JPEG or PNG image to [H, W, 3] uint8 RGB, or to [H, W] if grey is asked for.

    Alpha is left out. An orientation in Exif is not applied, as in torchvision and PIL. Raises
    `VideoError` for another kind or `size` (height, width), a JPEG cut short and a damaged PNG.
    """
    import cv2

    content = path.read_bytes()  # cv2.imread does not open every name on every system
    image = None
    # OpenCV silently fills in what is missing at the end of a JPEG.
    whole = content.rfind(_JPEG_END) > content.rfind(_JPEG_SCAN)
    if content.startswith(_PNG) or (content.startswith(_JPEG) and whole):
        kind = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
        with contextlib.suppress(cv2.error):
            data = np.frombuffer(content, np.uint8)
            image = cv2.imdecode(data, kind | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        text = "damaged, neither JPEG nor PNG, or has more than 2**27 pixels"
        raise VideoError(f"{path}: the image is {text}. Make it again.")
    if size and image.shape[:2] != size:
        text = f"{size[1]}x{size[0]} pixels, as the images before it. Received: "
        raise VideoError(f"{path}: expected {text}{image.shape[1]}x{image.shape[0]}.")
    return np.asarray(image if grey else cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
