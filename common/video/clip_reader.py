"""Finds the frames and flow of a record: prepared, in arrays, or in the video itself."""

import dataclasses
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common import flow
from common.flow import encoding
from common.flow.stamp import FlowStamp
from common.preprocessing import frames, resizing
from common.preprocessing.contracts import RGB_CONTRACT, InputContract
from common.preprocessing.crops import Frames
from common.video import Video, frame_files
from common.video.source import FrameSource


class Record(Protocol):
    """What is asked of a record of the annotations, whose `Record` says what each field means."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def start(self) -> float | None: ...
    @property
    def end(self) -> float | None: ...
    @property
    def frames(self) -> int | None: ...
    @property
    def fps(self) -> float | None: ...
    @property
    def duration(self) -> float | None: ...
    @property
    def unit(self) -> str: ...


@dataclasses.dataclass(frozen=True)
class Source:
    """Folders with the clips of a data set.

    Of each record the first that is there is read: what `extract_frames`, `extract_flow`,
    `to_numpy` or another tool prepared under its name (`common.video.layouts`), or its video. Flow
    that is not there is computed when it is read, which takes long.

    Attributes:
        rgb: The folder with the RGB of the data set; None if none is needed.
        flow: The folder with its flow, or what it can be computed from.
        engine: The engine that computes it: see `flow.ENGINES`.
    """

    rgb: Path | None = None
    flow: Path | None = None
    engine: str = "numba"


class ClipReader:
    """Reads clips of a data set. It pickles, and several threads may use one."""

    def __init__(self, source: Source, contract: InputContract = RGB_CONTRACT):
        """Opens nothing.

        The contract has the rate at which frames of videos are taken, and the short side of those
        that flow is computed on; prepared clips are as they are.
        """
        self.source = source
        self.contract = contract
        self._videos: dict[tuple[Path, float | None, float | None], Video] = {}  # know their length

    def count(self, record: Record, stream: str) -> int:
        """Counts the frames, or flows: `open` and `len`. A video is decoded for it, once."""
        return len(self.open(record, stream))

    def read(self, record: Record, indices: Sequence[int], stream: str) -> Frames:
        """Reads frames [T, H, W, C] of 0-based indices in any order: `open` and `read`."""
        return self.open(record, stream).read(indices)

    def open(self, record: Record, stream: str) -> FrameSource:
        """Finds a record's "rgb" or "flow", and opens it.

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
            return frame_files.open_flow(root, record.name)
        except FileNotFoundError as nothing:
            try:
                rgb = self._open_rgb(root, record)
            except FileNotFoundError:
                raise nothing from None
            return ComputedFlow(rgb, self.contract.short_side, self.source.engine)

    def _open_rgb(self, root: Path, record: Record) -> FrameSource:
        array = root / f"{record.name}_rgb.npy"
        path = root / record.path
        try:
            return frame_files.open_rgb(root, record.name)
        except FileNotFoundError:
            if array.is_file():
                return RgbArray(array)
            if path.is_dir() and record.start is record.end is None:
                return frame_files.open_rgb(root, record.path)
            if not path.is_file():
                raise
        key = path, record.start, record.end
        if key not in self._videos:
            self._videos[key] = Video(
                path, self.contract.fps, record.start or 0, record.end, threads=1
            )
        return self._videos[key]


@dataclasses.dataclass(frozen=True)
class RgbArray(FrameSource):
    """A .npy [1, T, H, W, 3] in [-1, 1], of the original release or by `to_numpy`.

    Frames are uint8: values are rounded to the nearest of the 256 levels.
    """

    path: Path
    rate = RGB_CONTRACT.fps  # of the original release

    def __len__(self) -> int:
        return len(frame_files.open_array(self.path, 3))

    def __str__(self) -> str:
        return str(self.path)

    def pictures(self, indices: Sequence[int] | None = None) -> Iterator[NDArray[np.uint8]]:
        array = frame_files.open_array(self.path, 3)
        for values in frame_files.array_pictures(array, self.path, self.checked(indices)):
            yield np.rint((values.clip(-1, 1) + 1) * np.float32(127.5)).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class ComputedFlow(FrameSource):
    """Flow of RGB frames, as many as there are of them: the last is repeated.

    Attributes:
        rgb: The frames.
        short_side: Pixels of the shorter side that frames are resized to.
        engine: One of `flow.ENGINES`.
    """

    rgb: FrameSource
    short_side: int
    engine: str

    @property
    def rate(self) -> float | None:  # type: ignore[override]
        """The rate of the frames."""
        return self.rgb.rate

    @property
    def stamp(self) -> FlowStamp:  # type: ignore[override]
        """The stamp that the flow will have."""
        return FlowStamp(
            engine=flow.resolve(self.engine),
            parameters=dataclasses.asdict(flow.TVL1Params()),
            fps=self.rgb.rate,
            short_side=self.short_side,
            square_pixels=self.rgb.square_pixels if isinstance(self.rgb, Video) else None,
        )

    def __len__(self) -> int:
        return len(self.rgb)

    def __str__(self) -> str:
        return str(self.rgb)

    def pictures(self, indices: Sequence[int] | None = None) -> Iterator[NDArray[np.float32]]:
        indices = self.checked(indices)
        last = len(self) - 1
        if last < 1:
            raise ValueError(f"has {last + 1} frames, too few for flow {max(indices)}.")
        firsts = [min(index, last - 1) for index in indices]
        wanted = sorted({*firsts, *(first + 1 for first in firsts)})
        shown = zip(wanted, self.rgb.pictures(wanted), strict=True)
        at, earlier, later = -1, np.empty(0, np.uint8), np.empty(0, np.uint8)
        for first in firsts:
            if at <= first:  # else it is the flow before, repeated
                while at <= first:
                    at, picture = next(shown)
                    small = resizing.resize_short_side(picture, self.short_side)
                    earlier, later = later, frames.to_grey(small)
                unit = encoding.to_unit(flow.tvl1(earlier, later, engine=self.engine))
            yield unit


def frame_rate(record: Record, clip: FrameSource) -> float | None:
    """Returns frames per second of a clip; None if they are those of the record's annotation.

    If nothing states it, it is the number of frames by the duration, as in piergiaj/pytorch-i3d.

    Raises:
        ValueError: There is no way to know.
    """
    if clip.rate:
        return clip.rate
    if len(clip) == record.frames and (record.fps or record.unit == "frames"):
        return record.fps
    if not record.duration:
        raise ValueError(
            f"the rate of its {len(clip)} frames is needed, and its annotation has neither that of "
            "as many frames nor a duration."
        )
    return float(len(clip) / Fraction(str(record.duration)))
