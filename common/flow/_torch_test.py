"""What only the batched engine has; all engines are compared in `flow_test.py`."""

import shutil

import cv2
import numpy as np
import pytest

from common import video
from common.flow import TVL1Params, _opencv
from common.preprocessing import frames

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from common.flow import _torch  # noqa: E402

SIZE = (96, 128)
QUICK = TVL1Params(scales=3, warps=2)


def texture(size=SIZE, seed=0):
    """Smooth random grey, uint8."""
    noise = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    smooth = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (2, 4, 8))
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def moved(picture, degrees=0.0, zoom=1.0, shift=(0.0, 0.0)):
    height, width = picture.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, zoom)
    matrix[:, 2] += shift
    return cv2.warpAffine(
        picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )


def pairs(seed=0, size=SIZE):
    """Pairs [6, H, W] that take differently long: no motion, some, and no picture alike."""
    first = [texture(size, seed + each) for each in range(6)]
    second = [
        first[0],
        moved(first[1], shift=(3, -2)),
        texture(size, seed + 100),
        moved(first[3], degrees=3),
        moved(first[4], zoom=1.04),
        np.full_like(first[5], 128),
    ]
    return np.stack(first), np.stack(second)


def distances(found, expected):
    """Mean and 99th percentile of the end-point difference, pixels."""
    distance = np.linalg.norm(np.asarray(found) - expected, axis=-1)
    return distance.mean(), np.percentile(distance, 99)


def smooth_flow(rng, pixels):
    noise = rng.normal(size=(*SIZE, 2)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 3) * np.float32(10 * pixels)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize(
    "motion",
    [{"shift": (3, -2)}, {"shift": (-1.4, 0.7)}, {"degrees": 3}, {"zoom": 1.05}, {"zoom": 0.96}],
)
def test_agrees_with_opencv(device, motion):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    first = np.stack([texture(seed=seed) for seed in range(3)])
    second = np.stack([moved(each, **motion) for each in first])
    found = _torch.tvl1_batch(first, second, device=device).cpu().numpy()
    for pair in range(3):
        expected = _opencv.flow(first[pair], second[pair], TVL1Params())
        assert np.abs(expected).max() > 0.5
        mean, high = distances(found[pair], expected)
        assert mean <= 0.02
        assert high <= 0.15


def test_a_batch_is_its_pairs():
    """Bit for bit, whether neighbours take shorter or longer."""
    first, second = pairs(size=(61, 83))
    together = _torch.flow(first, second, TVL1Params())
    for pair in range(len(first)):
        alone = _torch.flow(first[pair : pair + 1], second[pair : pair + 1], TVL1Params())
        np.testing.assert_array_equal(together[pair], alone[0])


@pytest.mark.parametrize("block", [2, 7, 10, 30, 100])
@pytest.mark.parametrize(
    "params", [QUICK, TVL1Params(scales=1, warps=1, inner_iterations=13, median=3)]
)
def test_blocks_change_nothing(monkeypatch, block, params):
    """In a block, pairs that have converged wait for the others: as if they had stopped."""
    first, second = pairs(size=(40, 50))
    expected = _torch.tvl1_batch(first, second, params)
    monkeypatch.setattr(_torch, "_compiled", lambda function: function)
    monkeypatch.setattr(_torch, "_BLOCK", block)
    found = _torch.tvl1_batch(first, second, params, compiled=True)
    np.testing.assert_array_equal(found, expected)


def test_pairs_that_have_converged_leave(monkeypatch):
    sizes = []

    def counted(u, *rest):
        sizes.append(len(u))
        return iterate(u, *rest)

    iterate = _torch._iterate
    monkeypatch.setattr(_torch, "_iterate", counted)
    _torch.tvl1_batch(*pairs(), TVL1Params(scales=1, warps=1))
    assert sizes[0] == 6
    assert sizes == sorted(sizes, reverse=True)
    assert sizes.count(1) > 100  # one pair shows nothing that the other shows


@pytest.mark.slow
def test_compiled_is_the_same_but_for_rounding():
    if not (shutil.which("g++") or shutil.which("c++")):
        pytest.skip("needs a C++ compiler")
    first, second = (each[[1, 4]] for each in pairs())  # not sensitive to rounding
    found = _torch.tvl1_batch(first, second, compiled=True)
    assert _torch._compiled(_torch._iterate).call is not _torch._iterate  # no fall back
    eager = _torch.tvl1_batch(first, second)
    mean, high = distances(found, eager.numpy())
    assert mean <= 1e-3
    assert high <= 5e-3


def test_without_a_compiler_it_is_slower_and_says_so_once(monkeypatch, caplog):
    from torch._dynamo.exc import TorchDynamoException

    def uncompilable(function, dynamic):
        def call(*values):
            raise TorchDynamoException("no compiler")

        return call

    monkeypatch.setattr(torch, "compile", uncompilable)
    compiled = {each: _torch._Compiled(each) for each in (_torch._iterate, _torch._median)}
    monkeypatch.setattr(_torch, "_compiled", compiled.__getitem__)
    first, second = pairs(size=(40, 50))
    found = _torch.tvl1_batch(first, second, QUICK, compiled=True)
    np.testing.assert_array_equal(found, _torch.tvl1_batch(first, second, QUICK))
    said = [text for text in caplog.messages if "no compiler" in text]
    assert len(said) == 1
    assert "triton" in said[0]


