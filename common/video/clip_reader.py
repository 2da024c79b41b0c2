"""Finds the frames and flow of a record: prepared, in arrays, or in the video itself."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common import flow
from common.flow import encoding
from common.flow.stamp import FlowStamp
from common.preprocessing import frames
from common.preprocessing.contracts import RGB_CONTRACT, InputContract
from common.preprocessing.crops import Frames
from common.preprocessing.frames import resize_picture_short_side
from common.video import FrameSource, Video, frame_files
from common.video.frame_files import ArrayClip

if TYPE_CHECKING:
    from common.annotations import Record


@dataclasses.dataclass(frozen=True)
class Source:
    """Folders with the clips of a data set.

    Of each record what a tool prepared under its name (`common.video.layouts`) is read, else its
    video. Flow that is not there is computed by `engine` when it is read, which takes long.
    """

    rgb: Path | None = None
    flow: Path | None = None
    engine: str = "numba"


@dataclasses.dataclass
class ClipReader:
    """Reads clips of a data set. It pickles, and several threads may use one."""

    source: Source
    contract: InputContract = RGB_CONTRACT  # rate of frames of videos, short side of computed flow
    _videos: dict[Video, Video] = dataclasses.field(default_factory=dict)  # which know their length

    def read(self, record: "Record", indices: Sequence[int], stream: str) -> Frames:
        return self.open(record, stream).read(indices)

    def open(self, record: "Record", stream: str) -> FrameSource:
        """Finds a record's "rgb" or "flow", and opens it.

        Raises `FileNotFoundError` if there is nothing of it; `ValueError` if it is not whole, or no
        folder was given for the stream.
        """
        root = self.source.flow if stream == "flow" else self.source.rgb
        if root is None:
            raise ValueError(f"no folder with the {stream} of the data set was given.")
        if stream == "rgb":
            return self._open_rgb(root, record)
        try:
            return frame_files.open_flow(root, record.name)
        except FileNotFoundError as nothing:
            with contextlib.suppress(FileNotFoundError):
                rgb = self._open_rgb(root, record)
                return ComputedFlow(rgb, self.contract.short_side, self.source.engine)
            raise nothing from None

    def _open_rgb(self, root: Path, record: "Record") -> FrameSource:
        array, path = root / f"{record.name}_rgb.npy", root / record.path
        try:
            return frame_files.open_rgb(root, record.name)
        except FileNotFoundError:
            if array.is_file():
                return ArrayClip(array, 3)
            if path.is_dir() and record.start is record.end is None:
                return frame_files.open_rgb(root, record.path)
            if not path.is_file():
                raise
        video = Video(path, self.contract.fps, record.start or 0, record.end, threads=1)
        return self._videos.setdefault(video, video)


@dataclasses.dataclass(frozen=True)
class ComputedFlow(FrameSource):
    """Flow of RGB frames, resized to a short side in pixels; the last flow is repeated."""

    rgb: FrameSource
    short_side: int
    engine: str

    @property
    def path(self) -> Path:  # type: ignore[override]
        return self.rgb.path

    @property
    def stamp(self) -> FlowStamp:  # type: ignore[override]
        return FlowStamp(
            engine=flow.resolve(self.engine),
            parameters=dataclasses.asdict(flow.TVL1Params()),
            fps=self.rgb.rate,
            short_side=self.short_side,
            square_pixels=self.rgb.square_pixels if isinstance(self.rgb, Video) else None,
        )

    def __len__(self) -> int:
        return len(self.rgb)

    def pictures(self, indices: Sequence[int] | None = None) -> Iterator[NDArray[np.float32]]:
        indices = self.checked(indices)
        if len(self) < 2:
            raise ValueError(f"{self}: flow needs at least two frames. Received: {len(self)}.")
        firsts = [min(index, len(self) - 2) for index in indices]
        wanted = sorted({*firsts, *(first + 1 for first in firsts)})
        shown = self.rgb.pictures(wanted)
        small = (resize_picture_short_side(each, self.short_side) for each in shown)
        greys = dict(zip(wanted, map(frames.to_grey, small), strict=True))
        for first in firsts:
            pair = greys[first], greys[first + 1]
            yield encoding.to_unit(flow.tvl1(*pair, engine=self.engine))


def frame_rate(record: "Record", clip: FrameSource) -> float | None:
    """Returns frames per second of a clip; None if they are those of the record's annotation.

    If nothing states it, it is frames by duration, as in piergiaj/pytorch-i3d, or `ValueError`.
    """
    if clip.rate:
        return clip.rate
    if len(clip) == record.frames and (record.fps or record.unit == "frames"):
        return record.fps
    if not record.duration:
        raise ValueError(f"the rate of its {len(clip)} frames is needed, or a duration.")
    return float(len(clip) / Fraction(str(record.duration)))
