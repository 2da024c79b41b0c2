"""Videos are made with PyAV; every frame is one grey level, which says which frame came out."""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest

from common import video


def _encoded(path, pts, tick, codec, rate, size, level, options, muxing=None, aspect=None):
    with av.open(str(path), "w", options=muxing or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = "gray" if codec == "ffv1" else "yuv420p"
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
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


@pytest.mark.parametrize(("aspect", "width"), [("4/3", 85), ("8/9", 57), ("1279/1280", 64)])
def test_pixels_are_square(tmp_path, aspect, width):
    path, level = tmp_path / "a.mp4", lambda k: 10 * k
    span = range(0, 120, 40), Fraction(1, 1000)
    _encoded(path, *span, "libx264", 25, (64, 48), level, None, aspect=Fraction(aspect))
    assert next(video.read_frames(path)).shape == (48, width, 3)
    assert next(video.read_frames(path, square_pixels=False)).shape == (48, 64, 3)
    assert (video.info(path).width, video.info(path).height) == (width, 48)


def test_pixels_that_are_absurdly_wide_are_an_error(tmp_path):
    path, span = tmp_path / "a.mp4", (range(0, 120, 40), Fraction(1, 1000))
    _encoded(path, *span, "libx264", 25, (64, 48), int, None, aspect=Fraction(9, 1))
    with pytest.raises(video.VideoError, match="9 times as wide"):
        list(video.read_frames(path))


def test_frames_are_as_large_as_the_first(tmp_path):
    for name, size in (("a", (64, 48)), ("b", (96, 80))):
        tick, path = Fraction(1, 25), tmp_path / f"{name}.h264"
        _encoded(path, range(20), tick, "libx264", 25, size, lambda k: 10 * k, None)
    path = tmp_path / "joined.h264"
    path.write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    assert [frame.shape for frame in video.read_frames(path)] == [(48, 64, 3)] * 40


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_timestamps_may_be_huge(tmp_path, suffix):
    pts = [2**40 + 40 * k for k in range(100)]
    path = _make(tmp_path / f"a.{suffix}", pts, codec="libx264", size=(64, 48), level=lambda k: k)
    every = list(video.read_timed_frames(path, fps=25, strict=True))
    assert [time for time, _ in every] == pytest.approx([k / 25 for k in range(100)])
    late = list(video.read_frames(path, fps=25, start=3))
    np.testing.assert_array_equal(late, [frame for _, frame in every[75:]])


def test_a_gap_of_hours_is_no_still(tmp_path):
    path = _make(tmp_path / "a.mkv", [0, 40, 2**30, 2**30 + 40])
    with pytest.raises(
        video.VideoError, match=r"frame at 0\.04 s would be shown for 1\.07374e\+06"
    ):
        list(video.read_frames(path, fps=25))
    assert _levels(path) == [0, 1, 2, 3]
    assert _levels(path, fps=25, max_frames=4) == [0, 1, 1, 1]
    assert _levels(path, fps=25, start=2**30 / 1000) == [2, 3]
    long = _make(tmp_path / "b.mkv", [0, 599_000])
    assert len(_levels(long, fps=1, end=599)) == 599


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


def test_times_of_frames(tmp_path):
    path = _make(tmp_path / "a.mkv", [70, 110, 270, 370])
    times = [time for time, _ in video.read_timed_frames(path)]
    assert times == pytest.approx([0, 0.04, 0.2, 0.3])
    times = [time for time, _ in video.read_timed_frames(path, fps=20, start=0.1, end=0.3)]
    assert times == pytest.approx([0.1, 0.15, 0.2, 0.25])


def test_info(tmp_path):
    about = video.info(_make(tmp_path / "a.mkv", range(0, 400, 40)))
    assert (about.width, about.height) == (32, 24)
    assert about.fps == pytest.approx(25, rel=0.05)
    assert about.duration == pytest.approx(0.4, abs=0.05)


def test_a_whole_video_is_measured_without_a_picture_of_it(tmp_path, monkeypatch):
    path = _make(tmp_path / "a.mkv", [70, 110, 270, 370])
    monkeypatch.delattr("common._decoding.VideoFile.to_rgb")
    measured = video.measure(path, threads=1)
    assert (measured.width, measured.height, measured.frames) == (32, 24, 4)
    assert measured.times == pytest.approx([0, 0.04, 0.2, 0.3])
    assert measured.fps == video.info(path).fps
    assert measured.seconds == pytest.approx(0.3 + 0.04, abs=0.002)


def test_what_is_measured_is_upright_and_square_if_that_was_asked_for(tmp_path):
    path, span = tmp_path / "a.mp4", (range(0, 120, 40), Fraction(1, 1000))
    _encoded(path, *span, "libx264", 25, (64, 48), int, None, aspect=Fraction(4, 3))
    assert video.measure(path).width == 85
    assert video.measure(path, square_pixels=False).width == 64


def test_measuring_is_strict(tmp_path):
    path = _make(tmp_path / "a.avi", range(100), Fraction(1, 25), "mpeg4", size=(64, 48), level=int)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(video.VideoError, match=r"a\.avi: cut short"):
        video.measure(path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.mp4"):
        video.measure(tmp_path / "nowhere.mp4")
    with pytest.raises(ValueError, match="threads must be at least 1"):
        video.measure(path, threads=0)


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.mp4"):
        video.read_frames(tmp_path / "nowhere.mp4")
    with pytest.raises(video.VideoError, match="folder without numbered frames"):
        next(video.read_frames(tmp_path))
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


def test_the_cover_of_a_song_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        sound, cover = out.add_stream("aac", rate=8000), out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 16, 16, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = np.zeros((16, 16, 3), np.uint8)
        out.mux(cover.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(cover.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.rate = 8000
        out.mux(sound.encode(silence))
        out.mux(sound.encode(None))
    with pytest.raises(video.VideoError, match="no video stream"):
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
    assert "cut short. The header states 4.00 s" in caplog.text
    for start in (0, 1):
        with pytest.raises(video.VideoError, match=r"a\.avi: cut short"):
            list(video.read_frames(path, start=start, strict=True))


@pytest.mark.parametrize("suffix", ["mkv", "webm", "flv", "mp4"])
def test_cut_short_by_container(tmp_path, suffix):
    codec = "libvpx-vp9" if suffix == "webm" else "libx264"
    path, levels = tmp_path / f"a.{suffix}", lambda k: 7 * k % 256
    times = range(0, 8000, 40)
    options = {"movflags": "faststart"} if suffix == "mp4" else None
    _encoded(path, times, Fraction(1, 1000), codec, 25, (64, 48), levels, None, options)
    assert len(list(video.read_frames(path, strict=True))) == 200
    assert len(list(video.read_frames(path, start=5, strict=True))) == 75
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(video.VideoError, match=r"cut short|damaged"):
        list(video.read_frames(path, strict=True))


def test_an_mp4_without_its_index_is_no_video(tmp_path):
    path = _make(tmp_path / "a.mp4", range(0, 400, 40), codec="libx264", size=(64, 48))
    content = path.read_bytes()
    assert content.index(b"moov") > content.index(b"mdat")
    path.write_bytes(content[: content.index(b"moov")])
    with pytest.raises(video.VideoError, match=r"a\.mp4: not a video"):
        list(video.read_frames(path))


def test_frames_before_the_edit_list_are_no_part_of_the_video(tmp_path):
    """As `ffmpeg -ss 3.3 -c copy` cuts: from the keyframe at 2 s on, shown from 3.3 s on."""
    options = {"x264-params": "keyint=50:scenecut=0:bframes=3"}
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    _encoded(whole, range(200), Fraction(1, 25), "libx264", 25, (64, 48), int, options)
    with av.open(str(whole)) as source, av.open(str(cut), "w") as out:
        stream = source.streams.video[0]
        copied = out.add_stream_from_template(stream)
        key, shown = (int(Fraction(time) / stream.time_base) for time in ("2", "3.3"))
        for packet in source.demux(stream):
            if packet.dts is not None and packet.pts >= key:
                packet.pts, packet.dts = packet.pts - shown, packet.dts - shown
                packet.stream = copied
                out.mux(packet)
    frames = list(video.read_timed_frames(cut, strict=True))
    assert len(frames) == 117  # of the 150 that the header counts
    assert [round(frame.mean()) for _, frame in frames[:3]] == pytest.approx([83, 84, 85], abs=2)
    late = list(video.read_timed_frames(cut, start=3))
    assert [time for time, _ in late] == [time for time, _ in frames if time >= 3]
    np.testing.assert_array_equal(late[0][1], frames[75][1])


@pytest.mark.parametrize(
    "wrong",
    [{"fps": 0}, {"fps": -25}, {"fps": float("nan")}, {"start": -1}, {"start": 2, "end": 1},
     {"start": float("inf")}, {"end": float("inf")}, {"max_frames": 0}, {"threads": 0}],
)  # fmt: skip
def test_senseless_spans(tmp_path, wrong):
    path = _make(tmp_path / "a.mkv", [0, 40])
    with pytest.raises(ValueError, match="must"):
        video.read_frames(path, **wrong)


def test_a_file_has_its_own_rate(tmp_path):
    path = _make(tmp_path / "a.mkv", [0, 40])
    with pytest.raises(ValueError, match="source_fps is for folders"):
        video.read_frames(path, source_fps=25)


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


@pytest.mark.parametrize("file", ["apply_eye_makeup.avi", "arm_wrestling.mp4", "person_hd.mp4"])
def test_spans_of_real_videos(real_data, file):
    path = real_data(f"samples/{file}")
    frames = list(video.read_timed_frames(path, strict=True))
    middle = len(frames) * 3 // 4
    late = list(video.read_timed_frames(path, start=frames[middle][0]))
    assert [time for time, _ in late] == [time for time, _ in frames[middle:]]
    np.testing.assert_array_equal(late[0][1], frames[middle][1])
    np.testing.assert_array_equal(late[-1][1], frames[-1][1])