@pytest.mark.parametrize("size", [(256, 340), (341, 256), (97, 131), (33, 50)])
@pytest.mark.parametrize("step", [0.8, 0.5, 0.73])
def test_pyramid_is_opencvs(size, step):
    picture = texture(size).astype(np.float32)
    both = torch.tensor(np.stack([picture, picture[::-1]]))[None]
    levels = _torch._pyramid(both, TVL1Params(scale_step=step, scales=20))
    for level in levels[1:]:
        picture = cv2.resize(picture, None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(level[0, 0], picture, rtol=0, atol=1e-3)  # of 255
    smallest = min(levels[-1].shape[2:])
    assert smallest >= 16
    assert round(smallest * step) < 16


@pytest.mark.parametrize("pixels", [1, 30])
def test_warping_is_opencvs(pixels):
    picture = texture().astype(np.float32)
    u = smooth_flow(np.random.default_rng(0), pixels)
    ys, xs = np.indices(SIZE, dtype=np.float32)
    expected = cv2.remap(picture, xs + u[..., 0], ys + u[..., 1], interpolation=cv2.INTER_CUBIC)
    found = _torch._warp(torch.tensor(picture)[None, None], torch.tensor(u).permute(2, 0, 1)[None])
    assert pixels < 30 or (expected == 0).mean() > 0.1  # much is outside the picture
    np.testing.assert_allclose(found[0, 0], expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("size", [SIZE, (2, 2), (3, 9)])
def test_median_is_opencvs(side, size):
    noise = np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32).round(1)
    found = _torch._median(torch.tensor(noise), side)
    for pair in range(2):
        for channel in range(3):
            expected = cv2.medianBlur(noise[pair, channel], side)
            np.testing.assert_array_equal(found[pair, channel], expected)


def test_what_it_takes_and_returns():
    first, second = pairs(size=(40, 50))
    expected = _torch.tvl1_batch(torch.tensor(first), torch.tensor(second), QUICK)
    assert expected.shape == (6, 40, 50, 2)
    assert expected.dtype == torch.float32
    assert expected.is_contiguous()
    first.flags.writeable = second.flags.writeable = False
    backwards = _torch.flow(first[::-1], second[::-1], QUICK)[::-1]
    as_float = _torch.flow(first.astype(np.float32), second.astype(np.float32), QUICK)
    for found in (_torch.flow(first, second, QUICK), backwards, as_float):
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, expected)
    assert expected[0].abs().max() == 0  # The same picture has not moved at all.


def test_an_empty_batch():
    assert _torch.tvl1_batch(
        np.zeros((0, 20, 30), np.uint8), np.zeros((0, 20, 30), np.uint8)
    ).shape == (0, 20, 30, 2)


def test_the_size_of_the_levels_may_be_the_same():
    first, second = pairs(size=(40, 40))
    params = TVL1Params(scale_step=0.99, scales=4, warps=2)
    found = _torch.flow(first[1:2], second[1:2], params)
    expected = _opencv.flow(first[1], second[1], params)
    assert distances(found[0], expected)[0] <= 0.02


GREY = np.zeros((2, 20, 30), np.uint8)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (GREY[0], GREY[0], r"grey frames \[N, H, W\].*\[20, 30\], torch.uint8"),
        (GREY.astype(np.float64), GREY, "float64"),
        (GREY, GREY[:1], r"Expected: \[2, 20, 30\], torch.uint8. Received: \[1, 20, 30\]"),
        (GREY, GREY.astype(np.float32), "one size and type"),
        (GREY[:, :1], GREY[:, :1], r"at least 2x2 pixels. Received: \[1, 30\]"),
        (GREY.astype(np.float32), GREY.astype(np.float32) + np.nan, "NaN or infinity"),
    ],
)
def test_wrong_frames(first, second, text):
    with pytest.raises(ValueError, match=text):
        _torch.tvl1_batch(first, second)


@pytest.mark.slow
@pytest.mark.parametrize(
    "file", ["arm_wrestling.mp4", "apply_eye_makeup.avi", "v_CricketShot_g04_c01_rgb.gif"]
)
def test_agrees_with_opencv_on_real_videos(real_data, file):
    grey = []
    for frame in video.read_frames(real_data(f"samples/{file}"), fps=25, start=1, max_frames=3):
        resized = np.rint(frames.resize_short_side(frame[None], 256)[0]).astype(np.uint8)
        grey.append(cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY))
    found = _torch.flow(np.stack(grey[:-1]), np.stack(grey[1:]), TVL1Params())
    for pair in range(2):
        expected = _opencv.flow(grey[pair], grey[pair + 1], TVL1Params())
        mean, high = distances(found[pair], expected)
        assert mean <= 0.02
        assert high <= 0.15
