"""Frames and flow of a record, wherever they are: prepared, in arrays, or in the video itself."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common import flow, video
from common.annotations import Record
from common.annotations.frame_labels import as_written
from common.flow import encoding
from common.flow.stamp import FlowStamp
from common.preprocessing import frames
from common.preprocessing.contracts import RGB_CONTRACT, InputContract
from common.preprocessing.crops import Frames
from common.preprocessing.resampling import exact
from common.video import stored

_ROUNDING = 1e-4  # in how others scaled their arrays

_Span = tuple[Path, float | None, float | None]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the clips of a data set are.

    Of each record the first that is there is read: what `extract_frames`, `extract_flow`,
    `to_numpy` or another tool prepared under its name (`common.video.layouts`), or its video. Flow
    of
    what has none is computed when it is read, which takes long.

    Attributes:
        rgb: The folder that has the RGB of the data set; None where none is needed.
        flow: The folder that has its flow, or what it can be computed from.
        engine: What computes it: see `flow.ENGINES`.
    """

    rgb: Path | None = None
    flow: Path | None = None
    engine: str = "numba"


class Clip(Protocol):
    """The frames, or the flows, of one record."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Frames:
        """Frames [T, H, W, C] of 0-based indices, in any order, repeated or not."""
        ...


class ClipReader:
    """Reads clips of a data set. It pickles, and several threads may use one."""

    def __init__(self, source: Source, contract: InputContract = RGB_CONTRACT):
        """Opens nothing.

        Args:
            source: Where they are.
            contract: Of videos the rate that frames are taken at, and the short side of those that
                flow is computed on; prepared clips are as they are.
        """
        self.source = source
        self.contract = contract
        self._lengths: dict[_Span, int] = {}  # of videos

    def count(self, record: Record, stream: str) -> int:
        """How many frames, or flows, there are.

        A video is decoded as a whole for it, once by each reader, for headers are often wrong.

        Raises:
            FileNotFoundError: There is nothing of the record.
            ValueError: What is there cannot be read; see `common.video.stored` and `common.video`.
        """
        return len(self.open(record, stream))

    def read(self, record: Record, indices: Sequence[int], stream: str) -> Frames:
        """Frames [T, H, W, C] of 0-based indices in any order, repeated or not, as large as stored.

        Returns:
            uint8 RGB; or float32 flow, x and y, in [-1, 1], where 1 is 20 px of these frames. (RGB
            of a .npy, floats in [-1, 1], is rounded to the nearest of the 256 levels.)

        Raises:
            FileNotFoundError: There is nothing of the record.
            ValueError: What is there cannot be read, or has no such frames.
        """
        return self.open(record, stream).read(indices)

    def open(self, record: Record, stream: str) -> Clip:
        """Looks what there is of a record, and opens it.

        Raises:
            FileNotFoundError: There is nothing of it.
            ValueError: No folder was given for the stream, or what is there is not whole.
        """
        root = {"rgb": self.source.rgb, "flow": self.source.flow}[stream]
        if root is None:
            raise ValueError(f"no folder with the {stream} of the data set was given.")
        if stream == "rgb":
            return self._open_rgb(root, record)
        try:
            return stored.open_flow(root, record.name)
        except FileNotFoundError as error:
            try:
                rgb = self._open_rgb(root, record)
            except FileNotFoundError:
                raise error from None
            return ComputedFlow(rgb, self.contract.short_side, self.source.engine)

    def _open_rgb(self, root: Path, record: Record) -> Clip:
        array = root / f"{record.name}_rgb.npy"
        path = root / record.path
        try:
            return stored.open_rgb(root, record.name)
        except FileNotFoundError:
            if array.is_file():
                return RgbArray(array)
            if path.is_dir() and record.start is record.end is None:
                return stored.open_rgb(root, record.path)
            if not path.is_file():
                raise
        return VideoClip(path, record.start, record.end, self.contract.fps, self._lengths)


def frame_rate(record: Record, clip: Clip) -> float | None:
    """Frames a second of a clip of the record; None where they are those of its annotation.

    Where nothing says it, it is the number of frames by the duration, as piergiaj/pytorch-i3d has
    it.

    Raises:
        ValueError: There is no way to know.
    """
    clip = clip.rgb if isinstance(clip, ComputedFlow) else clip
    if isinstance(clip, VideoClip | RgbArray):
        return clip.fps
    if isinstance(clip, stored.FlowClip) and clip.stamp and clip.stamp.fps:
        return clip.stamp.fps
    if len(clip) == record.frames and (record.fps or record.unit == "frames"):
        return record.fps
    if not record.duration:
        raise ValueError(
            f"the rate of its {len(clip)} frames is needed, and its annotation has neither that of "
            "as many frames nor a duration."
        )
    return float(len(clip) / as_written(record.duration))


def flow_stamp(clip: Clip) -> FlowStamp | None:
    """How the flow of a clip was made, or will be; None where nobody said."""
    if not isinstance(clip, ComputedFlow):
        return clip.stamp if isinstance(clip, stored.FlowClip) else None
    return FlowStamp(
        engine=flow.resolve(clip.engine),
        parameters=dataclasses.asdict(flow.TVL1Params()),
        fps=clip.rgb.fps if isinstance(clip.rgb, VideoClip | RgbArray) else None,
        short_side=clip.short_side,
        square_pixels=True if isinstance(clip.rgb, VideoClip) else None,
    )


@dataclasses.dataclass(frozen=True)
class VideoClip:
    """The span of a video, resampled."""

    path: Path
    start: float | None
    end: float | None
    fps: float
    lengths: dict[_Span, int]

    def __len__(self) -> int:
        key = (self.path, self.start, self.end)
        if key not in self.lengths:
            span = video.read_frames(
                self.path, self.fps, self.start or 0, self.end, strict=True, threads=1
            )
            self.lengths[key] = sum(1 for _ in span)
        return self.lengths[key]

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Decodes from the first frame that is wanted to the last."""
        first, beginning = min(indices), exact(self.start or 0)
        start = beginning + first / exact(self.fps)
        if exact(start) != start:  # it would be rounded, and another frame might be shown then
            first, start = 0, beginning
        count = max(indices) - first + 1
        shown = video.read_frames(self.path, self.fps, start, self.end, count, threads=1)
        wanted = set(indices)
        found = {index: frame for index, frame in enumerate(shown, first) if index in wanted}
        if missing := wanted - found.keys():
            raise ValueError(f"{self.path}: has no frame {min(missing)} at {self.fps:g} a second.")
        return np.stack([found[index] for index in indices])


