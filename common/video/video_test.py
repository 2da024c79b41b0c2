"""Which frames are read, when they are shown, and how: upright, square, all of one size."""

import pickle
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from common import video
from common.testing.videos import encoded, levels, make
from common.video import Shown, Video, _at_rate, exact

TICK = Fraction(1, 1000)
SMALL = (64, 48)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make(tmp_path_factory.mktemp("videos") / "a.mkv", range(0, 800, 40))


def test_variable_rate_goes_by_timestamps(tmp_path):
    # On the screen: 0 for 40 ms, 1 for 160 ms, 2 for 100 ms, then 3.
    path = make(tmp_path / "a.mkv", [70, 110, 270, 370])
    assert levels(path) == [0, 1, 2, 3]
    assert levels(path, fps=25)[:8] == [0, 1, 1, 1, 1, 2, 2, 2]
    frames = list(video.read_frames(path, fps=25))
    assert (frames[0].shape, frames[0].dtype) == ((24, 32, 3), np.uint8)
    assert frames[1] is frames[2]
    assert [time for time, _ in Video(path).timed()] == pytest.approx([0, 0.04, 0.2, 0.3])
    times = [time for time, _ in Video(path, fps=20, start=0.1, end=0.3).timed()]
    assert times == pytest.approx([0.1, 0.15, 0.2, 0.25])
    measured = video.measure(path, threads=1)
    assert measured[:2] == (32, 24) and measured.frames == 4
    assert measured.times == pytest.approx([0, 0.04, 0.2, 0.3])
    assert measured.duration == pytest.approx(0.34, abs=0.002)
    assert Video(path).rate == measured.fps


def test_rounded_timestamps_neither_repeat_nor_drop_frames(tmp_path):
    pts = [1234 + round(k * 1000 / 30) for k in range(20)]  # Matroska's milliseconds
    path = make(tmp_path / "a.mkv", pts, rate=30)
    assert levels(path, fps=30) == list(range(20))
    assert levels(path, fps=15) == list(range(0, 20, 2))


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
def test_windows_are_what_reading_all_gives(plain, monkeypatch, settings):
    clip = Video(plain, **settings)
    every = list(clip)
    np.testing.assert_array_equal(clip.read([4, 3, 4]), [every[4], every[3], every[4]])
    assert len(clip) == len(every)
    for missing in ([len(every)], [-1], [0, len(every)], []):
        with pytest.raises(ValueError, match=r"has no frame|no frame is shown|Received: none"):
            clip.read(missing)
    monkeypatch.setattr(Video, "timed", None)  # it is counted once, and copies know it
    assert len(pickle.loads(pickle.dumps(clip))) == len(every)  # noqa: S301


@pytest.mark.parametrize(
    "wrong",
    [{"fps": 0}, {"fps": -25}, {"fps": float("nan")}, {"start": -1}, {"start": 2, "end": 1},
     {"start": float("inf")}, {"end": float("inf")}],
)  # fmt: skip
def test_senseless_settings(plain, wrong):
    with pytest.raises(ValueError, match="expected 0 <= start < end"):
        video.read_frames(plain, **wrong)


@pytest.mark.parametrize(
    ("times", "last", "fps", "tick", "expected"),
    [
        ([0, 1], 3, 2, 0, "aabbbbbb"),  # the last item stays for its duration
        (["0", "0.1", "0.11", "0.4"], Fraction(1, 10), 10, 0, "abccd"),
        # Rounding forgives a late timestamp.
        (["0", "0.034", "0.067", "0.1"], Fraction(3, 100), 30, 0, "aabd"),
        (["0", "0.034", "0.067", "0.1"], Fraction(3, 100), 30, Fraction("0.002"), "abcd"),
    ],
)
def test_what_is_on_the_screen(times, last, fps, tick, expected):
    starts = [Fraction(time) for time in times]
    ends = [*starts[1:], starts[-1] + last]
    shown = [Shown(a, b - a, c) for a, b, c in zip(starts, ends, "abcd", strict=False)]
    found = list(_at_rate(shown, Fraction(fps), Fraction(0), Fraction(tick)))
    assert "".join(item for _, item in found) == expected
    assert [moment for moment, _ in found] == [Fraction(k, fps) for k in range(len(found))]


