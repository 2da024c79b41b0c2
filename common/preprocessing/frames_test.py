import dataclasses

import numpy as np
import pytest

from common.preprocessing import crops, frames
from common.preprocessing.contracts import FLOW_CONTRACT, InputContract

# Up, down, both, one pixel before or after, and the size it has.
EXACT = [((9, 7), (31, 5)), ((1, 1), (3, 4)), ((5, 8), (1, 1)), ((2, 3), (2, 9)),
         ((4, 5), (4, 5)), ((45, 60), (32, 43))]  # fmt: skip


RGB = np.zeros((1, 30, 40, 3), np.float32)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _bilinear(clip, height, width):
    """Each pixel from its four neighbours, in float64, straight from the definition."""
    before_height, before_width = clip.shape[1:3]
    result = np.empty((len(clip), height, width, clip.shape[3]))
    for row in range(height):
        y = min(max((row + 0.5) * before_height / height - 0.5, 0), before_height - 1)
        top, bottom = int(y), min(int(y) + 1, before_height - 1)
        for column in range(width):
            x = min(max((column + 0.5) * before_width / width - 0.5, 0), before_width - 1)
            left, right = int(x), min(int(x) + 1, before_width - 1)
            result[:, row, column] = (
                (1 - y % 1) * (1 - x % 1) * clip[:, top, left]
                + (1 - y % 1) * (x % 1) * clip[:, top, right]
                + (y % 1) * (1 - x % 1) * clip[:, bottom, left]
                + (y % 1) * (x % 1) * clip[:, bottom, right]
            )
    return result


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("before", "after"), EXACT)
def test_resize_is_the_definition(rng, before, after, dtype):
    clip = rng.uniform(0, 255, (2, *before, 3)).astype(dtype)
    resized = frames.resize(clip, *after)
    assert resized.dtype == np.float32
    # Measured: 4.3e-5 of 255.
    np.testing.assert_allclose(resized, _bilinear(clip, *after), rtol=0, atol=1e-4)
    assert not np.shares_memory(resized, clip)


def test_resized_flow_has_longer_vectors(rng):
    # x is 3 and y is -5 pixels everywhere: twice the height, a third of the width.
    flow = np.broadcast_to(np.float32([3, -5]), (2, 6, 9, 2))
    resized = frames.resize_flow(flow, 12, 3)
    assert resized.shape == (2, 12, 3, 2)
    np.testing.assert_allclose(resized, np.broadcast_to([1, -10], resized.shape), rtol=1e-6)
    noise = rng.normal(size=(1, 5, 7, 2)).astype(np.float32)
    np.testing.assert_array_equal(frames.resize_flow(noise, 5, 7), noise)


def test_values_are_standardised_where_the_contract_has_a_mean():
    contract = InputContract(mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 5.0))
    pixels = np.array([[[[3, 10, 255]]]], np.uint8)
    expected = np.array([[[[1.0, 2.0, 50.4]]]], np.float32)
    np.testing.assert_allclose(frames.to_contract(pixels, contract), expected, rtol=1e-6)
    plain = frames.to_contract(pixels, InputContract(value_range=(0.0, 1.0)))
    np.testing.assert_allclose(plain, pixels / 255, rtol=1e-6)
    np.testing.assert_allclose(frames.to_range(pixels, 0, 1), plain, rtol=1e-6)
    np.testing.assert_allclose(frames.to_range(pixels), plain * 2 - 1, atol=1e-6)


def test_flow_is_clipped_and_divided():
    x = np.float32([0, 0.3, -7, 20, 20.5, -1e9])
    flow = np.stack([x, -x], -1)[None, None]
    fed = frames.to_contract(flow, FLOW_CONTRACT)
    expected = np.float32([0, 0.3, -7, 20, 20, -20]) / np.float32(20)
    assert fed.dtype == np.float32
    np.testing.assert_array_equal(fed, np.stack([expected, -expected], -1)[None, None])
    unit = dataclasses.replace(FLOW_CONTRACT, value_range=(0.0, 1.0))
    np.testing.assert_allclose(
        frames.to_contract(flow, unit)[0, 0, :, 0], expected / 2 + 0.5, rtol=0, atol=1e-7
    )


@pytest.mark.parametrize(
    "change",
    [{}, {"value_range": (0.0, 1.0)}, {"mean": (128.0, 120.0), "std": (64.0, 32.0)}],
    ids=["[-1, 1]", "[0, 1]", "mean"],
)
def test_stored_flow_is_fed_as_what_was_stored(change):
    contract = dataclasses.replace(FLOW_CONTRACT, **change)
    levels = np.arange(256).astype(np.uint8)
    stored = np.stack([levels, levels[::-1]], -1)[None, None]
    pixels = (stored * (40 / 255) - 20).astype(np.float32)
    fed = frames.to_contract(stored, contract)
    np.testing.assert_allclose(frames.to_contract(pixels, contract), fed, rtol=0, atol=1e-6)
    if not change:
        assert fed.min() == -1 and fed.max() == 1
        assert fed[0, 0, 128, 0] == pytest.approx(1 / 255, rel=1e-6)  # what zero is stored as
        turned = frames.to_contract(crops.flip(stored, flow=True), contract)
        np.testing.assert_array_equal(turned, crops.flip(fed, flow=True))
    if "mean" in change:
        np.testing.assert_allclose(fed[0, 0, :, 1], (levels[::-1] - 120.0) / 32, rtol=1e-6)


@pytest.mark.parametrize(
    ("convert", "text"),
    [
        (lambda: frames.to_contract(RGB, FLOW_CONTRACT), "for flow, 2 channels, got 3"),
        (lambda: frames.to_contract(RGB[..., :2], InputContract()), "for rgb, 3 channels, got 2"),
        (lambda: frames.to_contract(RGB[..., :2].astype(np.int32), FLOW_CONTRACT), "got int32"),
        (lambda: frames.resize_short_side(RGB[0]), r"\[T, H, W, C\]"),
        (lambda: frames.resize_short_side(RGB, 0), "at least 1"),
        (lambda: frames.resize(RGB, 2, 0), "cannot resize to 2x0"),
        (lambda: frames.resize_flow(np.zeros((1, 4, 4, 2), np.uint8), 2, 2), "uint8. Decode"),
        (lambda: frames.resize_flow(RGB, 2, 2), "got 3 channels"),
    ],
)
def test_errors(convert, text):
    with pytest.raises(ValueError, match=text):
        convert()
