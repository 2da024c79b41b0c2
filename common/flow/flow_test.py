"""All engines: known motion, agreement with OpenCV's, and what they refuse."""

import importlib.util
import itertools
import subprocess
import sys

import cv2
import numpy as np
import pytest

from common import flow, video
from common.flow import TVL1Params
from common.preprocessing import frames

# How far from OpenCV's engine ours may be on real videos, in pixels: end-point difference.
MEAN, NINETY_NINTH = 0.02, 0.15


def _available(name):
    if name == "torch":
        pytest.importorskip("torch", reason="needs PyTorch")
    return name


@pytest.fixture(params=["opencv", "numba", "torch"])
def engine(request):
    return _available(request.param)


@pytest.fixture(params=["numba", "torch"])
def ours(request):
    return _available(request.param)


def texture(height, width, seed=0):
    """Smooth random grey, float32 0 to 255."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    smooth = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (2, 4, 8))
    smooth -= smooth.min()
    return np.minimum(np.float32(255) * smooth / smooth.max(), np.float32(255))


def moved(picture, matrix):
    """The picture whose pixel at x is seen at matrix @ x afterwards."""
    height, width = picture.shape
    warped = cv2.warpAffine(
        picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    return np.clip(warped, 0, 255)


def rotation(height, width, degrees):
    return cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)


def check_near(found, expected):
    distance = np.linalg.norm(found - expected, axis=-1)
    assert distance.mean() <= MEAN
    assert np.percentile(distance, 99) <= NINETY_NINTH


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (-1.5, 2.25)])
def test_a_translation_is_found(engine, dx, dy):
    first = texture(96, 128)
    second = moved(first, np.array([[1, 0, dx], [0, 1, dy]], np.float64))
    found = flow.tvl1(first, second, engine=engine)
    assert found.shape == (96, 128, 2)
    assert found.dtype == np.float32
    inside = found[12:-12, 12:-12] - (dx, dy)
    assert np.abs(inside).max() < 0.25
    assert np.abs(inside).mean() < 0.05


def test_a_rotation_is_found(engine):
    first = texture(96, 128)
    matrix = rotation(96, 128, 3)
    found = flow.tvl1(first, moved(first, matrix), engine=engine)
    xs, ys = np.meshgrid(np.arange(128), np.arange(96))
    expected = np.stack([xs, ys, np.ones_like(xs)], -1) @ matrix.T - np.stack([xs, ys], -1)
    assert np.linalg.norm((found - expected)[12:-12, 12:-12], axis=-1).mean() < 0.1
    assert np.abs(flow.tvl1(first, first, engine=engine)).max() < 1e-3


def test_agrees_with_opencv(ours):
    whole = texture(101, 123)
    matrix = rotation(101, 123, 2)
    matrix += [[0.02, 0, 1], [0, 0.02, -1]]
    # Cut out, so that what leaves the picture on one side comes in on the other.
    pair = [
        np.rint(frame[20:-20, 20:-20]).astype(np.uint8) for frame in (whole, moved(whole, matrix))
    ]
    found, expected = (flow.tvl1(*pair, engine=each) for each in (ours, "opencv"))
    # Usually 1e-5. Where the picture comes in there is nothing to find, and rounding decides; it
    # may also make an engine stop an iteration earlier.
    check_near(found[10:-10, 10:-10], expected[10:-10, 10:-10])


@pytest.mark.parametrize(
    "params",
    [
        TVL1Params(scales=1, warps=1, epsilon=1e-9, outer_iterations=2, median=3),
        TVL1Params(scales=2, warps=1, lambda_=0.3, theta=0.2, tau=0.1, scale_step=0.5, median=1),
        TVL1Params(scales=2, warps=1, scale_step=0.998),  # levels of one size
    ],
)
def test_before_differences_grow_they_are_those_of_rounding(ours, params):
    """One warp: no decision hangs on the last digits."""
    first, second = texture(70, 90), texture(70, 90, seed=1) * 0.2 + texture(70, 90) * 0.8
    pair = [np.rint(frame).astype(np.uint8) for frame in (first, second)]
    found = flow.tvl1(*pair, params, engine=ours)
    expected = flow.tvl1(*pair, params, engine="opencv")
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("size", [(2, 2), (17, 3), (33, 129)])
def test_small_and_odd_sizes(engine, size):
    first, second = texture(*size), texture(*size, seed=1)
    found = flow.tvl1(first, second, TVL1Params(warps=1), engine)
    assert found.shape == (*size, 2)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("settings", [{"threads": 1}, {"threads": 3}, {"batch": 2}])
def test_a_video_is_its_pairs_in_order(settings):
    engine = _available("torch" if "batch" in settings else "numba")
    quick, taken = TVL1Params(scales=1, warps=1), []
    pictures = [np.rint(texture(40, 50, seed=seed)) for seed in range(6)]
    whole = [picture.astype(np.uint8) for picture in pictures]  # the same in both types
    singles = [flow.tvl1(*pair, quick, engine) for pair in itertools.pairwise(whole)]

    def frames():
        buffer = np.empty_like(pictures[0])  # that is filled again and again
        for picture in pictures:
            np.copyto(buffer, picture)
            taken.append(picture)
            yield buffer

    together = flow.flows(frames(), quick, engine, **settings)
    first = next(together)
    assert len(taken) <= sum(settings.values()) + 2  # frames are taken as they are needed
    np.testing.assert_allclose([first, *together], singles, atol=1e-5)


@pytest.mark.parametrize(("cuda", "engine"), [(False, "numba"), (True, "torch")])
def test_the_engine_that_auto_means(monkeypatch, cuda, engine):
    monkeypatch.setattr(flow, "_cuda", lambda: cuda)
    assert flow.resolve("auto") == engine


def test_nothing_loads_a_framework_or_a_compiler_before_it_is_used():
    code = (
        "import sys, common.flow; print({'torch', 'numba', 'cv2', 'tensorflow'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


GREY = np.zeros((20, 30), np.uint8)


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ([np.zeros((20, 30, 3), np.uint8), GREY], r"grey frames \[H, W\].*\[20, 30, 3\]"),
        ([GREY, GREY[:10]], r"one size.*\[10, 30\] of uint8 after \[20, 30\] of uint8"),
        ([GREY, GREY.astype(np.float32)], "one size and type"),
        ([GREY[:1], GREY[:1]], "at least 2x2"),
        ([GREY.astype(np.float32) + np.nan], "nan"),
        ([GREY + np.float32(0.25)], "0.25 to 0.25"),
        ([GREY], r"at least two frames. Received: 1"),
        ([], r"at least two frames. Received: 0"),
    ],
)
def test_wrong_frames(frames, text):
    with pytest.raises(ValueError, match=text):
        list(flow.flows(frames, engine="numba"))


def test_wrong_engines(monkeypatch):
    with pytest.raises(ValueError, match=r"auto or one of opencv, numba, torch. Received: 'cuda'"):
        flow.tvl1(GREY, GREY, engine="cuda")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"i3d\[torch\]"):
        flow.tvl1(GREY, GREY, engine="torch")


def test_parameters_from_texts():
    assert TVL1Params.with_values(["tau=0.2", "warps=3"]) == TVL1Params(tau=0.2, warps=3)
    for wrong in ("speed=3", "warps=2.5", "warps", "tau="):
        with pytest.raises(ValueError, match=rf"NAME=VALUE.*tau, lambda_.*Received: '{wrong}'"):
            TVL1Params.with_values([wrong])
    for wrong, text in {
        "median=4": "median 1, 3 or 5. Received: 0.8 and 4",
        "tau=0": "tau must be above 0",
        "warps=0": "warps must be at least 1",
        "epsilon=nan": "epsilon must be above 0",
        "scale_step=1": "scale_step must be below 1",
    }.items():
        with pytest.raises(ValueError, match=text):
            TVL1Params.with_values([wrong])


def grey_frames(path, count):
    """As in preparation: 25 frames a second, short side 256, grey."""
    for frame in video.read_frames(path, fps=25, max_frames=count):
        yield frames.to_grey(np.rint(frames.resize_short_side(frame[None], 256)[0]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "file", ["arm_wrestling.mp4", "apply_eye_makeup.avi", "v_CricketShot_g04_c01_rgb.gif"]
)
def test_agrees_with_opencv_on_real_videos(real_data, ours, file):
    pictures = list(grey_frames(real_data(f"samples/{file}"), 4))
    found = np.stack(list(flow.flows(pictures, engine=ours)))
    expected = np.stack(list(flow.flows(pictures, engine="opencv", threads=2)))
    check_near(found, expected)


@pytest.mark.slow
def test_the_published_flow_is_as_near_as_opencvs(real_data):
    """DeepMind's flow GIF: value / 255 - 0.5 is x, y in units of 20 px; it ends at half of it."""

    def arrays(stream):
        path = real_data(f"samples/v_CricketShot_g04_c01_{stream}.gif")
        return np.stack(list(video.read_frames(path)))

    pictures = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in arrays("rgb")]
    published = arrays("flow")[:-1, ..., :2].astype(np.float32) / 255 - 0.5
    found = np.stack(list(flow.flows(pictures, engine="numba", threads=2)))
    shown = np.clip(found / 20, -0.5, 0.5)
    # OpenCV's engine has 0.9256 and 0.8468 here.
    for axis, least in ((0, 0.9255), (1, 0.8465)):
        correlation = np.corrcoef(shown[..., axis].ravel(), published[..., axis].ravel())[0, 1]
        assert correlation >= least