@pytest.mark.parametrize("rate", [28, 30, 50, 12])
def test_ten_seconds_at_25_are_250(rate):
    shown = [Shown(Fraction(k, rate), Fraction(1, rate), k) for k in range(10 * rate)]
    found = list(_at_rate(shown, Fraction(25), Fraction(0), Fraction(0)))
    assert found == [(Fraction(k, 25), k * rate // 25) for k in range(250)]
    assert (exact(29.97002997), exact(0.1)) == (Fraction(30000, 1001), Fraction(1, 10))


def test_a_frame_of_more_than_ten_minutes_has_a_wrong_timestamp():
    shown = [Shown(Fraction(time), Fraction(1), time) for time in (0, 2, 700)]
    with pytest.raises(
        video.VideoError, match=r"video: the frame at 2\.00 s would be shown for 698 s"
    ):
        list(_at_rate(shown, Fraction(1), Fraction(0), Fraction(0), name="video"))
    assert next(_at_rate(shown, Fraction(1), Fraction(0), Fraction(0), last=Fraction(602)))[1] == 0


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
    frames = list(Video(cut, strict=True).timed())
    assert len(frames) == 117  # of the 150 that the header counts
    assert [round(frame.mean()) for _, frame in frames[:3]] == pytest.approx([83, 84, 85], abs=2)
    late = list(Video(cut, start=3).timed())
    assert [time for time, _ in late] == [time for time, _ in frames if time >= 3]
    np.testing.assert_array_equal(late[0][1], frames[75][1])


@pytest.mark.parametrize(("aspect", "width"), [("4/3", 85), ("8/9", 57), ("1279/1280", 64)])
def test_pixels_are_square(tmp_path, aspect, width):
    path = tmp_path / "a.mp4"
    span = range(0, 120, 40), TICK
    encoded(path, *span, "libx264", 25, SMALL, int, None, aspect=Fraction(aspect))
    assert next(video.read_frames(path)).shape == (48, width, 3)
    assert next(video.read_frames(path, square_pixels=False)).shape == (48, 64, 3)
    assert video.measure(path)[:2] == (width, 48)


def test_frames_are_as_large_as_the_first(tmp_path):
    for name, size in (("a", SMALL), ("b", (96, 80))):
        path = tmp_path / f"{name}.h264"
        encoded(path, range(20), Fraction(1, 25), "libx264", 25, size, int, None)
    path = tmp_path / "joined.h264"  # without timestamps, by its rate
    path.write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    assert [frame.shape for frame in Video(path, fps=25)] == [(48, 64, 3)] * 40


def test_a_single_tiny_frame_in_a_file_with_an_odd_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = "12:30 %05d?.mov"
    rgba = np.full((3, 5, 4), (200, 0, 0, 255), np.uint8)
    with av.open(f"file:{path}", "w") as out:
        stream = out.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 5, 3, "rgba"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        out.mux(stream.encode(None))
    [frame] = Video(path, fps=25)
    np.testing.assert_array_equal(frame, rgba[..., :3])


def test_folders_of_images(tmp_path):
    for k in range(12):
        assert cv2.imwrite(str(tmp_path / f"{k + 1:05d}.jpg"), np.full((24, 32, 3), 10 * k))
    assert levels(tmp_path, source_fps=12, fps=6) == list(range(0, 12, 2))
    assert levels(tmp_path, source_fps=12, fps=24, max_frames=5) == [0, 0, 1, 1, 2]
    timed = Video(tmp_path, source_fps=12, start=0.5, end=0.75).timed()
    assert [time for time, _ in timed] == pytest.approx([6 / 12, 7 / 12, 8 / 12])
    for span in ({"fps": 25}, {"start": 1}, {"end": 1}):
        with pytest.raises(ValueError, match="need source_fps"):
            Video(tmp_path, **span)
    assert video.measure(tmp_path) == (32, 24, None, 12, None, None)
    assert cv2.imwrite(str(tmp_path / "00002.jpg"), np.zeros((32, 24, 3)))
    with pytest.raises(video.VideoError, match=r"00002\.jpg: expected 32x24 .* Received: 24x32"):
        video.measure(tmp_path)


@pytest.mark.parametrize(
    ("file", "count"),
    [("apply_eye_makeup.avi", 164), ("arm_wrestling.mp4", 250),
     ("v_CricketShot_g04_c01_rgb.gif", 79)],
)  # fmt: skip
def test_real_videos(real_data, file, count):
    path = real_data(f"samples/{file}")
    assert sum(1 for _ in video.read_frames(path, fps=25)) == count
    frames = list(Video(path, strict=True).timed())
    middle = len(frames) * 3 // 4
    late = list(Video(path, start=frames[middle][0]).timed())
    assert [time for time, _ in late] == [time for time, _ in frames[middle:]]
    np.testing.assert_array_equal(late[0][1], frames[middle][1])
    np.testing.assert_array_equal(late[-1][1], frames[-1][1])
