import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.flow import encoding

BOUNDS = [20.0, 15.0, 32.0, 7.3]


@pytest.mark.parametrize("bound", BOUNDS)
def test_every_level_comes_back(bound):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = encoding.to_pixels(levels, bound)
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(encoding.to_levels(pixels, bound), levels)


def test_levels_by_hand():
    flow = np.array([0, -20, 20, 19.95, 1e9, -1e9, 1, -1, 0.0784, -0.0784, 0.08], np.float32)
    # 1 px is 127.5 + 6.375 = 133.875 levels; 0.0784 px is 127.9998, where truncation gives 127.
    expected = [128, 0, 255, 255, 255, 0, 134, 121, 128, 127, 128]
    np.testing.assert_array_equal(encoding.to_levels(flow), expected)
    assert encoding.to_levels(flow).dtype == np.uint8


def test_halves_go_to_the_even_level():
    # With a bound of 127.5 a level is a pixel, so that halves are exact: -127 px is level 0.5.
    flow = np.array([-127, -126, -125, 0, 1, 2], np.float32)
    expected = [0, 2, 2, 128, 128, 130]
    np.testing.assert_array_equal(encoding.to_levels(flow, 127.5), expected)


def test_pixels_by_hand():
    pixels = encoding.to_pixels(np.array([0, 127, 128, 255], np.uint8))
    np.testing.assert_allclose(pixels, [-20, -0.0784314, 0.0784314, 20], rtol=0, atol=1e-6)
    assert (pixels[0], pixels[3]) == (-20, 20)
    assert pixels[2] == -pixels[1]


@given(st.floats(-20, 20, width=32))
def test_the_error_is_at_most_half_a_level(value):
    flow = np.array([value], np.float32)
    error = encoding.to_pixels(encoding.to_levels(flow)).astype(np.float64) - flow
    assert abs(error[0]) <= 20 / 255 + 1e-6


def test_unit():
    flow = np.array([[0, 10], [-20, 25], [-1e9, 5]], np.float32)
    unit = encoding.to_unit(flow)
    np.testing.assert_array_equal(unit, np.array([[0, 0.5], [-1, 1], [-1, 0.25]], np.float32))
    assert unit.dtype == np.float32
    np.testing.assert_array_equal(encoding.to_unit(flow, 40)[0], np.float32([0, 0.25]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("encode", [encoding.to_levels, encoding.to_unit])
def test_what_is_not_finite_is_an_error(encode, bad):
    flow = np.zeros((2, 3), np.float32)
    flow[1, 2] = bad
    with pytest.raises(ValueError, match="1 of 6 values are NaN or infinite"):
        encode(flow)


@pytest.mark.parametrize("bound", [0, -1, np.nan, np.inf])
def test_bounds_that_make_no_sense(bound):
    for encode in (encoding.to_levels, encoding.to_unit):
        with pytest.raises(ValueError, match="bound must be above 0"):
            encode(np.zeros(1, np.float32), bound)
    with pytest.raises(ValueError, match="bound must be above 0"):
        encoding.to_pixels(np.zeros(1, np.uint8), bound)


def test_levels_of_another_type_are_an_error():
    with pytest.raises(ValueError, match=r"uint8\. Received: int64"):
        encoding.to_pixels(np.zeros(1, np.int64))
