import av
import numpy as np
import pytest

from common import frames
from common.contracts import FLOW_CONTRACT, InputContract

SIZES = [((24, 33), 16), ((33, 24), 16), ((17, 17), 40), ((19, 50), 7), ((10, 31), 25)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(("size", "short"), SIZES)
def test_resize_is_opencvs(rng, size, short):
    cv2 = pytest.importorskip("cv2")
    clip = rng.uniform(0, 255, (3, *size, 3)).astype(np.float32)
    resized = frames.resize_short_side(clip, short)
    assert resized.dtype == np.float32
    height, width = resized.shape[1:3]
    for ours, frame in zip(resized, clip, strict=True):
        theirs = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * 255)


@pytest.mark.parametrize(("size", "short"), SIZES)
def test_resize_is_torchs(rng, size, short):
    torch = pytest.importorskip("torch")
    clip = rng.uniform(0, 255, (3, *size, 2)).astype(np.float32)
    resized = frames.resize_short_side(clip, short)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(clip).permute(0, 3, 1, 2),
        size=resized.shape[1:3],
        mode="bilinear",
        align_corners=False,
    )
    theirs = theirs.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(resized, theirs, rtol=0, atol=1e-4 * 255)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((240, 320), (256, 341)), ((256, 340), (256, 340)), ((1080, 1920), (256, 455)),
     ((1920, 1080), (455, 256)), ((300, 300), (256, 256))],
)  # fmt: skip
def test_sizes(size, expected):
    clip = np.zeros((1, *size, 1), np.uint8)
    assert frames.resize_short_side(clip).shape[1:3] == expected


def test_resize_does_not_round_and_does_not_touch_its_input(rng):
    clip = rng.integers(0, 256, (2, 30, 41, 3), np.uint8)
    before = clip.copy()
    as_float = frames.resize_short_side(clip.astype(np.float32), 20)
    np.testing.assert_array_equal(frames.resize_short_side(clip, 20), as_float)
    np.testing.assert_array_equal(clip, before)
    same = frames.resize_short_side(clip, 30)
    np.testing.assert_array_equal(same, clip)
    assert same.dtype == np.float32


def test_center_crop():
    clip = np.arange(7 * 10).reshape(1, 7, 10, 1).astype(np.float32)
    np.testing.assert_array_equal(frames.center_crop(clip, 4), clip[:, 1:5, 3:7])
    np.testing.assert_array_equal(frames.center_crop(clip, 7), clip[:, :, 1:8])
    with pytest.raises(ValueError, match="cannot cut 8x8 out of frames of 7x10"):
        frames.center_crop(clip, 8)


def test_to_range():
    levels = np.array([0, 51, 255], np.uint8)
    np.testing.assert_allclose(frames.to_range(levels), [-1, -0.6, 1], rtol=0, atol=1e-7)
    np.testing.assert_allclose(frames.to_range(levels, 0, 1), [0, 0.2, 1], rtol=0, atol=1e-7)
    assert frames.to_range(levels).dtype == np.float32


def test_values_are_standardised_where_the_contract_has_a_mean():
    contract = InputContract(mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 5.0))
    pixels = np.array([[[[3, 10, 255]]]], np.uint8)
    expected = np.array([[[[1.0, 2.0, 50.4]]]], np.float32)
    np.testing.assert_allclose(frames.to_contract(pixels, contract), expected, rtol=1e-6)
    plain = frames.to_contract(pixels, InputContract(value_range=(0.0, 1.0)))
    np.testing.assert_allclose(plain, pixels / 255, rtol=1e-6)


def test_wrong_axes():
    with pytest.raises(ValueError, match=r"\[T, H, W, C\]"):
        frames.resize_short_side(np.zeros((3, 4, 5), np.float32))
    with pytest.raises(ValueError, match="at least 1"):
        frames.resize_short_side(np.zeros((1, 3, 4, 5), np.float32), 0)


def _video(path, count):
    """Frames of 320x280 whose grey level is their number times 8."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 280, "gray"
        for k in range(count):
            picture = np.full((280, 320, 3), 8 * k, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def test_clip_from_video(tmp_path):
    path = _video(tmp_path / "a.mkv", 12)
    clip = frames.clip_from_video(path)
    assert clip.shape == (1, 12, 224, 224, 3)
    assert clip.dtype == np.float32
    levels = (clip[0, :, 100, 100, 0] + 1) / 2 * 255
    np.testing.assert_allclose(levels, 8 * np.arange(12), atol=1.1)
    assert frames.clip_from_video(path, max_frames=10).shape[1] == 10
    small = InputContract(short_side=40, crop=32, value_range=(0.0, 1.0))
    clip = frames.clip_from_video(path, small)
    assert clip.shape == (1, 12, 32, 32, 3)
    assert clip.min() >= 0


def test_a_short_video_is_an_error(tmp_path):
    path = _video(tmp_path / "a.mkv", 8)
    with pytest.raises(ValueError, match=r"a\.mkv: too short. Expected at least 9 frames, got 8"):
        frames.clip_from_video(path)
    with pytest.raises(ValueError, match="larger --max_frames"):
        frames.clip_from_video(_video(tmp_path / "b.mkv", 12), max_frames=5)


def test_a_flow_contract_takes_no_video(tmp_path):
    with pytest.raises(ValueError, match="expects flow"):
        frames.clip_from_video(_video(tmp_path / "a.mkv", 9), FLOW_CONTRACT)
