"""Frames as they are shown: upright, of square pixels, all of one size."""

from fractions import Fraction

import av
import numpy as np
import pytest

from common import video
from common.testing.videos import encoded, make


def test_info(tmp_path):
    about = video.info(make(tmp_path / "a.mkv", range(0, 400, 40)))
    assert (about.width, about.height) == (32, 24)
    assert about.fps == pytest.approx(25, rel=0.05)
    assert about.duration == pytest.approx(0.4, abs=0.05)


def test_odd_sizes_and_alpha_and_grey(tmp_path):
    path = make(tmp_path / "grey.mkv", range(0, 120, 40), size=(33, 17))
    assert next(video.read_frames(path)).shape == (17, 33, 3)
    rgba = np.zeros((18, 22, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 200, 255
    with av.open(str(tmp_path / "alpha.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 22, 18, "bgra"
        out.mux(
            stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="bgra"))
        )
        out.mux(stream.encode(None))
    frame = next(video.read_frames(tmp_path / "alpha.mkv"))
    np.testing.assert_array_equal(frame, rgba[..., :3])


@pytest.mark.parametrize(("aspect", "width"), [("4/3", 85), ("8/9", 57), ("1279/1280", 64)])
def test_pixels_are_square(tmp_path, aspect, width):
    path, level = tmp_path / "a.mp4", lambda k: 10 * k
    span = range(0, 120, 40), Fraction(1, 1000)
    encoded(path, *span, "libx264", 25, (64, 48), level, None, aspect=Fraction(aspect))
    assert next(video.read_frames(path)).shape == (48, width, 3)
    assert next(video.read_frames(path, square_pixels=False)).shape == (48, 64, 3)
    for about in (video.info(path), video.measure(path)):
        assert (about.width, about.height) == (width, 48)
    assert video.measure(path, square_pixels=False).width == 64


def test_pixels_that_are_absurdly_wide_are_an_error(tmp_path):
    path, span = tmp_path / "a.mp4", (range(0, 120, 40), Fraction(1, 1000))
    encoded(path, *span, "libx264", 25, (64, 48), int, None, aspect=Fraction(9, 1))
    with pytest.raises(video.VideoError, match="9 times as wide"):
        list(video.read_frames(path))


def test_frames_are_as_large_as_the_first(tmp_path):
    for name, size in (("a", (64, 48)), ("b", (96, 80))):
        tick, path = Fraction(1, 25), tmp_path / f"{name}.h264"
        encoded(path, range(20), tick, "libx264", 25, size, lambda k: 10 * k, None)
    path = tmp_path / "joined.h264"
    path.write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    assert [frame.shape for frame in video.read_frames(path)] == [(48, 64, 3)] * 40


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels"), [("mov", "png", "rgb24"), ("webm", "libvpx-vp9", "yuv420p")]
)
def test_a_single_tiny_frame_in_a_file_with_an_odd_name(
    tmp_path, monkeypatch, suffix, codec, pixels
):
    monkeypatch.chdir(tmp_path)
    path = f"12:30 %05d?.{suffix}"
    with av.open(f"file:{path}", "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width = stream.height = 3
        stream.pix_fmt = pixels
        picture = np.full((3, 3, 3), 100, np.uint8)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    [frame] = video.read_frames(path, fps=25)
    np.testing.assert_allclose(frame, picture, atol=3)
