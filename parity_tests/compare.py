"""Comparison of results: largest difference over largest value; NaN fails."""

from collections.abc import Mapping

import numpy as np

TOLERANCE = 1e-5
"""max |difference| / max |value| in float32 on a CPU; at most 3e-6 was measured."""


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Returns max |difference| / max |expected|; inf if a value is not finite."""
    if actual.shape != expected.shape:
        raise AssertionError(f"shapes differ: {actual.shape} against {expected.shape}")
    if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
        return np.inf
    scale = np.abs(expected).max()
    if scale == 0:
        raise AssertionError("the expected values are all zero, which proves nothing")
    difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max()
    return float(difference / scale)


def assert_close(
    actual: np.ndarray, expected: np.ndarray, what: str, tolerance: float = TOLERANCE
) -> None:
    """Fails, naming `what`, if the relative error exceeds `tolerance`."""
    error = relative_error(actual, expected)
    assert error <= tolerance, f"{what}: relative error {error:.2e} is above {tolerance:.0e}"


def assert_all_close(
    actual: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    tolerance: float = TOLERANCE,
) -> None:
    """Compares arrays by name; names and their order must be equal."""
    assert list(actual) == list(expected)
    for name in expected:
        assert_close(actual[name], expected[name], name, tolerance)
