"""Writes frames and flow of a clip, frame by frame, as `common.video.stored` reads them.

A folder is written as a whole or not at all by whoever calls: give a temporary one, then rename.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from numpy.typing import NDArray

from common.flow import encoding
from common.flow.stamp import FlowStamp
from common.io import replacing, write_text
from common.video.layouts import FLOW_LAYOUTS, RGB_LAYOUTS, ArrayLayout, ImageLayout, get

QUALITY = 95  # of jpgs, what dense_flow and OpenCV use

_Value = TypeVar("_Value", bound=np.generic)

Image = NDArray[np.uint8]
Flow = NDArray[np.float32]


def write_rgb(folder: Path, name: str, frames: Iterable[Image], layout: str = "image") -> int:
    """Writes frames as jpgs of quality 95.

    Args:
        folder: Where to; new or empty.
        name: The clip's, where the layout has it in the files' names.
        frames: [H, W, 3] uint8 RGB, all of one size.
        layout: One of `RGB_LAYOUTS`.

    Returns:
        How many there were.

    Raises:
        FileExistsError: The folder holds something.
        ValueError: No frames, one of another shape or type, or no such layout.
    """
    kind = get(layout, RGB_LAYOUTS)
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
        targets: Where to, one for each of the layout's `targets`: new or empty folders, or the
            files of the array and of its stamp.
        name: The clip's, where the layout has it in the files' names.
        flows: [H, W, 2] float32, x and y in pixels, all of one size: from each frame but the
            last to the next.
        stamp: How it was made. Its bound and `last` are obeyed; its form, first index and quality
            are those of the layout.
        layout: One of `FLOW_LAYOUTS`.

    Returns:
        How many flows were written: one more than given where the last is repeated.

    Raises:
        FileExistsError: A folder holds something.
        ValueError: No flow, one of another shape or type, NaN or infinity, or no such layout.
    """
    kind = get(layout, FLOW_LAYOUTS)
    if len(targets) != len(kind.targets(name)):
        raise ValueError(
            f"the layout {layout} has {len(kind.targets(name))} targets. Received: {len(targets)}."
        )
    flows = _ended(_alike(flows, 2, np.float32), stamp.last)
    if isinstance(kind, ArrayLayout):
        stored = dataclasses.replace(stamp, form="npy", first_index=0, quality=None)
        count = _write_array(targets[0], flows, stamp.bound, compressed=kind.name == "npz")
        write_text(targets[1], stored.text())
        return count
    stored = dataclasses.replace(stamp, form="jpg", first_index=kind.first_index, quality=QUALITY)
    levels = (encoding.to_levels(flow, stamp.bound) for flow in flows)
    count = _write_images(targets, kind, name, ([each[..., 0], each[..., 1]] for each in levels))
    for folder in targets:
        stored.write(folder)
    return count


def write_npy(path: Path, pictures: Iterable[NDArray[np.float32]]) -> int:
    """Writes pictures [H, W, C], float32, as one array [1, T, H, W, C], all or nothing.

    Returns:
        How many there were.

    Raises:
        ValueError: No pictures.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        return _stream_npy(file, pictures)


def _write_images(
    folders: Sequence[Path], layout: ImageLayout, name: str, images: Iterable[list[Image]]
) -> int:
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty. Write into a new folder.")
    count = 0
    for planes in images:
        paths = layout.paths(Path(), name, count)
        for k, (path, plane) in enumerate(zip(paths, planes, strict=True)):
            _write_jpg(folders[k % len(folders)] / path.name, plane)
        count += 1
    return count


def _write_jpg(path: Path, image: Image) -> None:
    import cv2

    if image.ndim == 3:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
    done, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )
    if not done:
        raise ValueError(f"{path}: OpenCV cannot write a jpg of {list(image.shape)}.")
    path.write_bytes(data.tobytes())


def _write_array(path: Path, flows: Iterable[Flow], bound: float, compressed: bool) -> int:
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            count = _stream_npy(file, (encoding.to_unit(flow, bound) for flow in flows))
        if compressed:
            array = np.load(temporary, mmap_mode="r")
            with replacing(temporary) as packed, packed.open("wb") as file:
                np.savez_compressed(file, flow=array)
    return count


def _stream_npy(file: IO[bytes], pictures: Iterable[NDArray[np.float32]]) -> int:
    """Writes [1, T, H, W, C] one by one; the header is written again when T is known."""
    count = size = 0
    header: dict[str, object] = {"descr": "<f4", "fortran_order": False}
    for picture in pictures:
        if not count:
            np.lib.format.write_array_header_1_0(file, header | {"shape": (1, 1, *picture.shape)})
            size = file.tell()
        file.write(picture.astype("<f4").tobytes())
        count += 1
    if not count:
        raise ValueError("nothing to write: an array takes at least one picture.")
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, header | {"shape": (1, count, *picture.shape)})
    if file.tell() != size:  # NumPy pads headers to 128 bytes, which billions of frames fit in
        raise ValueError(f"{file.name}: the header of {count} pictures is longer than that of one.")
    return count


def _alike(
    images: Iterable[NDArray[_Value]], channels: int, dtype: type[_Value]
) -> Iterator[NDArray[_Value]]:
    """The images [H, W, channels], which have to be of one size and type, and at least one."""
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


def _ended(flows: Iterable[Flow], last: str) -> Iterator[Flow]:
    """The flows, and the last one again if it shall be repeated."""
    flow = None
    for flow in flows:
        yield flow
    if flow is not None and last == "repeat":
        yield flow
