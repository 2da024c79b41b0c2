"""What is no video, damaged or cut short is said."""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest

from common import video
from common.testing.videos import encoded, make


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


def test_a_file_that_names_others_is_no_video(tmp_path):
    make(tmp_path / "real.mkv", [0, 40])
    for name, text in {
        "concat.mp4": "ffconcat version 1.0\nfile real.mkv\n",
        "list.m3u8": f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/real.mkv\n#EXT-X-ENDLIST\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(video.VideoError, match=rf"{name}: not a video"):
            next(video.read_frames(tmp_path / name))


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
    path = make(
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
    encoded(path, times, Fraction(1, 1000), codec, 25, (64, 48), levels, None, options)
    assert len(list(video.read_frames(path, strict=True))) == 200
    assert len(list(video.read_frames(path, start=5, strict=True))) == 75
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(video.VideoError, match=r"cut short|damaged"):
        list(video.read_frames(path, strict=True))


def test_an_mp4_without_its_index_is_no_video(tmp_path):
    path = make(tmp_path / "a.mp4", range(0, 400, 40), codec="libx264", size=(64, 48))
    content = path.read_bytes()
    assert content.index(b"moov") > content.index(b"mdat")
    path.write_bytes(content[: content.index(b"moov")])
    with pytest.raises(video.VideoError, match=r"a\.mp4: not a video"):
        list(video.read_frames(path))


def test_measuring_is_strict(tmp_path):
    path = make(tmp_path / "a.avi", range(100), Fraction(1, 25), "mpeg4", size=(64, 48), level=int)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(video.VideoError, match=r"a\.avi: cut short"):
        video.measure(path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.mp4"):
        video.measure(tmp_path / "nowhere.mp4")
    with pytest.raises(ValueError, match="threads must be at least 1"):
        video.measure(path, threads=0)
