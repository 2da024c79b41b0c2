"""Reads and writes frame and flow files of a clip, whichever tool made them.

Indices are 0-based, whatever the files count from. A folder is written as a whole or not at all by
the caller: give a temporary one, then rename it.
"""

import contextlib
import dataclasses
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from numpy.typing import NDArray

from common.flow import encoding, stamp
from common.flow.encoding import BOUND
from common.flow.stamp import FlowStamp
from common.io import replacing, write_text
from common.video import image_folders, layouts
from common.video.layouts import FLOW_LAYOUTS, RGB_LAYOUTS, Layout
from common.video.source import FrameSource, Picture

QUALITY = 95  # of jpgs, what dense_flow and OpenCV use

_ROUNDING = 1e-4  # how far beyond [-1, 1] other tools' arrays may be
# A .npz that would inflate to more than this many bytes, and this many times its size, is refused.
_MOST_INFLATED, _MOST_RATIO = 2**30, 100

Image = NDArray[np.uint8]
Flow = NDArray[np.float32]
_Value = TypeVar("_Value", bound=np.generic)


@dataclasses.dataclass(frozen=True)
class PreparedClip(FrameSource):
    """A clip as numbered images, or as an array of flow.

    Pictures are uint8 RGB; or float32 flow in [-1, 1], where 1 is 20 px and what is longer is 1, as
    networks are fed. Flow that was stored with another bound is converted. Without a stamp, a bound
    of 20 is assumed.

    Attributes:
        root: The data set's folder.
        name: The clip's name, relative to it: "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01".
        layout: Names of the files.
        numbers: Numbers of the files; of an array's flows, from 0.
        stamp: How flow was made; None for RGB, and if another tool did not say.
    """

    root: Path
    name: str
    layout: Layout
    numbers: range
    stamp: FlowStamp | None = None

    @property
    def rate(self) -> float | None:  # type: ignore[override]
        """Frames per second that the stamp states."""
        return self.stamp.fps if self.stamp else None

    def __len__(self) -> int:
        return len(self.numbers)

    def __str__(self) -> str:
        return str(self.root / self.name)

    def pictures(self, indices: Sequence[int] | None = None) -> Iterator[Picture]:
        indices = self.checked(indices)
        bound = self.stamp.bound if self.stamp else BOUND
        if self.layout.is_array:
            [path] = self.layout.paths(self.root, self.name)
            for flow in array_pictures(open_array(path, 2), path, indices):
                yield flow if bound == BOUND else encoding.to_unit(flow * np.float32(bound))
            return
        units = encoding.to_unit(encoding.to_pixels(np.arange(256, dtype=np.uint8), bound))
        is_flow = len(self.layout.patterns) == 2
        size: tuple[int, ...] | None = None
        for index in indices:
            planes = []
            for path in self.layout.paths(self.root, self.name, index, self.numbers.start):
                plane = image_folders.read(path, grey=is_flow)
                planes.append(plane)
                size = size or plane.shape
                if plane.shape != size:
                    raise ValueError(
                        f"{path}: expected {size[1]}x{size[0]} pixels, as the images before it. "
                        f"Received: {plane.shape[1]}x{plane.shape[0]}. Make the clip again."
                    )
            yield units[np.stack(planes, -1)] if is_flow else planes[0]


def open_rgb(root: Path, name: str) -> PreparedClip:
    """Finds the frames of a clip, in whichever of `RGB_LAYOUTS` they are.

    Raises:
        FileNotFoundError: There is nothing of the clip.
        ValueError: Files in several layouts, a number is missing, or `n_frames` differs.
    """
    kind = layouts.detect(root, name, RGB_LAYOUTS)
    numbers = kind.numbers(root, name)
    [folder] = kind.targets(name)
    _check_n_frames(root / folder, len(numbers))
    return PreparedClip(root, name, kind, numbers)


