"""The frames of an item as features want them: one after another, resampled, resized."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from common import flow, processors, video
from common.features.extraction import Extraction
from common.flow import TVL1Params, encoding
from common.jobs.pictures import Picture, Pictures
from common.jobs.task import Item
from common.preprocessing import frames
from common.preprocessing.crops import Frames
from common.video import clip_reader, stored

_AT_ONCE = 64  # stored flows that are read together
_TVL1 = TVL1Params()


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads items, which are videos, folders of frames, or arrays of RGB (.npy).

    Attributes:
        source_fps: Images a second of folders, where nothing else says it.
        flow: A folder with flow that was extracted before; None computes it.
        engine: What computes flow, one of `flow.ENGINES`.
        params: Of TV-L1.
    """

    source_fps: float | None = None
    flow: Path | None = None
    engine: str = "numba"
    params: TVL1Params = _TVL1

    def rgb(self, item: Item, extraction: Extraction) -> Iterator[Picture]:
        """Frames [H, W, 3], uint8 RGB.

        Raises:
            FileNotFoundError, ValueError: The item cannot be read; see `Pictures.of`.
        """
        if is_array(item.source):
            if item.start is not None or item.end is not None:
                raise ValueError(
                    f"{item.source}: an array is taken as a whole, and a span was asked for. Leave "
                    "it out, or take the video."
                )
            yield from _array(item.source)
            return
        before: Picture | None = None
        for picture in self._pictures(extraction).of(item):
            if picture is not before:  # one that is shown twice is resized once
                before, sized = picture, _sized(picture, extraction)
            yield sized

    def rate(self, item: Item, extraction: Extraction) -> float | None:
        """Frames a second that `rgb` gives; None where nothing says it."""
        if is_array(item.source):
            return clip_reader.RgbArray(item.source).fps
        if item.source.is_dir() or extraction.fps:
            return self._pictures(extraction).rate(item)
        return video.info(item.source).fps

    def count(self, item: Item, extraction: Extraction) -> int:
        """How many frames `rgb` gives; decodes them all for it."""
        if is_array(item.source):
            return len(clip_reader.RgbArray(item.source))
        return sum(1 for _ in self._pictures(extraction).of(item))

    def streams(
        self, rgb: Iterable[Picture], item: Item, wanted: Iterable[str]
    ) -> Iterator[tuple[str, Frames]]:
        """Yields ("rgb", frame) and ("flow", [H, W, 2] in [-1, 1]) as they come.

        There are as many flows as frames: the last is given twice.

        Args:
            rgb: The frames of the item, each read once.
            item: The item.
            wanted: "rgb", "flow" or both.

        Raises:
            FileNotFoundError, ValueError: It cannot be read, or there is but one frame.
        """
        wanted = set(wanted)
        if "flow" not in wanted:
            yield from (("rgb", picture) for picture in rgb)
            return
        if self.flow:
            if "rgb" in wanted:
                yield from (("rgb", picture) for picture in rgb)
            yield from (("flow", each) for each in _stored(self.flow, item.name))
            return
        passed: list[Picture] = []

        def greys() -> Iterator[Picture]:
            for picture in rgb:
                if "rgb" in wanted:
                    passed.append(picture)
                yield frames.to_grey(picture)

        last: Frames | None = None
        for moving in flow.flows(greys(), self.params, self.engine, processors.share()):
            yield from (("rgb", picture) for picture in passed)
            passed.clear()
            last = encoding.to_unit(moving)
            yield "flow", last
        yield from (("rgb", picture) for picture in passed)
        if last is not None:
            yield "flow", last

    def _pictures(self, extraction: Extraction) -> Pictures:
        return Pictures(fps=extraction.fps or None, source_fps=self.source_fps)


def is_array(path: Path) -> bool:
    """Whether an item is an array."""
    return path.suffix.lower() == ".npy"


def _sized(picture: Picture, extraction: Extraction) -> Picture:
    from common.preprocessing import resizing  # numba takes a moment

    if extraction.size:
        width, height = extraction.size
        return resizing.resize(picture, height, width)
    if extraction.least_side:
        side = max(extraction.least_side, min(picture.shape[:2]))
        return resizing.resize_short_side(picture, side)
    if extraction.resize:
        return resizing.resize_short_side(picture, extraction.resize)
    return picture


def _array(path: Path) -> Iterator[Picture]:
    array = clip_reader.RgbArray(path)
    for start in range(0, len(array), _AT_ONCE):
        part = array.read(range(start, min(start + _AT_ONCE, len(array))))
        yield from part


def _stored(root: Path, name: str) -> Iterator[Frames]:
    clip = stored.open_flow(root, name)
    for start in range(0, len(clip), _AT_ONCE):
        part = clip.read(range(start, min(start + _AT_ONCE, len(clip))))
        yield from np.asarray(part, np.float32)
