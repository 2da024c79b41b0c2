"""Which frames are read, when they are shown, and how: upright, square, all of one size."""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest

from common import video
from common.testing.videos import encoded, levels, make

TICK = Fraction(1, 1000)
SMALL = (64, 48)


def test_variable_rate_goes_by_timestamps(tmp_path):
    # On the screen: 0 for 40 ms, 1 for 160 ms, 2 for 100 ms, then 3.
    path = make(tmp_path / "a.mkv", [70, 110, 270, 370])
    assert levels(path) == [0, 1, 2, 3]
    assert levels(path, fps=25)[:8] == [0, 1, 1, 1, 1, 2, 2, 2]
    assert levels(path, fps=10)[:4] == [0, 1, 2, 3]
    frames = list(video.read_frames(path, fps=25))
    assert (frames[0].shape, frames[0].dtype) == ((24, 32, 3), np.uint8)
    assert frames[1] is frames[2]
    times = [time for time, _ in video.Video(path).timed()]
    assert times == pytest.approx([0, 0.04, 0.2, 0.3])
    times = [time for time, _ in video.Video(path, fps=20, start=0.1, end=0.3).timed()]
    assert times == pytest.approx([0.1, 0.15, 0.2, 0.25])


def test_rounded_timestamps_neither_repeat_nor_drop_frames(tmp_path):
    pts = [1234 + round(k * 1000 / 30) for k in range(20)]  # Matroska's milliseconds
    path = make(tmp_path / "a.mkv", pts, rate=30)
    assert levels(path, fps=30) == list(range(20))
    assert levels(path, fps=15) == list(range(0, 20, 2))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make(tmp_path_factory.mktemp("videos") / "a.mkv", range(0, 800, 40))


def test_span_and_count(plain):
    assert levels(plain, start=0.2, end=0.4) == [5, 6, 7, 8, 9]
    assert levels(plain, fps=25, start=0.2, end=0.4) == [5, 6, 7, 8, 9]
    assert levels(plain, fps=25, start=0.21, max_frames=2) == [5, 6]
    assert levels(plain, max_frames=3) == [0, 1, 2]
    with pytest.raises(video.VideoError, match="no frame is shown from second 9"):
        list(video.read_frames(plain, fps=25, start=9))


@pytest.mark.parametrize(
    "settings", [{}, {"fps": 25, "start": Fraction(1, 99991)}, {"fps": 10, "max_frames": 5}]
)
def test_windows_are_what_reading_all_gives(plain, settings):
    clip = video.Video(plain, **settings)
    every = list(clip)
    np.testing.assert_array_equal(clip.read([4, 3]), np.stack([every[4], every[3]]))
    assert len(clip) == len(every)
    for missing in (len(every), -1):
        with pytest.raises(ValueError, match=f"has no frame {missing}"):
            clip.read([missing])


@pytest.mark.parametrize(
    "wrong",
    [{"fps": 0}, {"fps": -25}, {"fps": float("nan")}, {"start": -1}, {"start": 2, "end": 1},
     {"start": float("inf")}, {"end": float("inf")}, {"max_frames": 0}, {"threads": 0},
     {"source_fps": 0}, {"source_fps": 25}],
)  # fmt: skip
def test_senseless_settings(plain, wrong):
    with pytest.raises(ValueError, match=r"must|source_fps is for folders"):
        video.read_frames(plain, **wrong)


def test_info_and_measure(tmp_path, monkeypatch):
    path = make(tmp_path / "a.mkv", [70, 110, 270, 370])
    stated = video.info(path)
    assert (stated.width, stated.height, stated.times) == (32, 24, None)
    assert stated.duration == pytest.approx(0.34, abs=0.1)
    assert video.Video(path).rate == stated.fps
    monkeypatch.delattr("common.video.video_file.VideoFile.to_rgb")
    measured = video.measure(path, threads=1)
    assert (measured.width, measured.height, measured.frames) == (32, 24, 4)
    assert measured.times == pytest.approx([0, 0.04, 0.2, 0.3])
    assert measured.fps == stated.fps
    assert measured.duration == pytest.approx(0.3 + 0.04, abs=0.002)


def test_raw_streams_without_timestamps_go_by_the_rate(tmp_path, caplog):
    path = tmp_path / "a.h264"
    make(path, range(10), Fraction(1, 25), "libx264", size=SMALL, options={"qp": "0", "bf": "0"})
    with av.open(str(path)) as container:
        stated = next(container.decode(video=0)).pts
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert levels(path, fps=25) == list(range(10))
    assert ("timestamps are missing" in caplog.text) == (stated is None)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_timestamps_may_be_huge(tmp_path, suffix):
    pts = [2**40 + 40 * k for k in range(100)]
    path = make(tmp_path / f"a.{suffix}", pts, codec="libx264", size=SMALL, level=int)
    every = list(video.Video(path, fps=25, strict=True).timed())
    assert [time for time, _ in every] == pytest.approx([k / 25 for k in range(100)])
    late = list(video.read_frames(path, fps=25, start=3))
    np.testing.assert_array_equal(late, [frame for _, frame in every[75:]])