def open_flow(root: Path, name: str) -> PreparedClip:
    """Finds the flow of a clip, in whichever of `FLOW_LAYOUTS` it is, and its stamp.

    Raises:
        FileNotFoundError: There is nothing of the clip.
        ValueError: As `open_rgb`; x and y differ in number, an array has another shape, or a stamp
            does not fit.
    """
    kind = layouts.detect(root, name, FLOW_LAYOUTS)
    if kind.is_array:
        [path] = kind.paths(root, name)
        return PreparedClip(root, name, kind, range(len(open_array(path, 2))), stamp.read(path))
    numbers = kind.numbers(root, name)
    folders = [root / target for target in kind.targets(name)]
    first, *others = (stamp.read(folder) for folder in folders)
    if any(other != first for other in others):
        raise ValueError(
            f"{' and '.join(map(str, folders))} have different stamps. Make the clip again."
        )
    if first and first.first_index != numbers.start:
        raise ValueError(
            f"{stamp.beside(folders[0])}: says that files begin with number {first.first_index}. "
            f"Received: {numbers.start}. Make the clip again."
        )
    if first or not any(each.present(root, name) for each in RGB_LAYOUTS.values()):
        for folder in folders:  # else it may be the number of the frames beside
            _check_n_frames(folder, len(numbers))
    return PreparedClip(root, name, kind, numbers, first)


def open_array(path: Path, channels: int) -> NDArray[np.floating]:
    """Opens the array [T, H, W, channels] of a file; a .npy is mapped, a .npz read as a whole.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, or holds an array of another shape or kind.
    """
    try:
        if zipfile.is_zipfile(path):
            _check_inflation(path)
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(array, np.lib.npyio.NpzFile):
            with array:
                array = array["flow" if "flow" in array.files else "".join(array.files)]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there is no such file. Check the path.") from error
    except (ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: expected one array of numbers. It cannot be read ({error}). Make it again."
        ) from error
    clip: NDArray[np.floating] = array[0] if array.ndim == 5 and len(array) == 1 else array
    if clip.ndim != 4 or clip.shape[3] != channels or 0 in clip.shape or clip.dtype.kind != "f":
        raise ValueError(
            f"{path}: expected an array [1, T, H, W, {channels}] of floating point numbers. "
            f"Received: {list(array.shape)} of {array.dtype}."
        )
    return clip


def array_pictures(
    array: NDArray[np.floating], path: Path, indices: Iterable[int]
) -> Iterator[Flow]:
    """Yields pictures [H, W, C] of an array as float32; `ValueError` for one beyond [-1, 1]."""
    for index in indices:
        picture = np.asarray(array[index], np.float32)
        if not np.abs(picture).max() <= 1 + _ROUNDING:
            advice = f" Clip pixels to +-{BOUND:g} and divide." if picture.shape[-1] == 2 else ""
            raise ValueError(
                f"{path}: expected values in [-1, 1]. "
                f"Received: {picture.min():g} to {picture.max():g}.{advice}"
            )
        yield picture


def write_rgb(folder: Path, name: str, frames: Iterable[Image], layout: str = "image") -> int:
    """Writes frames [H, W, 3], uint8 RGB, as jpgs of quality 95, and returns how many.

    Args:
        folder: A new folder.
        name: The clip's name, for layouts that have it in the names of files.
        frames: All of one size.
        layout: One of `RGB_LAYOUTS`.

    Raises:
        ValueError: No frames, one of another shape or type, or no such layout.
    """
    kind = layouts.get(layout, RGB_LAYOUTS)
    return _write_images([folder], kind, name, ([frame] for frame in _alike(frames, 3, np.uint8)))


