"""Which frames are read, and when they are shown."""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest

from common import video
from common.testing.videos import encoded, levels, make


def test_every_frame_is_yielded_without_a_rate(tmp_path):
    path = make(tmp_path / "a.mkv", range(0, 400, 40))
    frames = list(video.read_frames(path))
    assert [frame.shape for frame in frames] == [(24, 32, 3)] * 10
    assert frames[0].dtype == np.uint8
    assert levels(path) == list(range(10))
    assert levels(path, fps=25) == list(range(10))


def test_variable_rate_goes_by_timestamps(tmp_path):
    # On the screen: 0 for 40 ms, 1 for 160 ms, 2 for 100 ms, then 3.
    path = make(tmp_path / "a.mkv", [0, 40, 200, 300])
    assert levels(path, fps=25)[:8] == [0, 1, 1, 1, 1, 2, 2, 2]
    frames = list(video.read_frames(path, fps=25))
    assert frames[1] is frames[2]
    assert levels(path, fps=10)[:4] == [0, 1, 2, 3]


@pytest.mark.parametrize("late", [0, 70, 1234])
def test_time_starts_with_the_first_frame(tmp_path, late):
    path = make(tmp_path / "a.mkv", [late + time for time in (0, 40, 80, 120)])
    assert levels(path, fps=25) == [0, 1, 2, 3]


def test_rounded_timestamps_neither_repeat_nor_drop_frames(tmp_path):
    pts = [round(k * 1000 / 30) for k in range(20)]  # Matroska's milliseconds
    path = make(tmp_path / "a.mkv", pts, rate=30)
    assert levels(path, fps=30) == list(range(20))
    assert levels(path, fps=15) == list(range(0, 20, 2))


def test_span_and_count(tmp_path):
    path = make(tmp_path / "a.mkv", range(0, 800, 40))
    assert levels(path, start=0.2, end=0.4) == [5, 6, 7, 8, 9]
    assert levels(path, fps=25, start=0.2, end=0.4) == [5, 6, 7, 8, 9]
    assert levels(path, fps=25, start=0.21, max_frames=2) == [5, 6]
    assert levels(path, max_frames=3) == [0, 1, 2]
    with pytest.raises(video.VideoError, match="no frame is shown from second 9"):
        list(video.read_frames(path, fps=25, start=9))


def test_raw_streams_without_timestamps_go_by_the_rate(tmp_path, caplog):
    options = {"qp": "0", "bf": "0"}
    path = tmp_path / "a.h264"
    make(path, range(10), Fraction(1, 25), "libx264", size=(64, 48), options=options)
    with av.open(str(path)) as container:
        stated = next(container.decode(video=0)).pts
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert levels(path, fps=25) == list(range(10))
    assert ("timestamps are missing" in caplog.text) == (stated is None)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_timestamps_may_be_huge(tmp_path, suffix):
    pts = [2**40 + 40 * k for k in range(100)]
    path = make(tmp_path / f"a.{suffix}", pts, codec="libx264", size=(64, 48), level=lambda k: k)
    every = list(video.Video(path, fps=25, strict=True).timed())
    assert [time for time, _ in every] == pytest.approx([k / 25 for k in range(100)])
    late = list(video.read_frames(path, fps=25, start=3))
    np.testing.assert_array_equal(late, [frame for _, frame in every[75:]])


def test_times_of_frames(tmp_path):
    path = make(tmp_path / "a.mkv", [70, 110, 270, 370])
    times = [time for time, _ in video.Video(path).timed()]
    assert times == pytest.approx([0, 0.04, 0.2, 0.3])
    times = [time for time, _ in video.Video(path, fps=20, start=0.1, end=0.3).timed()]
    assert times == pytest.approx([0.1, 0.15, 0.2, 0.25])


def test_a_whole_video_is_measured_without_a_picture_of_it(tmp_path, monkeypatch):
    path = make(tmp_path / "a.mkv", [70, 110, 270, 370])
    monkeypatch.delattr("common.video.video_file.VideoFile.to_rgb")
    measured = video.measure(path, threads=1)
    assert (measured.width, measured.height, measured.frames) == (32, 24, 4)
    assert measured.times == pytest.approx([0, 0.04, 0.2, 0.3])
    assert measured.fps == video.info(path).fps
    assert measured.duration == pytest.approx(0.3 + 0.04, abs=0.002)


def test_frames_before_the_edit_list_are_no_part_of_the_video(tmp_path):
    """As `ffmpeg -ss 3.3 -c copy` cuts: from the keyframe at 2 s on, shown from 3.3 s on."""
    options = {"x264-params": "keyint=50:scenecut=0:bframes=3"}
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    encoded(whole, range(200), Fraction(1, 25), "libx264", 25, (64, 48), int, options)
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


@pytest.mark.parametrize(
    "wrong",
    [{"fps": 0}, {"fps": -25}, {"fps": float("nan")}, {"start": -1}, {"start": 2, "end": 1},
     {"start": float("inf")}, {"end": float("inf")}, {"max_frames": 0}, {"threads": 0},
     {"source_fps": 0}, {"source_fps": 25}],
)  # fmt: skip
def test_senseless_spans(tmp_path, wrong):
    path = make(tmp_path / "a.mkv", [0, 40])
    with pytest.raises(ValueError, match=r"must|source_fps is for folders"):
        video.read_frames(path, **wrong)


@pytest.mark.parametrize(
    ("file", "count"),
    [
        ("apply_eye_makeup.avi", 164),
        ("v_CricketShot_g04_c01_rgb.gif", 79),
        ("arm_wrestling.mp4", 250),
    ],
)
def test_real_videos(real_data, file, count):
    assert sum(1 for _ in video.read_frames(real_data(f"samples/{file}"), fps=25)) == count


@pytest.mark.parametrize("file", ["apply_eye_makeup.avi", "arm_wrestling.mp4", "person_hd.mp4"])
def test_spans_of_real_videos(real_data, file):
    path = real_data(f"samples/{file}")
    frames = list(video.Video(path, strict=True).timed())
    middle = len(frames) * 3 // 4
    late = list(video.Video(path, start=frames[middle][0]).timed())
    assert [time for time, _ in late] == [time for time, _ in frames[middle:]]
    np.testing.assert_array_equal(late[0][1], frames[middle][1])
    np.testing.assert_array_equal(late[-1][1], frames[-1][1])
