"""Videos are made with PyAV; every frame is one grey level, which says which frame came out."""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest

from common import video


def _encoded(path, pts, tick, codec, rate, size, level, options):
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p" if codec in ("libx264", "mpeg4") else "gray"
        stream.codec_context.time_base = tick
        for k, time in enumerate(pts):
            picture = np.full((size[1], size[0], 3), level(k), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def _make(
    path,
    pts,
    tick=Fraction(1, 1000),
    codec="ffv1",
    rate=25,
    size=(32, 24),
    level=lambda k: 10 * k,
    options=None,
):
    _encoded(path, list(pts), tick, codec, rate, size, level, options)
    return path


def _levels(path, **span):
    return [round(float(frame.mean()) / 10) for frame in video.read_frames(path, **span)]


def test_every_frame_is_yielded_without_a_rate(tmp_path):
    path = _make(tmp_path / "a.mkv", range(0, 400, 40))
    frames = list(video.read_frames(path))
    assert [frame.shape for frame in frames] == [(24, 32, 3)] * 10
    assert frames[0].dtype == np.uint8
    assert _levels(path) == list(range(10))
    assert _levels(path, fps=25) == list(range(10))


def test_variable_rate_goes_by_timestamps(tmp_path):
    # On the screen: 0 for 40 ms, 1 for 160 ms, 2 for 100 ms, then 3.
    path = _make(tmp_path / "a.mkv", [0, 40, 200, 300])
    assert _levels(path, fps=25)[:8] == [0, 1, 1, 1, 1, 2, 2, 2]
    assert _levels(path, fps=10)[:4] == [0, 1, 2, 3]


@pytest.mark.parametrize("late", [0, 70, 1234])
def test_time_starts_with_the_first_frame(tmp_path, late):
    path = _make(tmp_path / "a.mkv", [late + time for time in (0, 40, 80, 120)])
    assert _levels(path, fps=25) == [0, 1, 2, 3]


def test_rounded_timestamps_neither_repeat_nor_drop_frames(tmp_path):
    pts = [round(k * 1000 / 30) for k in range(20)]  # Matroska's milliseconds
    path = _make(tmp_path / "a.mkv", pts, rate=30)
    assert _levels(path, fps=30) == list(range(20))
    assert _levels(path, fps=15) == list(range(0, 20, 2))


def test_span_and_count(tmp_path):
    path = _make(tmp_path / "a.mkv", range(0, 800, 40))
    assert _levels(path, start=0.2, end=0.4) == [5, 6, 7, 8, 9]
    assert _levels(path, fps=25, start=0.2, end=0.4) == [5, 6, 7, 8, 9]
    assert _levels(path, fps=25, start=0.21, max_frames=2) == [5, 6]
    assert _levels(path, max_frames=3) == [0, 1, 2]
    with pytest.raises(video.VideoError, match="no frame is shown from second 9"):
        list(video.read_frames(path, fps=25, start=9))


def test_raw_streams_without_timestamps_go_by_the_rate(tmp_path, caplog):
    options = {"qp": "0", "bf": "0"}
    path = tmp_path / "a.h264"
    _make(path, range(10), Fraction(1, 25), "libx264", size=(64, 48), options=options)
    with av.open(str(path)) as container:
        stated = next(container.decode(video=0)).pts
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert _levels(path, fps=25) == list(range(10))
    assert ("timestamps are missing" in caplog.text) == (stated is None)


class _Frame:
    def __init__(self, pts):
        self.pts, self.time_base, self.duration = pts, Fraction(1, 25), 1


class _Stream:
    average_rate = guessed_rate = Fraction(25)


def test_frames_in_order_with_timestamps_out_of_order(tmp_path):
    """AVI has no presentation times: its frames are numbered in the order they are stored."""
    frames = [_Frame(pts) for pts in (1, 2, 4, 3, 5, 7, 6, 8, 10, 9)]
    shown = list(video._timed(tmp_path, _Stream(), frames))
    assert [each.frame for each in shown] == frames
    assert [each.time * 25 for each in shown] == list(range(10))


def test_a_missing_timestamp_follows_the_one_before(tmp_path, caplog):
    frames = [_Frame(None), _Frame(1), _Frame(None), _Frame(3)]
    with caplog.at_level(logging.WARNING, logger="absl"):
        times = [time * 25 for time, _ in video._stamped(tmp_path, Fraction(1, 25), frames)]
    assert times == [0, 1, 2, 3]
    assert caplog.text.count("timestamps are missing") == 1


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_rotation_is_applied(tmp_path, degrees):
    path = tmp_path / "a.mp4"
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16, :32] = 255  # top left
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.set_display_rotation(degrees)
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    with av.open(str(path)) as container:
        stated = next(container.decode(video=0)).rotation
    expected = np.rot90(picture, stated // 90)  # counter-clockwise, as FFmpeg states it
    frame = next(video.read_frames(path))
    assert stated in (degrees, -degrees)
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 4
    about = video.info(path)
    assert (about.height, about.width) == expected.shape[:2]


def test_odd_sizes_and_alpha_and_grey(tmp_path):
    path = _make(tmp_path / "grey.mkv", range(0, 120, 40), size=(33, 17))
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


def test_info(tmp_path):
    about = video.info(_make(tmp_path / "a.mkv", range(0, 400, 40)))
    assert (about.width, about.height) == (32, 24)
    assert about.fps == pytest.approx(25, rel=0.05)
    assert about.duration == pytest.approx(0.4, abs=0.05)


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.mp4"):
        video.read_frames(tmp_path / "nowhere.mp4")
    with pytest.raises(video.VideoError, match="folder"):
        video.read_frames(tmp_path)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(video.VideoError, match=r"empty\.mp4: .*empty file"):
        next(video.read_frames(tmp_path / "empty.mp4"))
    (tmp_path / "text.mp4").write_text("no video" * 100)
    with pytest.raises(video.VideoError, match=r"text\.mp4: not a video"):
        next(video.read_frames(tmp_path / "text.mp4"))
    with pytest.raises(video.VideoError, match=r"text\.mp4: not a video"):
        video.info(tmp_path / "text.mp4")


def test_no_video_stream_is_said(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.rate = 8000
        out.mux(stream.encode(sound))
        out.mux(stream.encode(None))
    with pytest.raises(video.VideoError, match="no video stream, only audio"):
        next(video.read_frames(path))


def test_damage_midway_names_the_time(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(50):
            noise = rng.integers(0, 256, (64, 64, 3), np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        out.mux(stream.encode(None))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    with pytest.raises(video.VideoError, match=r"a\.mp4: damaged at about [01]\.\d\d s"):
        list(video.read_frames(path, fps=25))


def test_a_file_cut_short_is_said(tmp_path, caplog):
    path = _make(
        tmp_path / "a.avi", range(100), Fraction(1, 25), "mpeg4", size=(64, 48), level=lambda k: k
    )
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with caplog.at_level(logging.WARNING, logger="absl"):
        count = len(list(video.read_frames(path)))
    assert 0 < count < 90
    assert "cut short" in caplog.text


@pytest.mark.parametrize(
    "wrong", [{"fps": 0}, {"fps": -25}, {"start": -1}, {"start": 2, "end": 1}, {"max_frames": 0}]
)
def test_senseless_spans(tmp_path, wrong):
    path = _make(tmp_path / "a.mkv", [0, 40])
    with pytest.raises(ValueError, match="must"):
        video.read_frames(path, **wrong)


def test_a_frame_shown_twice_is_one_array(tmp_path):
    frames = list(video.read_frames(_make(tmp_path / "a.mkv", [0, 80]), fps=25))
    assert frames[0] is frames[1]


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
