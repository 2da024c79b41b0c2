"""Which frames are taken from a source, and how large: the same for every command."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import hardware, video
from common.jobs import markers
from common.jobs.task import Item
from common.preprocessing import resizing

Picture = NDArray[np.uint8]

_MOST_FPS = 1000  # the limit of `video.read_frames`
_SMALLEST = 2  # pixels; flow needs two


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Rate and size of the frames of a video, or of a folder of images.

    Attributes:
        fps: Frames a second of a video, by timestamps; None takes every frame.
        folder_fps: Frames a second of a folder of images, whose own rate must be known.
        source_fps: Own rate of a folder of images; None is the rate that `extract_frames` noted
            there, or else the annotation's.
        short_side: Resizes the shorter side to so many pixels; None keeps the size.
        square_pixels: Stretch the width where pixels are not square, as players do; else keep
            pixels as they are stored, as OpenCV does.
    """

    fps: float | None = None
    folder_fps: float | None = None
    source_fps: float | None = None
    short_side: int | None = None
    square_pixels: bool = True

    def __post_init__(self) -> None:
        for name in ("fps", "folder_fps", "source_fps"):
            rate = getattr(self, name)
            if rate is None:
                continue
            if not 0 < rate <= _MOST_FPS:
                raise ValueError(f"{name} must be above 0 and at most 1000. Received: {rate}.")
            object.__setattr__(self, name, float(rate))  # in markers 25 is not 25.0
        if self.short_side is not None and self.short_side < _SMALLEST:
            raise ValueError(
                f"short_side must be at least {_SMALLEST} pixels. Received: {self.short_side}."
            )

    def of(self, item: Item, max_frames: int | None = None) -> Iterator[Picture]:
        """Yields the frames [H, W, 3], uint8 RGB, one by one, `max_frames` at most.

        Raises:
            FileNotFoundError: The source does not exist.
            ValueError: It is not a video (`VideoError`), is cut short, has no frames in the span,
                or is a folder whose rate is needed and unknown.
        """
        folder = item.source.is_dir()
        frames = video.read_frames(
            item.source,
            self.folder_fps if folder else self.fps,
            item.start or 0,
            item.end,
            max_frames,
            source_fps=self._source_fps(item) if folder else None,
            strict=True,
            threads=hardware.own_threads(),
            square_pixels=self.square_pixels,
        )
        if self.short_side is None:
            yield from frames
            return
        before: Picture | None = None
        for frame in frames:
            if frame is not before:  # a frame that is repeated is resized once
                before, picture = frame, resizing.resize_short_side(frame, self.short_side)
            yield picture

    def rate(self, item: Item) -> float | None:
        """Frames a second of the frames; None is the source's own rate, whatever it is."""
        if not item.source.is_dir():
            return self.fps
        return self.folder_fps or self._source_fps(item)

    def stamp(self, item: Item) -> dict[str, Any]:
        """Rate and size of the frames, as a `FlowStamp` has them; None where they are unknown."""
        made = noted(item.source) if item.source.is_dir() else dataclasses.asdict(self)
        return {
            "fps": self.rate(item),
            "short_side": self.short_side or made.get("short_side"),
            "square_pixels": made.get("square_pixels"),
        }

    def _source_fps(self, item: Item) -> float | None:
        return self.source_fps or noted(item.source).get("fps") or item.fps


def noted(folder: Path) -> dict[str, Any]:
    """The `Pictures` that `extract_frames` made a folder with; empty for other folders."""
    marker = markers.read(folder)
    pictures = marker.get("parameters", {}).get("pictures", {})
    ours = marker.get("command") == "extract_frames" and isinstance(pictures, dict)
    return pictures if ours else {}
