"""Videos are made here: grey levels that say which frame came out, or a picture that moves."""

import av
import cv2
import numpy as np
import pytest

from common import flow, video
from common.flow.encoding import BOUND
from common.preprocessing import contracts, frames
from common.preprocessing.contracts import FLOW_CONTRACT, InputContract
from common.video import video_clips


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
    clip = video_clips.clip_from_video(path)
    assert clip.shape == (1, 12, 224, 224, 3)
    assert clip.dtype == np.float32
    levels = (clip[0, :, 100, 100, 0] + 1) / 2 * 255
    np.testing.assert_allclose(levels, 8 * np.arange(12), atol=1.1)
    assert video_clips.clip_from_video(path, max_frames=10).shape[1] == 10
    small = InputContract(short_side=40, crop=32, value_range=(0.0, 1.0))
    clip = video_clips.clip_from_video(path, small)
    assert clip.shape == (1, 12, 32, 32, 3)
    assert clip.min() >= 0


def test_a_short_video_is_an_error(tmp_path):
    path = _video(tmp_path / "a.mkv", 8)
    with pytest.raises(ValueError, match=r"a\.mkv: too short. Expected at least 9 frames, got 8"):
        video_clips.clip_from_video(path)
    with pytest.raises(ValueError, match="larger --max_frames"):
        video_clips.clip_from_video(_video(tmp_path / "b.mkv", 12), max_frames=5)


def _moving(path, count, step=2):
    """Frames of 64x80 whose picture moves by `step` pixels to the right."""
    noise = np.random.default_rng(0).normal(size=(64, 80 + step * count)).astype(np.float32)
    picture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 80, 64, "gray"
        for k in range(count):
            left = step * (count - k)
            part = np.repeat(picture[:, left : left + 80, None], 3, 2)
            frame = av.VideoFrame.from_ndarray(part.astype(np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


SMALL_FLOW = InputContract(channels="flow", channel_order="xy", short_side=64, crop=48)


def test_the_flow_of_a_video(tmp_path):
    path = _moving(tmp_path / "a.mkv", 10)
    clip = video_clips.clip_from_video(path, SMALL_FLOW)
    assert clip.shape == (1, 10, 48, 48, 2)
    assert clip.dtype == np.float32
    np.testing.assert_array_equal(clip[0, -1], clip[0, -2])  # the last frame has no next one
    assert np.median(clip[..., 0]) * BOUND == pytest.approx(2, abs=0.1)
    assert np.abs(np.median(clip[..., 1])) * BOUND < 0.1


def test_flow_is_computed_on_whole_frames_of_the_right_size_and_then_cropped(tmp_path):
    path = _moving(tmp_path / "a.mkv", 9)
    clip = video_clips.clip_from_video(path, SMALL_FLOW, flow_engine="numba")
    greys = [frames.to_grey(frame) for frame in video.read_frames(path)]
    whole = np.stack(list(flow.flows(greys, engine="numba")))
    expected = np.clip(whole[:, 8:56, 16:64] / BOUND, -1, 1)
    np.testing.assert_allclose(clip[0, :-1], expected, atol=1e-6)


def test_a_single_frame_has_no_flow(tmp_path):
    path = _moving(tmp_path / "a.mkv", 1)
    with pytest.raises(ValueError, match=r"a\.mkv.*two frames"):
        video_clips.clip_from_video(path, FLOW_CONTRACT)


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
    np.save(tmp_path / "a.npy", np.zeros((1, 9, 8, 8, 3), np.float32))
    with pytest.raises(ValueError, match=r"\[-1, 1\], and the weights expect \(x - 114.75\)"):
        video_clips.clip_from_video(tmp_path / "a.npy", contracts.usual("i3d_resnet50_8x8"))


def test_where_a_stream_is_read_from():
    assert video_clips.source("x/a_rgb.npy", "flow").name == "a_flow.npy"
    assert video_clips.source("x/a_flow.npy", "rgb").name == "a_rgb.npy"
    assert video_clips.source("x/a_rgb.mp4", "flow").name == "a_rgb.mp4"
