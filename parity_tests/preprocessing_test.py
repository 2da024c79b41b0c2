"""Resizing, crops, flips and value ranges: both backends against the NumPy reference."""

import dataclasses
import importlib

import numpy as np
import pytest

from common.preprocessing import crops, frames
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT
from parity_tests.conftest import NEEDS

# 8-bit noise is the worst case; float32 positions are least exact at 1080p.
SIZES = [(24, 33), (33, 24), (17, 17), (1, 9), (9, 1), (1, 1), (3, 2)]
SHORT_SIDES = [1, 7, 16, 17, 24, 40]
EXACT = [((24, 33), (16, 16)), ((9, 7), (31, 5)), ((1, 1), (3, 4)), ((5, 8), (1, 1)),
         ((2, 3), (2, 9)), ((4, 5), (4, 5)), ((240, 320), (128, 171)), ((360, 640), (256, 455)),
         ((1080, 1920), (256, 455)), ((1919, 1081), (454, 256))]  # fmt: skip
CROPS = [
    ((7, 10), 4),
    ((10, 7), 4),
    ((9, 9), 6),
    ((5, 8), 5),
    ((6, 6), 6),
    ((1, 1), 1),
    ((2, 9), 1),
]
CONTRACTS = [
    (RGB_CONTRACT, {}),
    (RGB_CONTRACT, {"value_range": (0.0, 1.0)}),
    (RGB_CONTRACT, {"mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)}),
    (FLOW_CONTRACT, {}),
    (FLOW_CONTRACT, {"value_range": (0.0, 1.0)}),
    (FLOW_CONTRACT, {"mean": (128.0, 120.0), "std": (64.0, 32.0)}),
]

dtypes = pytest.mark.parametrize("dtype", [np.uint8, np.float32])


@pytest.fixture(params=list(NEEDS))
def run(request):
    """Calls a function of a backend's `preprocessing` on channels-last NumPy arrays."""
    name = request.param
    framework = pytest.importorskip(NEEDS[name], reason=f"needs the extra {name!r}")
    module = importlib.import_module(f"i3d_{name}.preprocessing")

    def in_torch(function, clips, *args, **flags):
        tensor = framework.from_numpy(np.ascontiguousarray(np.moveaxis(clips, -1, 1)))
        # [..., C, T, H, W]: crops have an axis more.
        return np.moveaxis(getattr(module, function)(tensor, *args, **flags).numpy(), -4, -1)

    def in_tf(function, clips, *args, **flags):
        constant = importlib.import_module("tensorflow").constant(clips)
        return getattr(module, function)(constant, *args, **flags).numpy()

    return {"torch": in_torch, "tf": in_tf}[name]


def _clips(size, dtype, channels=3, batch=2):
    clips = np.random.default_rng(0).integers(0, 256, (batch, 3, *size, channels))
    if dtype == np.float32 and channels == 2:
        return ((clips - 127.5) / 4).astype(np.float32)  # Flow: up to 32 pixels either way.
    return clips.astype(dtype)


def _expected(function, clips, *args, **flags):
    return np.stack([function(clip, *args, **flags) for clip in clips])


def _assert_same(actual, expected):
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


def _assert_resized(actual, expected, side):
    """Allows 2e-7 of 255 for each pixel of the longer side; 1.1e-7 was measured."""
    assert actual.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-7 * 255 * side)


@dtypes
@pytest.mark.parametrize("short", SHORT_SIDES)
@pytest.mark.parametrize("size", SIZES)
def test_resize_short_side(run, size, short, dtype):
    clips = _clips(size, dtype)
    expected = _expected(frames.resize_short_side, clips, short)
    assert min(expected.shape[2:4]) == short
    _assert_resized(run("resize_short_side", clips, short), expected, max(size))


@dtypes
@pytest.mark.parametrize(("before", "after"), EXACT)
def test_resize(run, before, after, dtype):
    clips = _clips(before, dtype, batch=2 if before[0] < 400 else 1)
    actual = run("resize", clips, *after)
    _assert_resized(actual, _expected(frames.resize, clips, *after), max(before))
    if before == after:
        np.testing.assert_array_equal(actual, clips)


@dtypes
@pytest.mark.parametrize(("size", "crop"), CROPS)
def test_crops(run, size, crop, dtype):
    clips = _clips(size, dtype)
    for name in ("center_crop", "three_crop", "ten_crop"):
        _assert_same(run(name, clips, crop), _expected(getattr(crops, name), clips, crop))
    corner = crops.random_corner(*size, crop, np.random.default_rng(1))
    _assert_same(run("crop", clips, corner, crop), _expected(crops.crop, clips, corner, crop))


@dtypes
def test_flow_is_mirrored(run, dtype):
    clips = _clips((7, 10), dtype, channels=2)
    expected = _expected(crops.flip, clips, flow=True)
    assert not np.array_equal(expected, _expected(crops.flip, clips))
    _assert_same(run("flip", clips, flow=True), expected)
    _assert_same(
        run("ten_crop", clips, 4, flow=True), _expected(crops.ten_crop, clips, 4, flow=True)
    )
    _assert_same(run("flip", clips), _expected(crops.flip, clips))


@dtypes
@pytest.mark.parametrize(("contract", "change"), CONTRACTS)
def test_to_contract(run, contract, change, dtype):
    flow = contract is FLOW_CONTRACT
    contract = dataclasses.replace(contract, **change)
    clips = _clips((7, 10), dtype, channels=2 if flow else 3)
    expected = frames.to_contract(clips, contract)
    if not change:
        assert (expected.min(), expected.max()) == (-1, 1) or not flow
    _assert_same(run("to_contract", clips, contract), expected)


def test_defaults_are_the_same(run):
    clips = _clips((256, 260), np.uint8, batch=1)
    for name in ("center_crop", "three_crop", "ten_crop"):
        _assert_same(run(name, clips), _expected(getattr(crops, name), clips))
    assert run("resize_short_side", clips[:, :, :128]).shape == (1, 3, 256, 520, 3)