def write_flow(
    targets: Sequence[Path],
    name: str,
    flows: Iterable[Flow],
    stamp: FlowStamp,
    layout: str = "image_xy",
) -> int:
    """Writes flow and its stamp: as grey jpgs of quality 95, or as an array [1, T, H, W, 2].

    Args:
        targets: One for each of the layout's `targets`: new folders, or the files of the array and
            of its stamp.
        name: The clip's name, for layouts that have it in the names of files.
        flows: [H, W, 2] float32, x and y in pixels, all of one size: from each frame but the
            last to the next.
        stamp: How it was made. Its bound and `last` are obeyed; its form, first index and quality
            become those of the layout.
        layout: One of `FLOW_LAYOUTS`.

    Returns the number of flows written: one more than given if the last is repeated.

    Raises:
        ValueError: No flow, one of another shape or type, NaN or infinity, or no such layout.
    """
    kind = layouts.get(layout, FLOW_LAYOUTS)
    flows = _alike(flows, 2, np.float32)
    if stamp.last == "repeat":
        flows = last_twice(flows)
    if kind.is_array:
        stored = dataclasses.replace(stamp, form="npy", first_index=0, quality=None)
        count = write_npy(targets[0], (encoding.to_unit(flow, stamp.bound) for flow in flows))
        if kind.name == "npz":
            array = np.load(targets[0], mmap_mode="r")
            with replacing(targets[0]) as packed, packed.open("wb") as file:
                np.savez_compressed(file, flow=array)
        write_text(targets[1], stored.text())
        return count
    stored = dataclasses.replace(stamp, form="jpg", first_index=kind.first_index, quality=QUALITY)
    levels = (encoding.to_levels(flow, stamp.bound) for flow in flows)
    count = _write_images(targets, kind, name, ([each[..., 0], each[..., 1]] for each in levels))
    for folder in targets:
        stored.write(folder)
    return count


def write_npy(path: Path, pictures: Iterable[Flow]) -> int:
    """Writes pictures [H, W, C], float32, as one array [1, T, H, W, C], atomically, one by one.

    Returns T; raises `ValueError` if there are none.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        count = 0
        for picture in pictures:
            if not count:
                _write_header(file, (1, 1, *picture.shape))
            file.write(picture.astype("<f4").tobytes())
            count += 1
        if not count:
            raise ValueError("nothing to write: an array takes at least one picture.")
        file.seek(0)
        # Again, now that T is known: NumPy pads headers to 128 bytes, enough for any T.
        _write_header(file, (1, count, *picture.shape))
    return count


def last_twice(flows: Iterable[Flow]) -> Iterator[Flow]:
    """Yields the flows and the last one again, as many as there are frames; none of none."""
    flow = None
    for flow in flows:
        yield flow
    if flow is not None:
        yield flow


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _check_n_frames(folder: Path, count: int) -> None:
    """Refuses a clip that lost its last files, which nothing else shows."""
    with contextlib.suppress(FileNotFoundError):
        layouts.read_n_frames(folder, count)


def _check_inflation(path: Path) -> None:
    """Refuses a small archive that would fill the memory."""
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > max(_MOST_INFLATED, _MOST_RATIO * path.stat().st_size):
        raise ValueError(f"it would inflate to {size:,} bytes")


def _write_images(
    folders: Sequence[Path], layout: Layout, name: str, images: Iterable[list[Image]]
) -> int:
    import cv2

    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for planes in images:
        paths = layout.paths(Path(), name, count)
        for k, (path, image) in enumerate(zip(paths, planes, strict=True)):
            content = np.ascontiguousarray(image[..., ::-1] if image.ndim == 3 else image)  # BGR
            done, data = cv2.imencode(".jpg", content, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            if not done:
                raise ValueError(f"{path}: OpenCV cannot write a jpg of {list(image.shape)}.")
            (folders[k % len(folders)] / path.name).write_bytes(data.tobytes())
        count += 1
    return count


def _alike(
    images: Iterable[NDArray[_Value]], channels: int, dtype: type[_Value]
) -> Iterator[NDArray[_Value]]:
    """Yields the images [H, W, channels]; checks that they have one size and type, and exist."""
    shape: tuple[int, ...] = ()
    for index, image in enumerate(images):
        shape = shape or image.shape
        fits = image.ndim == 3 and image.shape[2] == channels and image.size
        if not fits or image.shape != shape or image.dtype != dtype:
            raise ValueError(
                f"image {index}: expected [H, W, {channels}] of {np.dtype(dtype)}, all of one "
                f"size, the first being {list(shape)}. Received: {list(image.shape)} of "
                f"{image.dtype}."
            )
        yield image
    if not shape:
        raise ValueError("nothing to write: RGB takes at least one frame, flow at least two.")
