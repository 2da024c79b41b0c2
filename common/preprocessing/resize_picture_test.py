import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.preprocessing import frames
from common.preprocessing.frames import resize_clip, resize_picture_short_side


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_the_bytes_are_those_of_the_reference(height, width, size, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    expected = np.rint(frames.resize_short_side(picture[None], size)[0]).astype(np.uint8)
    found = resize_picture_short_side(picture, size)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_nothing_is_done_to_a_picture_that_has_the_size():
    picture = np.zeros((16, 20, 3), np.uint8)
    assert resize_picture_short_side(picture, 16) is picture
    with pytest.raises(ValueError, match="at least 1"):
        resize_picture_short_side(picture, 0)


def test_flow_of_another_size_by_hand():
    """Twice the picture, twice the vectors, and no more than the bound."""
    flow = np.broadcast_to(np.float32([0.25, -0.75]), (2, 8, 12, 2))
    found = resize_clip(flow, 16)
    assert found.shape == (2, 16, 24, 2)
    np.testing.assert_array_equal(found, np.broadcast_to(np.float32([0.5, -1]), found.shape))
    assert resize_clip(flow, 8) is flow
    np.testing.assert_array_equal(resize_clip(flow, 4)[..., 0], np.full((2, 4, 6), 0.125))
