"""Reads frames and flow of prepared clips, whichever tool made them.

Indices are 0-based, whatever the files count from. `common.video.storing` writes what is read here.
"""

import contextlib
import dataclasses
import operator
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.flow import encoding, stamp
from common.flow.encoding import BOUND
from common.flow.stamp import FlowStamp
from common.video import image_folders
from common.video.layouts import (
    FLOW_LAYOUTS,
    RGB_LAYOUTS,
    ArrayLayout,
    FlowLayout,
    ImageLayout,
    detect,
    get,
    read_n_frames,
)

_ROUNDING = 1e-4  # in what other tools divided


@dataclasses.dataclass(frozen=True)
class RgbClip:
    """The frames of a clip, as images.

    Attributes:
        root: The data set's folder.
        name: The clip's.
        layout: Of the files.
        numbers: Of the files.
    """

    root: Path
    name: str
    layout: ImageLayout
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, indices: Iterable[int]) -> NDArray[np.uint8]:
        """Frames [T, H, W, 3], uint8 RGB, of 0-based indices in any order, repeated or not.

        Raises:
            ValueError: No index, one outside the clip, a damaged image, or images of two sizes.
        """
        return _read_images(self, self.layout, _checked(self, indices))


@dataclasses.dataclass(frozen=True)
class FlowClip:
    """The flow of a clip, as images or as an array.

    Attributes:
        root: The data set's folder.
        name: The clip's.
        layout: Of the files.
        numbers: Of the files; of an array's flows, from 0.
        stamp: How it was made; None where another tool did not say.
    """

    root: Path
    name: str
    layout: FlowLayout
    numbers: range
    stamp: FlowStamp | None

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, indices: Iterable[int]) -> NDArray[np.float32]:
        """Flow [T, H, W, 2], float32 x and y in [-1, 1]: 1 is 20 px, and what is longer is 1.

        That is what networks are fed; `encoding.BOUND` times it is pixels. What was stored with
        another bound is brought to this one. Flow without a stamp is taken to have a bound of 20.

        Args:
            indices: 0-based, in any order, repeated or not.

        Raises:
            ValueError: No index, one outside the clip, a damaged image or array, images of two
                sizes, or an array with values outside [-1, 1].
        """
        indices = _checked(self, indices)
        bound = self.stamp.bound if self.stamp else BOUND
        if isinstance(self.layout, ImageLayout):
            every = encoding.to_pixels(np.arange(256, dtype=np.uint8), bound)
            return np.asarray(encoding.to_unit(every)[_read_images(self, self.layout, indices)])
        path = self.layout.path(self.root, self.name)
        flow = np.asarray(_array(path)[indices], np.float32)
        largest = np.abs(flow).max()
        if not largest <= 1 + _ROUNDING:
            raise ValueError(
                f"{path}: expected flow in [-1, 1]. Received values up to {largest:g}. "
                f"Clip pixels to +-{BOUND:g} and divide by {BOUND:g}."
            )
        return flow if bound == BOUND else encoding.to_unit(flow * np.float32(bound))


def open_rgb(root: Path, name: str, layout: str | None = None) -> RgbClip:
    """Finds the frames of a clip.

    Args:
        root: The data set's folder.
        name: The clip's, relative to it: "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01".
        layout: One of `RGB_LAYOUTS`; None looks which it is.

    Raises:
        FileNotFoundError: There is nothing of the clip.
        ValueError: No such layout, files in several, a number is missing, or `n_frames` is there
            and says another one.
    """
    kind = get(layout, RGB_LAYOUTS) if layout else detect(root, name, RGB_LAYOUTS)
    numbers = kind.numbers(root, name)
    _check_n_frames([root / target for target in kind.targets(name)], len(numbers))
    return RgbClip(root, name, kind, numbers)


