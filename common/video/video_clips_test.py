"""Videos are made here: grey levels that say which frame came out, or a picture that moves."""

import numpy as np
import pytest

from common import flow
from common.flow.encoding import BOUND
from common.preprocessing import contracts
from common.preprocessing.contracts import InputContract
from common.testing.videos import make
from common.video import frame_files, video_clips

SMALL_FLOW = InputContract(channels="flow", channel_order="xy", short_side=32, crop=24)


def _video(path, count):
    """Frames of 160x140 whose grey level is their number times 10."""
    return make(path, range(0, 40 * count, 40), size=(160, 140))


def test_clip_from_video(tmp_path):
    path = _video(tmp_path / "a.mkv", 12)
    clip = video_clips.clip_from_video(path)
    assert (clip.shape, clip.dtype) == ((1, 12, 224, 224, 3), np.float32)
    levels = (clip[0, :, 100, 100, 0] + 1) / 2 * 255
    np.testing.assert_allclose(levels, 10 * np.arange(12), atol=1.1)
    small = InputContract(short_side=40, crop=32, value_range=(0.0, 1.0))
    clip = video_clips.clip_from_video(path, small, max_frames=10)
    assert clip.shape == (1, 10, 32, 32, 3)
    assert clip.min() >= 0
    with pytest.raises(
        ValueError, match=r"a\.mkv: too short.* 9 frames or more, got 5 at .* larger --max"
    ):
        video_clips.clip_from_video(path, small, max_frames=5)
    with pytest.raises(ValueError, match=r"two frames"):
        video_clips.clip_from_video(path, SMALL_FLOW, max_frames=1)


def test_flow_is_of_whole_frames_and_the_last_is_repeated(tmp_path):
    path = _video(tmp_path / "a.mkv", 9)
    clip = video_clips.clip_from_video(path, SMALL_FLOW, flow_engine="numba")
    assert (clip.shape, clip.dtype) == ((1, 9, 24, 24, 2), np.float32)
    np.testing.assert_array_equal(clip[0, -1], clip[0, -2])
    greys = [np.full((32, 37), 10 * k, np.uint8) for k in range(9)]
    whole = np.stack(list(flow.flows(greys, engine="numba")))
    expected = np.clip(whole[:, 4:28, 6:30] / BOUND, -1, 1)
    np.testing.assert_allclose(clip[0, :-1], expected, atol=1e-6)


def test_arrays_are_for_networks_that_see_their_range(tmp_path):
    array = np.linspace(-1, 1, 9 * 192, dtype=np.float32).reshape(9, 8, 8, 3)
    frame_files.write_npy(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(video_clips.clip_from_video(tmp_path / "a.npy")[0], array)
    with pytest.raises(ValueError, match=r"too short. Expected 9 frames or more, got 5"):
        video_clips.clip_from_video(tmp_path / "a.npy", max_frames=5)
    with pytest.raises(ValueError, match=r"\[-1, 1\], and the weights expect \(x - 114.75\)"):
        video_clips.clip_from_video(tmp_path / "a.npy", contracts.usual("i3d_resnet50_8x8"))


def test_where_a_stream_is_read_from():
    assert video_clips.source("x/a_rgb.npy", "flow").name == "a_flow.npy"
    assert video_clips.source("x/a_flow.npy", "rgb").name == "a_rgb.npy"
    assert video_clips.source("x/a_rgb.mp4", "flow").name == "a_rgb.mp4"