def test_frames_before_the_edit_list_are_no_part_of_the_video(tmp_path):
    """As `ffmpeg -ss 3.3 -c copy` cuts: from the keyframe at 2 s on, shown from 3.3 s on."""
    options = {"x264-params": "keyint=50:scenecut=0:bframes=3"}
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    encoded(whole, range(200), Fraction(1, 25), "libx264", 25, SMALL, int, options)
    with av.open(str(whole)) as source, av.open(str(cut), "w") as out:
        stream = source.streams.video[0]
        copied = out.add_stream_from_template(stream)
        key, shown = (int(Fraction(time) / stream.time_base) for time in ("2", "3.3"))
        for packet in source.demux(stream):
            if packet.dts is not None and packet.pts >= key:
                packet.pts, packet.dts = packet.pts - shown, packet.dts - shown
                packet.stream = copied
                out.mux(packet)
    frames = list(video.Video(cut, strict=True).timed())
    assert len(frames) == 117  # of the 150 that the header counts
    assert [round(frame.mean()) for _, frame in frames[:3]] == pytest.approx([83, 84, 85], abs=2)
    late = list(video.Video(cut, start=3).timed())
    assert [time for time, _ in late] == [time for time, _ in frames if time >= 3]
    np.testing.assert_array_equal(late[0][1], frames[75][1])


def test_odd_sizes_and_alpha_and_grey(tmp_path):
    path = make(tmp_path / "grey.mkv", range(0, 120, 40), size=(33, 17))
    assert next(video.read_frames(path)).shape == (17, 33, 3)
    rgba = np.zeros((18, 22, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 200, 255
    with av.open(str(tmp_path / "alpha.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 22, 18, "bgra"
        picture = av.VideoFrame.from_ndarray(rgba, format="rgba")
        out.mux(stream.encode(picture.reformat(format="bgra")))
        out.mux(stream.encode(None))
    frame = next(video.read_frames(tmp_path / "alpha.mkv"))
    np.testing.assert_array_equal(frame, rgba[..., :3])


@pytest.mark.parametrize(("aspect", "width"), [("4/3", 85), ("8/9", 57), ("1279/1280", 64)])
def test_pixels_are_square(tmp_path, aspect, width):
    path = tmp_path / "a.mp4"
    span = range(0, 120, 40), TICK
    encoded(path, *span, "libx264", 25, SMALL, int, None, aspect=Fraction(aspect))
    assert next(video.read_frames(path)).shape == (48, width, 3)
    assert next(video.read_frames(path, square_pixels=False)).shape == (48, 64, 3)
    for about in (video.info(path), video.measure(path)):
        assert (about.width, about.height) == (width, 48)
    assert video.measure(path, square_pixels=False).width == 64


def test_pixels_that_are_absurdly_wide_are_an_error(tmp_path):
    path = tmp_path / "a.mp4"
    encoded(path, [0, 40], TICK, "libx264", 25, SMALL, int, None, aspect=Fraction(9, 1))
    with pytest.raises(video.VideoError, match="9 times as wide"):
        list(video.read_frames(path))


def test_frames_are_as_large_as_the_first(tmp_path):
    for name, size in (("a", SMALL), ("b", (96, 80))):
        path = tmp_path / f"{name}.h264"
        encoded(path, range(20), Fraction(1, 25), "libx264", 25, size, int, None)
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


@pytest.mark.parametrize(
    ("file", "count"),
    [("apply_eye_makeup.avi", 164), ("arm_wrestling.mp4", 250), ("person_hd.mp4", None),
     ("v_CricketShot_g04_c01_rgb.gif", 79)],
)  # fmt: skip
def test_real_videos(real_data, file, count):
    path = real_data(f"samples/{file}")
    if count:
        assert sum(1 for _ in video.read_frames(path, fps=25)) == count
    frames = list(video.Video(path, strict=True).timed())
    middle = len(frames) * 3 // 4
    late = list(video.Video(path, start=frames[middle][0]).timed())
    assert [time for time, _ in late] == [time for time, _ in frames[middle:]]
    np.testing.assert_array_equal(late[0][1], frames[middle][1])
    np.testing.assert_array_equal(late[-1][1], frames[-1][1])
