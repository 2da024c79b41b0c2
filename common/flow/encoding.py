"""Flow as 8-bit levels, as it is kept in jpg files, and in [-1, 1], as networks see it.

Level p of 0..255 stands for p * 2B / 255 - B pixels, where B is the bound. No level is zero: flow 0
lies between 127 and 128, is stored as 128 and comes back as +B / 255, which is 0.078 px for a bound
of 20. This map is the field's (dense_flow, denseflow, Charades), so it stays.
"""

import numpy as np
from numpy.typing import NDArray

from common.preprocessing.contracts import FLOW_BOUND

BOUND = FLOW_BOUND


def to_levels(flow: NDArray[np.floating], bound: float = BOUND) -> NDArray[np.uint8]:
    """Converts flow in pixels, of any shape, to levels; `ValueError` for NaN and infinity.

    Rounds half to even and clips; inside the bound the error is at most bound / 255 pixels.
    """
    _check_finite(flow)
    exact = (flow.astype(np.float64) + bound) * (255 / (2 * bound))
    return np.clip(np.rint(exact), 0, 255).astype(np.uint8)


def to_pixels(levels: NDArray[np.uint8], bound: float = BOUND) -> NDArray[np.float32]:
    """Converts uint8 levels, of any shape, to flow in pixels, -bound..bound."""
    pixels = np.arange(256) * (2 * bound) / 255 - bound
    return np.asarray(pixels.astype(np.float32)[levels])


def to_unit(flow: NDArray[np.floating], bound: float = BOUND) -> NDArray[np.float32]:
    """Clips flow in pixels, of any shape, to [-1, 1] bounds; `ValueError` for NaN and infinity."""
    _check_finite(flow)
    unit = flow.astype(np.float32) / np.float32(bound)
    return np.asarray(np.clip(unit, -1, 1))


def _check_finite(flow: NDArray[np.floating]) -> None:
    if bad := flow.size - np.count_nonzero(np.isfinite(flow)):
        raise ValueError(f"flow must be finite: {bad} of {flow.size} values are NaN or infinite.")
