"""Reads and writes frame and flow files of a clip, whichever tool made them."""

import dataclasses
import functools
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.flow import encoding, stamp
from common.flow.encoding import BOUND
from common.flow.stamp import FlowStamp
from common.io import check_size, replacing, write_text
from common.preprocessing.contracts import RGB_CONTRACT
from common.video import FrameSource, Picture, layouts, video_files
from common.video.layouts import FLOW_LAYOUTS, RGB_LAYOUTS, Layout

QUALITY = 95  # of jpgs, what dense_flow and OpenCV use
_ROUNDING = 1e-4  # how far beyond [-1, 1] other tools' arrays may be
_NPY_HEADER = 128  # bytes: NumPy pads headers to it, enough for any shape
_NOTHING = "nothing to write: RGB takes at least one frame, flow at least two."

Image = NDArray[np.uint8]
Flow = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class ImageClip(FrameSource):
    """A clip as numbered images: of RGB, or of x and of y of flow, which comes in units of 20 px.

    Flow that was stored with another bound is converted and clipped; without a stamp, it is 20.
    """

    planes: Sequence[Sequence[Path]]
    stamp: FlowStamp | None = None

    def __len__(self) -> int:
        return len(self.planes[0])

    @property
    def path(self) -> Path:  # type: ignore[override]
        return self.planes[0][0].parent

    def pictures(self, indices: Sequence[int] | None = None) -> Iterator[Picture]:
        bound = self.stamp.bound if self.stamp else BOUND
        units = encoding.to_unit(encoding.to_pixels(np.arange(256, dtype=np.uint8), bound))
        is_flow = len(self.planes) == 2
        size: tuple[int, ...] | None = None
        for index in self.checked(indices):
            images = []
            for plane in self.planes:
                images.append(video_files.read_image(plane[index], is_flow, size))
                size = images[0].shape[:2]
            yield units[np.stack(images, -1)] if is_flow else images[0]


