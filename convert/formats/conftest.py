"""Fixtures of the format tests: small made-up checkpoints."""

from collections.abc import Callable

import numpy as np
import pytest

from convert.arrays import Array


@pytest.fixture
def arrays() -> dict[str, Array]:
    """Arrays of many kinds (transposed, scalar, empty, big-endian, ...), names out of order."""
    random = np.random.default_rng(0)
    return {
        "w": random.normal(size=(3, 1, 2, 4, 5)).astype(np.float32).transpose(4, 3, 0, 1, 2),
        "b/c": random.normal(size=5).astype(np.float32),
        "a": np.array(7, np.int64),
        "empty": np.zeros((0, 4), np.float32),
        "big": np.arange(6, dtype=">i4").reshape(2, 3),
        "half": np.array([1.5, -2.0], np.float16),
        "double": np.array([1 / 3, -1e300]),
        "mask": np.array([True, False, True]),
        "bytes": np.arange(5, dtype=np.uint8)[::2],
    }


@pytest.fixture
def same() -> Callable[[dict[str, Array], dict[str, Array]], None]:
    """Asserts equal names, shapes, types (except byte order) and values."""

    def check(got: dict[str, Array], expected: dict[str, Array]) -> None:
        assert sorted(got) == sorted(expected)
        for name, array in expected.items():
            assert got[name].dtype == array.dtype.newbyteorder("<"), name
            np.testing.assert_array_equal(got[name], array, err_msg=name, strict=False)
            assert got[name].shape == array.shape, name

    return check
