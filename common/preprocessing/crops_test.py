import math

import numpy as np
import pytest

from common.preprocessing import crops


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _numbered(height, width, channels=1, frames=2):
    """Every value is another one."""
    count = frames * height * width * channels
    return np.arange(count, dtype=np.float32).reshape(frames, height, width, channels)


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [((240, 320), 256, (256, 341)), ((1920, 1080), 256, (455, 256)), ((2, 5), 1, (1, 2)),
     ((2, 7), 1, (1, 4)), ((7, 2), 3, (10, 3))],
)  # fmt: skip
def test_the_longer_side_is_rounded_halves_to_even(size, short_side, expected):
    assert crops.resized_size(*size, short_side) == expected


def test_corners():
    assert crops.center_corner(7, 10, 4) == (1, 3)
    assert crops.three_corners(7, 10, 4) == ((1, 0), (1, 3), (1, 6))
    assert crops.three_corners(10, 7, 4) == ((0, 1), (3, 1), (6, 1))
    assert crops.three_corners(6, 6, 4) == ((1, 0), (1, 1), (1, 2))
    assert crops.five_corners(7, 10, 4) == ((0, 0), (0, 6), (1, 3), (3, 0), (3, 6))
    assert crops.five_corners(1, 1, 1) == ((0, 0),) * 5


def test_random_corners_are_all_that_fit(rng):
    corners = {crops.random_corner(6, 9, 5, rng) for _ in range(300)}
    assert corners == {(top, left) for top in range(2) for left in range(5)}
    assert crops.random_corner(4, 4, 4, rng) == (0, 0)
    first, second = (crops.random_corner(99, 99, 5, np.random.default_rng(7)) for _ in range(2))
    assert first == second


def test_random_short_sides_and_flips(rng):
    assert {crops.random_short_side(rng, 5, 8) for _ in range(200)} == {5, 6, 7, 8}
    defaults = [crops.random_short_side(rng) for _ in range(2000)]
    assert (min(defaults), max(defaults)) == (256, 320)
    assert 900 < sum(crops.random_flip(rng) for _ in range(2000)) < 1100
    for low, high in ((0, 5), (6, 5)):
        with pytest.raises(ValueError, match=f"low {low} and high {high}"):
            crops.random_short_side(rng, low, high)


def test_crops_cut():
    clip = _numbered(7, 10)
    np.testing.assert_array_equal(crops.crop(clip, (2, 5), 4), clip[:, 2:6, 5:9])
    np.testing.assert_array_equal(crops.center_crop(clip, 4), clip[:, 1:5, 3:7])
    np.testing.assert_array_equal(
        crops.three_crop(clip, 4), [clip[:, 1:5, :4], clip[:, 1:5, 3:7], clip[:, 1:5, 6:]]
    )


def test_ten_crop_mirrors_the_first_five():
    clip = _numbered(7, 10, 3)
    ten = crops.ten_crop(clip, 4)
    assert ten.shape == (10, 2, 4, 4, 3)
    np.testing.assert_array_equal(
        ten[:5],
        [clip[:, :4, :4], clip[:, :4, 6:], clip[:, 1:5, 3:7], clip[:, 3:, :4], clip[:, 3:, 6:]],
    )
    np.testing.assert_array_equal(ten[5:], ten[:5, :, :, ::-1])
    flow = crops.ten_crop(clip[..., :2], 4, flow=True)
    np.testing.assert_array_equal(flow[5:, ..., 0], -ten[5:, ..., 0])
    np.testing.assert_array_equal(flow[5:, ..., 1], ten[5:, ..., 1])


def test_a_flip_turns_the_x_of_flow(rng):
    flow = rng.normal(size=(2, 3, 5, 2)).astype(np.float32)
    before = flow.copy()
    np.testing.assert_array_equal(crops.flip(flow), flow[:, :, ::-1])
    flipped = crops.flip(flow, flow=True)
    assert flipped.dtype == np.float32
    np.testing.assert_array_equal(flipped, flow[:, :, ::-1] * np.float32([-1, 1]))
    np.testing.assert_array_equal(flow, before)


SIZES = [(300, 64, 1), (64, 64, 1), (10, 4, 3), (7, 16, 1), (3, 4, 2), (1, 5, 3)]