@dataclasses.dataclass(frozen=True)
class ArrayClip(FrameSource):
    """An array [1, T, H, W, C] in [-1, 1], with the pictures of an `ImageClip`."""

    path: Path  # a .npy, or a .npz with one array or one called "flow"
    channels: int  # 3 for RGB, which is rounded to the nearest of 256 levels; 2 for flow
    stamp: FlowStamp | None = None

    @property
    def rate(self) -> float | None:
        """Frames per second: of RGB those of the original release, of flow those of the stamp."""
        return RGB_CONTRACT.fps if self.channels == 3 else super().rate

    def __len__(self) -> int:
        return len(self.array)

    @functools.cached_property
    def array(self) -> NDArray[np.floating]:
        """The array [T, H, W, C], mapped where it can be; `ValueError` for anything else."""
        try:
            array = np.load(self.path, mmap_mode="r", allow_pickle=False)
            if isinstance(array, np.lib.npyio.NpzFile):
                with array:
                    members = array.zip.infolist() if array.zip else []
                    check_size(self.path, sum(each.file_size for each in members))
                    array = array["flow" if "flow" in array.files else "".join(array.files)]
            clip: NDArray[np.floating] = array[0] if array.ndim == 5 and len(array) == 1 else array
            wrong = clip.ndim != 4 or clip.shape[3] != self.channels or not clip.size
            if wrong or clip.dtype.kind != "f":
                raise ValueError(f"{list(array.shape)} of {array.dtype}")
        except (ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as e:
            expected = f"an array [1, T, H, W, {self.channels}] of floating point numbers"
            raise ValueError(f"{self.path}: expected {expected}. Received: {e}.") from e
        return clip

    def values(self, indices: Iterable[int]) -> Iterator[Flow]:
        """Yields pictures as float32 in [-1, 1], as they are; `ValueError` for one beyond that."""
        for index in indices:
            picture = np.asarray(self.array[index], np.float32)
            if not np.abs(picture).max() <= 1 + _ROUNDING:
                got = f"{picture.min():g} to {picture.max():g}"
                raise ValueError(f"{self.path}: expected values in [-1, 1]. Received: {got}.")
            yield picture

    def pictures(self, indices: Sequence[int] | None = None) -> Iterator[Picture]:
        bound = self.stamp.bound if self.stamp else BOUND
        for values in self.values(self.checked(indices)):
            if self.channels == 3:
                yield np.rint((values.clip(-1, 1) + 1) * np.float32(127.5)).astype(np.uint8)
            else:
                yield values if bound == BOUND else encoding.to_unit(values * np.float32(bound))


def open_rgb(root: Path, name: str) -> ImageClip:
    """Finds the frames of a clip, in whichever of `RGB_LAYOUTS` they are.

    Raises `FileNotFoundError` if there are none, and `ValueError` if they are not whole.
    """
    planes = layouts.detect(root, name, RGB_LAYOUTS).find(root, name)
    _check_n_frames(planes)
    return ImageClip(planes)


def open_flow(root: Path, name: str) -> FrameSource:
    """Finds the flow of a clip, in whichever of `FLOW_LAYOUTS`, and its stamp; raises as above."""
    kind = layouts.detect(root, name, FLOW_LAYOUTS)
    planes = kind.find(root, name)
    if kind.is_array:
        array = ArrayClip(planes[0][0], 2, stamp.read(planes[0][0]))
        len(array)  # checks it
        return array
    x, y = (stamp.read(plane[0].parent) for plane in planes)
    if x != y:
        raise ValueError(f"{root}: x and y of {name} have different stamps. Make the clip again.")
    if x:  # else the number may be that of the frames beside
        _check_n_frames(planes)
    return ImageClip(planes, x)


def write_rgb(folder: Path, name: str, frames: Iterable[Image], layout: str = "image") -> int:
    """Writes frames [H, W, 3], uint8 RGB, as jpgs; returns how many, `ValueError` for none."""
    planes = ([frame[..., ::-1]] for frame in frames)
    return _write_images([folder], RGB_LAYOUTS[layout], name, planes)


def write_flow(
    targets: Sequence[Path],
    name: str,
    flows: Iterable[Flow],
    stamp: FlowStamp,
    layout: str = "image_xy",
) -> int:
    """Writes flow and its stamp: as grey jpgs of quality 95, or as an array [1, T, H, W, 2].

    `targets` are the layout's: new folders, or the files of the array and of its stamp. Flows are
    [H, W, 2] float32 in pixels. The stamp's bound and `last` are obeyed; its form, first index and
    quality become those of the layout. Returns the number written; `ValueError` for none, or NaN.
    """
    kind = FLOW_LAYOUTS[layout]
    flows = last_twice(flows) if stamp.last == "repeat" else flows
    if kind.is_array:
        stamp = dataclasses.replace(stamp, form="npy", first_index=0, quality=None)
        count = write_npy(targets[0], (encoding.to_unit(flow, stamp.bound) for flow in flows))
        if kind.name == "npz":
            array = np.load(targets[0], mmap_mode="r")
            with replacing(targets[0]) as packed, packed.open("wb") as file:
                np.savez_compressed(file, flow=array)
        write_text(targets[1], stamp.text())
        return count
    stamp = dataclasses.replace(stamp, form="jpg", first_index=layouts.FIRST_INDEX, quality=QUALITY)
    levels = (encoding.to_levels(flow, stamp.bound).transpose(2, 0, 1) for flow in flows)
    count = _write_images(targets, kind, name, levels)
    for folder in targets:
        stamp.write(folder)
    return count


def write_npy(path: Path, pictures: Iterable[Flow]) -> int:
    """Writes float32 pictures [H, W, C] as an array [1, T, H, W, C], one by one; returns T."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(bytes(_NPY_HEADER))
        count = 0
        for picture in pictures:
            file.write(picture.astype("<f4").tobytes())
            count += 1
        if not count:
            raise ValueError(_NOTHING)
        file.seek(0)
        header = {"descr": "<f4", "fortran_order": False, "shape": (1, count, *picture.shape)}
        np.lib.format.write_array_header_1_0(file, header)
    return count


def last_twice(flows: Iterable[Flow]) -> Iterator[Flow]:
    """Yields the flows and the last one again, as many as there are frames; none of none."""
    last = []
    for flow in flows:
        yield flow
        last = [flow]
    yield from last


def _check_n_frames(planes: Sequence[Sequence[Path]]) -> None:
    """Refuses a clip that lost its last files, which nothing else shows."""
    for folder in {plane[0].parent for plane in planes}:
        if (folder / layouts.N_FRAMES).is_file():
            layouts.read_n_frames(folder, len(planes[0]))


def _write_images(
    folders: Sequence[Path], layout: Layout, name: str, images: Iterable[Sequence[Image] | Image]
) -> int:
    import cv2

    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    count = 0
    quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    for count, planes in enumerate(images, 1):
        for k, path in enumerate(layout.paths(Path(), name, count - 1)):
            data = cv2.imencode(".jpg", np.ascontiguousarray(planes[k]), quality)[1]
            (folders[k % len(folders)] / path.name).write_bytes(data.tobytes())
    if not count:
        raise ValueError(_NOTHING)
    return count
