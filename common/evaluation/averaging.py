"""From the logits of views to those of a video, or of its frames."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.evaluation.reading import View

Floats = NDArray[np.float32]


class ClipAverage:
    """Mean over the views of a video, in float64.

    Args:
        how: "logits"; or "softmax", the logarithm of the mean of the views' probabilities.
    """

    def __init__(self, how: str):
        self._how = how
        self._views = 0
        self._sum: NDArray[np.float64] | None = None

    def add(self, view: View, logits: Floats) -> None:
        """Counts the logits [K] of a view."""
        values = logits.astype(np.float64)
        with np.errstate(invalid="ignore"):  # `result` refuses what is not finite
            if self._how == "softmax":
                values -= np.logaddexp.reduce(values)
            if self._sum is None:
                self._sum = values
            elif self._how == "softmax":  # in logarithms, which no small probability leaves
                self._sum = np.logaddexp(self._sum, values)
            else:
                self._sum += values
        self._views += 1

    def result(self) -> Floats:
        """Logits [K]; raises `ValueError` where they are not finite, or there was no view."""
        if self._sum is None:
            raise ValueError("there is no view of it.")
        mean = (
            self._sum - np.log(self._views) if self._how == "softmax" else self._sum / self._views
        )
        return _finite(mean.astype(np.float32))


@dataclasses.dataclass(frozen=True)
class FrameResult:
    """What was asked of a video.

    Attributes:
        video: [K], the largest logits of any frame.
        moments: [P, K], of the frames that were asked for.
    """

    video: Floats
    moments: Floats


class FrameAverage:
    """Mean logits of each frame, over the views that show it.

    Args:
        total: Frames of the video.
        rate: Every so-many-th is in a view; one between takes the logits of the nearest.
        moments: The frames asked for.
    """

    def __init__(self, total: int, rate: int, moments: Sequence[int]):
        self._rate = rate
        self._moments = np.array(moments, np.intp)
        self._views = np.zeros(total, np.intp)
        self._sums: Floats | None = None

    def add(self, view: View, logits: Floats) -> None:
        """Counts the logits [T, K] of a view."""
        if self._sums is None:
            self._sums = np.zeros((len(self._views), logits.shape[1]), np.float32)
        # A clip that loops shows a frame again, out of place: only its first time counts.
        indices, first = np.unique(np.array(view.indices), return_index=True)
        self._sums[indices] += logits[first]
        self._views[indices] += 1

    def result(self) -> FrameResult:
        """The logits; raises `ValueError` where some are not finite, or a moment is in no view."""
        shown = np.flatnonzero(self._views)
        if self._sums is None:
            raise ValueError("there is no view of it.")
        after = np.searchsorted(shown, self._moments).clip(0, len(shown) - 1)
        before = (after - 1).clip(0)
        distances = np.abs(shown[[before, after]] - self._moments)
        nearest = np.where(distances[0] <= distances[1], before, after)
        far = np.min(distances, axis=0) >= self._rate
        if far.any():
            raise ValueError(
                f"frame {self._moments[far][0]} is in no view of it. Use the protocol every_frame."
            )
        logits = _finite((self._sums[shown] / self._views[shown, None]).astype(np.float32))
        return FrameResult(logits.max(axis=0), logits[nearest])


def _finite(logits: Floats) -> Floats:
    if not np.isfinite(logits).all():
        raise ValueError("its logits are not finite. Check the weights.")
    return logits