@pytest.mark.parametrize(("total", "duration", "rate"), SIZES)
def test_a_random_window_is_even_and_inside_or_loops(total, duration, rate):
    first, second = (
        crops.random_window(total, duration, rate, np.random.default_rng([1, 2])) for _ in range(2)
    )
    assert first == second
    assert all(type(frame) is int for frame in first)
    if (duration - 1) * rate < total:
        assert first == list(range(first[0], first[0] + duration * rate, rate))
        assert first[-1] < total
    else:
        assert first == [k * rate % total for k in range(duration)]


def test_random_windows_begin_everywhere_equally_often(rng):
    starts = [crops.random_window(12, 3, 4, rng)[0] for _ in range(4000)]
    # Frames 0 to 3: the span is 9.
    counts = np.bincount(starts)
    assert len(counts) == 4 and counts.min() > 900 and counts.max() < 1100


def test_windows_by_hand():
    for size, expected in (
        ((10, 4, 1), [3, 4, 5, 6]),
        ((9, 4, 1), [2, 3, 4, 5]),  # one frame before the middle
        ((10, 3, 3), [1, 4, 7]),
        ((6, 3, 3), [0, 3, 0]),
    ):
        assert crops.center_window(*size) == expected
    for size, windows in (
        ((32, 16, 1, 16), [list(range(16)), list(range(16, 32))]),
        ((5, 3, 1, 3), [[0, 1, 2], [3, 4, 3]]),
        ((2, 5, 1, 5), [[0, 1, 0, 1, 0]]),
        ((5, 4, 1, 2), [[0, 1, 2, 3], [2, 3, 4, 2]]),  # ends at the first that is short
        ((6, 2, 1, 3), [[0, 1], [3, 4]]),  # a stride above the duration leaves frames out
        ((9, 2, 3, 1), [[0, 3], [3, 6], [6, 6]]),
    ):
        assert crops.sliding_windows(*size) == windows
    assert crops.even_windows(10, 4, 2, 3) == [[0, 2, 4, 6], [3, 5, 7, 9], [6, 8, 0, 2]]
    assert crops.even_windows(2, 3, 1, 4) == [[0, 1, 0], [0, 1, 0], [1, 0, 1], [1, 0, 1]]
    assert crops.whole(300, 250, least=9) == list(range(250))
    assert crops.whole(4, 250, least=9) == [0, 1, 2, 3, 0, 1, 2, 3, 0]


def test_frames_of_the_localisation_metric():
    assert crops.localisation_frames(10, 4) == [0, 2, 5, 7]
    # What is shown at j * length / 25, at 24 frames a second.
    for total in range(1, 300):
        length = total / 24
        shown = [math.floor(j * length / 25 * 24 + 1e-9) for j in range(25)]
        assert crops.localisation_frames(total) == shown


@pytest.mark.parametrize(
    ("cut", "text"),
    [
        (lambda clip: crops.center_crop(clip, 8), "cannot cut 8x8 out of frames of 7x10"),
        (lambda clip: crops.center_crop(clip, 0), "cannot cut 0x0"),
        (lambda clip: crops.crop(clip, (-1, 0), 4), r"4x4 at \(top, left\) = .* frames of 7x10"),
        (lambda clip: crops.crop(clip, (0, 7), 4), r"4x4 at \(top, left\) = .* frames of 7x10"),
        (lambda clip: crops.center_crop(clip[0], 4), r"frames \[T, H, W, C\].*shape \[7, 10, 1\]"),
        (lambda _: crops.resized_size(7, 10, 0), "short side must be at least 1"),
        (lambda _: crops.center_window(5, 0, 1), "duration must be at least 1 .* Received: 0"),
        (lambda _: crops.even_windows(5, 1, -1, 2), "rate must be at least 1 .* Received: -1"),
        (lambda clip: crops.flip(clip, flow=True), "2 channels, x and y, got 1"),
        (lambda _: crops.flip(np.zeros((1, 2, 2, 2), np.int64), flow=True), "got int64"),
    ],
)
def test_errors(cut, text):
    with pytest.raises(ValueError, match=text):
        cut(_numbered(7, 10))
