"""Videos are made here: grey levels that say which frame came out, or a picture that moves."""

import cv2
import numpy as np
import pytest

from common import flow, video
from common.flow.encoding import BOUND
from common.preprocessing import contracts, frames
from common.preprocessing.contracts import InputContract
from common.testing.videos import make
from common.video import frame_files, video_clips

SMALL_FLOW = InputContract(channels="flow", channel_order="xy", short_side=64, crop=48)


def _video(path, count):
    """Frames of 320x280 whose grey level is their number times 10."""
    return make(path, range(0, 40 * count, 40), size=(320, 280))


def test_clip_from_video(tmp_path):
    path = _video(tmp_path / "a.mkv", 12)
    clip = video_clips.clip_from_video(path)
    assert (clip.shape, clip.dtype) == ((1, 12, 224, 224, 3), np.float32)
    levels = (clip[0, :, 100, 100, 0] + 1) / 2 * 255
    np.testing.assert_allclose(levels, 10 * np.arange(12), atol=1.1)
    assert video_clips.clip_from_video(path, max_frames=10).shape[1] == 10
    small = InputContract(short_side=40, crop=32, value_range=(0.0, 1.0))
    clip = video_clips.clip_from_video(path, small)
    assert clip.shape == (1, 12, 32, 32, 3)
    assert clip.min() >= 0
    with pytest.raises(ValueError, match="larger --max_frames"):
        video_clips.clip_from_video(path, max_frames=5)


def test_a_short_video_is_an_error(tmp_path):
    path = _video(tmp_path / "a.mkv", 8)
    with pytest.raises(ValueError, match=r"a\.mkv: too short. Expected at least 9 frames, got 8"):
        video_clips.clip_from_video(path)
    with pytest.raises(ValueError, match=r"a\.mkv.*two frames"):
        video_clips.clip_from_video(path, SMALL_FLOW, max_frames=1)


def test_the_flow_of_a_video(tmp_path):
    """It is computed on whole frames of the right size, and then cropped."""
    noise = np.random.default_rng(0).normal(size=(64, 100)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 3)
    texture = cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    pictures = [np.repeat(texture[:, 20 - 2 * k : 100 - 2 * k, None], 3, 2) for k in range(10)]
    folder = tmp_path / "clip"
    folder.mkdir()
    for k, picture in enumerate(pictures):  # moves by 2 pixels to the right
        assert cv2.imwrite(str(folder / f"{k}.png"), picture)
    found = list(video_clips.flow_of_frames(video.read_frames(folder), SMALL_FLOW, "numba"))
    greys = [frames.to_grey(frame) for frame in pictures]
    whole = np.stack(list(flow.flows(greys, engine="numba")))
    np.testing.assert_allclose(found, whole[:, 8:56, 16:64], atol=1e-6)
    assert np.median(whole, (0, 1, 2)) == pytest.approx([2, 0], abs=0.1)


def test_the_last_flow_is_repeated_and_clipped(tmp_path):
    path = _video(tmp_path / "a.mkv", 9)
    clip = video_clips.clip_from_video(path, SMALL_FLOW, flow_engine="numba")
    assert (clip.shape, clip.dtype) == ((1, 9, 48, 48, 2), np.float32)
    np.testing.assert_array_equal(clip[0, -1], clip[0, -2])
    greys = [np.full((64, 73), 10 * k, np.uint8) for k in range(9)]
    whole = np.stack(list(flow.flows(greys, engine="numba")))
    expected = np.clip(whole[:, 8:56, 12:60] / BOUND, -1, 1)
    np.testing.assert_allclose(clip[0, :-1], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((1, 12, 8, 8, 2), np.float32), r"\[1, T, H, W, 3\] of .*\[1, 12, 8, 8, 2\]"),
        (np.zeros((12, 8, 3), np.float32), r"Received: \[12, 8, 3\]"),
        (np.zeros((1, 5, 8, 8, 3), np.float32), "too short. Expected at least 9 frames, got 5"),
        (np.full((1, 9, 8, 8, 3), 255, np.float32), r"values in \[-1, 1\]. Received: 255 to 255"),
        (np.full((1, 9, 8, 8, 3), np.nan, np.float32), "Received: nan"),
        (np.array([None]), r"a_rgb\.npy: expected one array of numbers"),
    ],
)
def test_wrong_arrays(tmp_path, array, text):
    np.save(tmp_path / "a_rgb.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=text):
        video_clips.clip_from_video(tmp_path / "a_rgb.npy")


def test_arrays_are_for_networks_that_see_their_range(tmp_path):
    array = np.linspace(-1, 1, 9 * 192, dtype=np.float32).reshape(9, 8, 8, 3)
    frame_files.write_npy(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(video_clips.clip_from_video(tmp_path / "a.npy")[0], array)
    with pytest.raises(ValueError, match=r"\[-1, 1\], and the weights expect \(x - 114.75\)"):
        video_clips.clip_from_video(tmp_path / "a.npy", contracts.usual("i3d_resnet50_8x8"))


def test_where_a_stream_is_read_from():
    assert video_clips.source("x/a_rgb.npy", "flow").name == "a_flow.npy"
    assert video_clips.source("x/a_flow.npy", "rgb").name == "a_rgb.npy"
    assert video_clips.source("x/a_rgb.mp4", "flow").name == "a_rgb.mp4"