@dataclasses.dataclass(frozen=True)
class RgbArray:
    """A .npy [1, T, H, W, 3] in [-1, 1], of the original release or by `to_numpy`."""

    path: Path
    fps: float = RGB_CONTRACT.fps

    def __len__(self) -> int:
        return len(self._array())

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        array = self._array()
        if not 0 <= min(indices) <= max(indices) < len(array):
            raise ValueError(f"{self.path}: has frames 0 to {len(array) - 1}. Asked: {indices}.")
        values = array[list(indices)].astype(np.float32)
        if not np.abs(values).max() <= 1 + _ROUNDING:
            raise ValueError(
                f"{self.path}: expected values in [-1, 1]. "
                f"Received: {values.min():g} to {values.max():g}."
            )
        return np.rint((values.clip(-1, 1) + 1) * np.float32(127.5)).astype(np.uint8)

    def _array(self) -> NDArray[np.floating]:
        try:
            array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{self.path}: expected a .npy file with numbers. {error}.") from error
        if array.ndim != 5 or len(array) != 1 or array.shape[4] != 3 or 0 in array.shape:
            raise ValueError(
                f"{self.path}: expected an array [1, T, H, W, 3]. Received: {list(array.shape)}."
            )
        return np.asarray(array[0])


@dataclasses.dataclass(frozen=True)
class ComputedFlow:
    """Flow of RGB frames, as many as there are of them: the last is repeated."""

    rgb: Clip
    short_side: int
    engine: str

    def __len__(self) -> int:
        return len(self.rgb)

    def read(self, indices: Sequence[int]) -> NDArray[np.float32]:
        """Reads each frame that is wanted, and the one after it, once."""
        from common.preprocessing import resizing  # numba takes a moment

        last = len(self.rgb) - 1
        if not 0 <= min(indices) <= max(indices) <= last or last < 1:
            raise ValueError(f"has {last + 1} frames, too few for flow {max(indices)}.")
        firsts = [min(index, last - 1) for index in indices]
        wanted = sorted({*firsts, *(index + 1 for index in firsts)})
        pictures = (resizing.resize_short_side(p, self.short_side) for p in self.rgb.read(wanted))
        greys = dict(zip(wanted, map(frames.to_grey, pictures), strict=True))
        found = {
            first: encoding.to_unit(flow.tvl1(greys[first], greys[first + 1], engine=self.engine))
            for first in set(firsts)
        }
        return np.stack([found[first] for first in firsts])