def open_flow(root: Path, name: str, layout: str | None = None) -> FlowClip:
    """Finds the flow of a clip, and its stamp.

    Args:
        root: The data set's folder.
        name: The clip's, relative to it.
        layout: One of `FLOW_LAYOUTS`; None looks which it is.

    Raises:
        FileNotFoundError: There is nothing of the clip.
        ValueError: No such layout, files in several, a number is missing, x and y differ in
            number, an array of another shape, or a stamp or `n_frames` that does not fit.
    """
    kind = get(layout, FLOW_LAYOUTS) if layout else detect(root, name, FLOW_LAYOUTS)
    if isinstance(kind, ArrayLayout):
        path = kind.path(root, name)
        return FlowClip(root, name, kind, range(len(_array(path))), stamp.read(path))
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
        _check_n_frames(folders, len(numbers))  # else it may be the number of the frames beside
    return FlowClip(root, name, kind, numbers, first)


def read_rgb(
    root: Path, name: str, indices: Iterable[int], layout: str | None = None
) -> NDArray[np.uint8]:
    """Frames [T, H, W, 3], uint8 RGB, of a clip: `open_rgb` and `RgbClip.read`."""
    return open_rgb(root, name, layout).read(indices)


def read_flow(
    root: Path, name: str, indices: Iterable[int], layout: str | None = None
) -> NDArray[np.float32]:
    """Flow [T, H, W, 2], float32 in [-1, 1], of a clip: `open_flow` and `FlowClip.read`."""
    return open_flow(root, name, layout).read(indices)


def _check_n_frames(folders: Iterable[Path], count: int) -> None:
    """Refuses a clip that lost its last files, which nothing else tells."""
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            read_n_frames(folder, count)


def _checked(clip: RgbClip | FlowClip, indices: Iterable[int]) -> list[int]:
    wanted = [operator.index(index) for index in indices]
    outside = [index for index in wanted if not 0 <= index < len(clip)]
    if outside or not wanted:
        raise ValueError(
            f"{clip.root / clip.name}: expected indices from 0 to {len(clip) - 1}. "
            f"Received: {outside[0] if outside else 'none'}."
        )
    return wanted


def _read_images(
    clip: RgbClip | FlowClip, layout: ImageLayout, indices: list[int]
) -> NDArray[np.uint8]:
    """[T, H, W, C]: RGB of one image an index, or grey x and y of two."""
    images: dict[int, NDArray[np.uint8]] = {}
    size: tuple[int, ...] | None = None
    for index in dict.fromkeys(indices):
        planes = []
        for path in layout.paths(clip.root, clip.name, index, clip.numbers.start):
            image = image_folders.read(path, grey=isinstance(clip, FlowClip), strict=False)
            size = size or image.shape
            if image.shape != size:
                raise ValueError(
                    f"{path}: expected {size[1]}x{size[0]} pixels, as the images before it. "
                    f"Received: {image.shape[1]}x{image.shape[0]}. Make the clip again."
                )
            planes.append(image)
        images[index] = planes[0] if len(planes) == 1 else np.stack(planes, -1)
    return np.stack([images[index] for index in indices])


def _array(path: Path) -> NDArray[np.floating]:
    """The flow [T, H, W, 2] of an array's file; a .npy is mapped, a .npz read as a whole."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(array, np.lib.npyio.NpzFile):
            with array:
                array = array["flow" if "flow" in array.files else "".join(array.files)]
    except (ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: expected one array of numbers, or one called flow. It cannot be read "
            f"({error}). Make the clip again."
        ) from error
    array = array[0] if array.ndim == 5 and len(array) == 1 else array
    if array.ndim != 4 or array.shape[3] != 2 or 0 in array.shape or array.dtype.kind != "f":
        raise ValueError(
            f"{path}: expected flow [1, T, H, W, 2] of floating point numbers. "
            f"Received: {list(array.shape)} of {array.dtype}."
        )
    flow: NDArray[np.floating] = array
    return flow
