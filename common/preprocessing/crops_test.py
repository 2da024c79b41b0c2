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
    [((240, 320), 256, (256, 341)), ((256, 340), 256, (256, 340)), ((1920, 1080), 256, (455, 256)),
     ((300, 300), 256, (256, 256)), ((2, 5), 1, (1, 2)), ((2, 7), 1, (1, 4)), ((7, 2), 3, (10, 3)),
     ((1, 1), 5, (5, 5))],
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


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_crops_cut(dtype):
    clip = _numbered(7, 10).astype(dtype)
    np.testing.assert_array_equal(crops.crop(clip, (2, 5), 4), clip[:, 2:6, 5:9])
    np.testing.assert_array_equal(crops.center_crop(clip, 4), clip[:, 1:5, 3:7])
    np.testing.assert_array_equal(crops.center_crop(clip, 7), clip[:, :, 1:8])
    np.testing.assert_array_equal(
        crops.three_crop(clip, 4), [clip[:, 1:5, :4], clip[:, 1:5, 3:7], clip[:, 1:5, 6:]]
    )
    assert crops.three_crop(clip, 4).dtype == dtype


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


def test_a_flip_leaves_its_input_alone(rng):
    clip = rng.integers(0, 256, (2, 3, 5, 2), np.uint8)
    before = clip.copy()
    np.testing.assert_array_equal(crops.flip(clip), clip[:, :, ::-1])
    crops.flip(clip, flow=True)
    np.testing.assert_array_equal(clip, before)
    np.testing.assert_array_equal(crops.flip(crops.flip(clip, flow=True), flow=True), clip)


def test_a_flip_turns_the_x_of_flow(rng):
    flow = rng.normal(size=(2, 3, 5, 2)).astype(np.float32)
    flipped = crops.flip(flow, flow=True)
    assert flipped.dtype == np.float32
    np.testing.assert_array_equal(flipped[..., 0], -flow[:, :, ::-1, 0])
    np.testing.assert_array_equal(flipped[..., 1], flow[:, :, ::-1, 1])


def test_a_flip_of_stored_flow_is_exact():
    levels = np.arange(256)
    stored = np.stack([levels, levels], -1).astype(np.uint8)[None, None]
    flipped = crops.flip(stored, flow=True)
    assert flipped.dtype == np.uint8
    # v = p * 40 / 255 - 20, in 255ths of a pixel.
    pixels, mirrored = (x.astype(int) * 40 - 20 * 255 for x in (stored, flipped))
    np.testing.assert_array_equal(mirrored[0, 0, ::-1, 0], -pixels[0, 0, :, 0])
    np.testing.assert_array_equal(mirrored[0, 0, ::-1, 1], pixels[0, 0, :, 1])


def test_errors():
    clip = _numbered(7, 10)
    for cut in (
        lambda: crops.center_crop(clip, 8),
        lambda: crops.three_crop(clip, 8),
        lambda: crops.ten_crop(clip, 8),
        lambda: crops.crop(clip, (0, 0), 8),
    ):
        with pytest.raises(ValueError, match="cannot cut 8x8 out of frames of 7x10"):
            cut()
    with pytest.raises(ValueError, match="cannot cut 0x0"):
        crops.center_crop(clip, 0)
    for corner in ((-1, 0), (0, -1), (4, 0), (0, 7)):
        with pytest.raises(ValueError, match=r"4x4 at \(top, left\) = .* leaves frames of 7x10"):
            crops.crop(clip, corner, 4)
    with pytest.raises(ValueError, match=r"expected frames \[T, H, W, C\].*got shape \[7, 10, 1\]"):
        crops.center_crop(clip[0], 4)
    with pytest.raises(ValueError, match="short side must be at least 1"):
        crops.resized_size(7, 10, 0)
    with pytest.raises(ValueError, match="2 channels, x and y, got 1"):
        crops.flip(clip, flow=True)
    with pytest.raises(ValueError, match="uint8 or floating values, got int64"):
        crops.flip(np.zeros((1, 2, 2, 2), np.int64), flow=True)
