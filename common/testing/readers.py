"""A reader of clips that are made up, for tests."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.annotations import Record
from common.preprocessing.crops import Frames


def record(name: str, label: int = 0, **fields: Any) -> Record:
    """A record of one class."""
    return Record(name, f"{name}.avi", "validation", (label,), **fields)


class _Clip(list[int]):
    """The indices of a clip whose rate nothing states."""

    rate = None


class MadeUp:
    """Frames of made-up videos: each pixel of frame i has the value i, of flow i / 100.

    Args:
        totals: Frames of each video, by name.
        size: Height and width, pixels.
        broken: By name, the first frame that cannot be read.
    """

    def __init__(
        self,
        totals: Mapping[str, int],
        size: tuple[int, int] = (12, 16),
        broken: Mapping[str, int] | None = None,
    ):
        self.totals = totals
        self.size = size
        self.broken = broken or {}
        self.asked: list[tuple[str, tuple[int, ...]]] = []

    def count(self, record: Record, stream: str) -> int:
        if record.name not in self.totals:
            raise FileNotFoundError(f"{record.name}: there\nis nothing.")
        return self.totals[record.name]

    def read(self, record: Record, indices: Sequence[int], stream: str) -> Frames:
        self.asked.append((record.name, tuple(indices)))
        if max(indices) >= self.broken.get(record.name, 1000):
            raise ValueError(f"{record.name}: damaged.")
        values = np.array(indices)[:, None, None, None]
        if stream == "flow":
            return np.broadcast_to(values / 100, (len(indices), *self.size, 2)).astype(np.float32)
        return np.broadcast_to(values, (len(indices), *self.size, 3)).astype(np.uint8)

    def open(self, record: Record, stream: str) -> Any:
        return _Clip(range(self.count(record, stream)))
