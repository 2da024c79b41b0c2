"""Squares around boxes, and what is cut out of frames."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.features.boxes import check, cut, squares
from common.features.tracklets import Tracklet
from common.preprocessing import frames


@pytest.mark.parametrize(
    ("boxes", "options", "expected"),
    [
        # 40x60 becomes 60x60: 10 more on its left and right.
        ([[100, 50, 140, 110]], {}, [[90, 50, 150, 110]]),
        ([[100, 50, 107, 60]], {}, [[99, 50, 109, 60]]),  # the odd pixel is on the right
        ([[10.4, 10.4, 20.6, 20.4]], {}, [[11, 10, 21, 20]]),
        ([[5, 5, 5.1, 5.2]], {}, [[5, 5, 6, 6]]),
        # Shifted into the picture.
        ([[-30, -20, 10, 20], [310, 230, 350, 260]], {}, [[0, 0, 40, 40], [280, 200, 320, 240]]),
        # Shrunk to the shorter side.
        ([[50, 0, 310, 240]], {}, [[60, 0, 300, 240]]),  # 260 wide, centred at 180
        ([[-1e30, -1, 1e30, 1]], {}, [[0, 0, 240, 240]]),  # at 0
        # A quarter of 40 on the left and right, and of 60 above and below: 60x90.
        ([[100, 50, 140, 110]], {"margin": 0.25}, [[75, 35, 165, 125]]),
        # All boxes together are 90x50.
        (
            [[100, 50, 140, 90], [150, 60, 190, 100], [120, 55, 130, 60]],
            {"policy": "union", "margin": 0.1},
            [[91, 21, 199, 129]] * 3,
        ),
    ],
)
def test_squares_by_hand(boxes, options, expected):
    assert squares(np.array(boxes, np.float32), 240, 320, **options).tolist() == expected


def test_a_moving_box_keeps_its_size():
    moved = np.float32([10, 20, 40.25, 30])[None] + np.arange(0, 8, 0.125, np.float32)[:, None]
    found = squares(moved, 240, 320)
    assert (found[:, 2:] - found[:, :2] == 30).all()
    assert (np.diff(found[:, 0]) >= 0).all() and found[-1, 0] - found[0, 0] == 8


_sides = st.integers(1, 300)
_places = st.floats(-400, 400, width=32)
_lengths = st.floats(0.125, 500, width=32)


@settings(max_examples=300, deadline=None)
@given(_sides, _sides, _places, _places, _lengths, _lengths, st.floats(0, 1))
def test_any_square_lies_in_the_picture_and_is_centred_where_it_can(
    height, width, left, upper, across, down, margin
):
    box = np.float32([[left, upper, left + across, upper + down]])
    try:
        check(Tracklet("x", 0, box), height, width, Path("a"))
    except ValueError:
        return
    ((x0, y0, x1, y1),) = squares(box, height, width, margin=margin)
    side = max(box[0, 2] - box[0, 0], box[0, 3] - box[0, 1]) * (1 + 2 * margin)
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    assert x1 - x0 == y1 - y0 <= min(height, width)
    assert abs(x1 - x0 - min(side, height, width)) <= 0.5001 or x1 - x0 == 1
    for begin, end, center, length in (
        (x0, x1, box[0, [0, 2]].mean(dtype=np.float64), width),
        (y0, y1, box[0, [1, 3]].mean(dtype=np.float64), height),
    ):
        edge = begin == 0 and center <= end / 2 + 0.5
        edge |= end == length and center >= (begin + end) / 2 - 0.5
        assert edge or abs((begin + end) / 2 - center) <= 0.5


@pytest.mark.parametrize(
    "outside", [[-20, 0, 0, 9], [320, 0, 330, 9], [0, -9, 9, 0], [0, 240, 9, 250]]
)
def test_boxes_outside_the_picture_are_named(outside):
    boxes = np.array([[0, 0, 9, 9], [319, 239, 400, 400], outside], np.float32)
    with pytest.raises(ValueError, match=r"^a: .*'x', frame 42: expected a box .* 240x320 .*\["):
        check(Tracklet("x", 40, boxes), 240, 320, Path("a"))
    check(Tracklet("x", 40, boxes[:2]), 240, 320, Path("a"))


@pytest.mark.parametrize("size", [5, 20, 33])
def test_rgb_is_interpolated(size):
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    piece = picture[None, 3:23, 30:50]
    expected = np.rint(frames.resize(piece, size, size)[0]).astype(np.uint8)
    found = cut(picture, np.array([30, 3, 50, 23]), size)
    np.testing.assert_array_equal(found, expected, strict=True)
    assert not np.shares_memory(found, picture)


def test_rgb_by_hand():
    """Half the size: the means of 2x2 pixels, rounded half to even."""
    picture = np.uint8([[9, 9, 9, 9], [9, 0, 2, 9], [9, 4, 8, 9], [9, 9, 9, 9]])[..., None]
    assert cut(picture, (1, 1, 3, 3), 1).tolist() == [[[4]]]  # 3.5
    assert cut(picture, (2, 0, 4, 2), 1).tolist() == [[[7]]]  # 7.25


def test_vectors_of_flow_scale_with_the_sides():
    flow = np.broadcast_to(np.float32([0.25, -0.75]), (30, 40, 2))
    twice = cut(flow, (10, 10, 20, 20), 20)
    np.testing.assert_array_equal(twice, np.broadcast_to(np.float32([0.5, -1]), (20, 20, 2)))
    half = cut(flow, (10, 10, 30, 30), 10)
    np.testing.assert_array_equal(half, np.broadcast_to(np.float32([0.125, -0.375]), (10, 10, 2)))
    assert half.dtype == twice.dtype == np.float32
