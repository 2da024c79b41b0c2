import numpy as np
import pytest

from common.flow import encoding


@pytest.mark.parametrize("bound", [20.0, 7.3])
def test_every_level_comes_back(bound):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = encoding.to_pixels(levels, bound)
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(encoding.to_levels(pixels, bound), levels)


@pytest.mark.parametrize(
    ("flow", "bound", "levels"),
    [
        # 1 px is 127.5 + 6.375 = 133.875 levels; 0.0784 px is 127.9998, where truncation gives 127.
        ([0, -20, 20, 19.95, 1e9, -1e9, 1, -1, 0.0784, -0.0784, 0.08], 20,
         [128, 0, 255, 255, 255, 0, 134, 121, 128, 127, 128]),
        # A level is a pixel, so that halves are exact and go to the even level.
        ([-127, -126, -125, 0, 1, 2], 127.5, [0, 2, 2, 128, 128, 130]),
    ],
)  # fmt: skip
def test_levels_by_hand(flow, bound, levels):
    found = encoding.to_levels(np.float32(flow), bound)
    assert (found.tolist(), found.dtype) == (levels, np.uint8)


def test_pixels_by_hand():
    pixels = encoding.to_pixels(np.array([0, 127, 128, 255], np.uint8))
    np.testing.assert_allclose(pixels, [-20, -0.0784314, 0.0784314, 20], rtol=0, atol=1e-6)


def test_unit():
    flow = np.array([[0, 10], [-20, 25], [-1e9, 5]], np.float32)
    unit = encoding.to_unit(flow)
    np.testing.assert_array_equal(unit, np.array([[0, 0.5], [-1, 1], [-1, 0.25]], np.float32))
    assert unit.dtype == np.float32
    np.testing.assert_array_equal(encoding.to_unit(flow, 40)[0], np.float32([0, 0.25]))


@pytest.mark.parametrize("encode", [encoding.to_levels, encoding.to_unit])
def test_what_is_not_finite_is_an_error(encode):
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="1 of 6 values are NaN or infinite"):
            encode(np.float32([[0, 0, 0], [0, bad, 0]]))
