"""One interface to frames, wherever they come from: a video, images, an array, computed flow."""

import abc
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.flow.stamp import FlowStamp
from common.preprocessing import resizing

Picture = NDArray[Any]
"""[H, W, C]: uint8 RGB; or float32 flow, x and y, in [-1, 1], where 1 is 20 pixels."""


class FrameSource(abc.ABC):
    """The frames, or the flow, of one clip.

    Attributes:
        rate: Frames per second; None if nothing states it.
        stamp: How flow was made; None for RGB, and for flow that says nothing.
    """

    rate: float | None = None
    stamp: FlowStamp | None = None

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of frames. A video file is decoded for it, once, as headers are often wrong."""

    @abc.abstractmethod
    def pictures(self, indices: Sequence[int] | None = None) -> Iterator[Picture]:
        """Yields the pictures [H, W, C] of ascending indices, or of all.

        A frame of a video that is shown twice is the same array twice.

        Raises:
            ValueError: A file is damaged, or there is no such frame.
        """

    def __iter__(self) -> Iterator[Picture]:
        return self.pictures()

    def read(self, indices: Iterable[int], short_side: int | None = None) -> Picture:
        """Reads frames as one array [T, H, W, C]; each file is opened, or frame decoded, once.

        Args:
            indices: 0-based, in any order, repeated or not.
            short_side: Pixels that the shorter side is resized to; None keeps the size.

        Raises:
            ValueError: No index, none of this clip, a damaged file, or frames of several sizes.
        """
        wanted = [operator.index(index) for index in indices]
        if not wanted:
            raise ValueError(f"{self}: expected indices of frames. Received: none.")
        ascending = sorted(set(wanted))
        found: dict[int, Picture] = {}
        for index, picture in zip(ascending, self.pictures(ascending), strict=True):
            if short_side is not None:
                picture = resizing.resize_clip(picture[None], short_side)[0]
            found[index] = picture
        return np.stack([found[index] for index in wanted])

    def checked(self, indices: Sequence[int] | None) -> Sequence[int]:
        """Returns the ascending indices, None being all; `ValueError` for one that is not there."""
        indices = range(len(self)) if indices is None else indices
        for index in indices:
            if not 0 <= index < len(self):
                raise ValueError(
                    f"{self}: expected indices from 0 to {len(self) - 1}. Received: {index}."
                )
        return indices
