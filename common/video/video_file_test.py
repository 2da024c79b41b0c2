"""Seeking gives what decoding from the beginning gives; orientation; what is no video is said."""

import itertools
import logging
import struct
from fractions import Fraction
from functools import cache

import av
import numpy as np
import pytest

from common import video
from common.testing.videos import encoded, make
from common.video import Video, video_file

TICK = Fraction(1, 1000)
COUNT = 130
SIZE = (64, 48)


def _x264(**params):
    text = ":".join(f"{key.replace('_', '-')}={value}" for key, value in params.items())
    return "libx264", {"x264-params": f"scenecut=0:{text}"}


# File name: codec and its options.
VIDEOS = {
    "short.mp4": _x264(bframes=3, keyint=10),
    "shifted.mp4": _x264(bframes=2, keyint=30),
    "open.mp4": _x264(bframes=3, keyint=25, open_gop=1, b_adapt=0),
    "refresh.mp4": _x264(intra_refresh=1, keyint=25),
    "many.mkv": _x264(bframes=16, keyint=60, b_adapt=0, ref=4),
    "mpeg4.avi": ("mpeg4", {"bf": "2", "g": "12"}),
    "many.avi": _x264(bframes=16, keyint=60, b_adapt=0, ref=4),
    "mpeg2.ts": ("mpeg2video", {"bf": "2", "g": "12"}),
    "vp9.webm": ("libvpx-vp9", {"g": "30", "lag-in-frames": "16", "deadline": "realtime"}),
}
EVEN = ("avi", "ts")  # their formats have a constant rate


def _times(name):
    """Milliseconds; gaps of 5 to 120 ms, or 40 where the rate is constant."""
    if name.endswith(EVEN):
        return [40 * k for k in range(COUNT)]
    gaps = np.random.default_rng(len(name)).integers(5, 120, COUNT)
    return [5000 * name.startswith("shifted") + int(t) for t in np.cumsum(gaps)]


def _pictures(count=COUNT):
    """Moving noise, so that every frame differs from every other."""
    noise = np.random.default_rng(0).integers(0, 256, (SIZE[1], 2 * SIZE[0], 3), np.uint8)
    for k in range(count):
        yield np.ascontiguousarray(np.roll(noise, 3 * k, 1)[:, : SIZE[0]] // 2 + k % 128)


def _write(path, codec, options, times, tick, pictures):
    first = next(pictures := iter(pictures))
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = tick
        for time, picture in zip(times, itertools.chain([first], pictures), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """From a name to the file, each frame with its time, and how far times may be rounded."""
    folder = tmp_path_factory.mktemp("videos")

    @cache
    def of(name):
        times, tick = _times(name), TICK
        if name.endswith(EVEN):
            times, tick = range(COUNT), Fraction(1, 25)
        path = _write(folder / name, *VIDEOS[name], times, tick, _pictures())
        with av.open(str(path)) as container:
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            slack = min(container.streams.video[0].time_base / 2, TICK)
        expected = [Fraction(time - _times(name)[0], 1000) for time in _times(name)]
        return path, list(zip(expected, pictures, strict=True)), slack

    return of


def _expected(frames, slack, fps, start, end):
    """By definition, of all frames: which are shown, and when; times are `slack` late at most."""
    if fps is None:
        return [(time, picture) for time, picture in frames if start <= time < end]
    picked = []
    for k in itertools.count():
        if (moment := start + k / fps) >= end:
            return picked
        picked.append((moment, [p for time, p in frames if time - slack <= moment][-1]))


@pytest.mark.parametrize("fps", [None, Fraction(30000, 1001)])
@pytest.mark.parametrize("name", VIDEOS)
def test_a_span_is_a_slice_of_all_frames(made, name, fps):
    path, frames, slack = made(name)
    rng = np.random.default_rng(0)
    last = int(1000 * frames[-1][0])
    for start in (Fraction(0), *(Fraction(int(at), 1000) for at in rng.integers(0, last - 500, 5))):
        span = {"fps": fps, "start": start, "end": start + Fraction(1, 2)}
        expected = _expected(frames, slack, **span)
        got = list(Video(path, threads=2, **span).timed())
        assert [time for time, _ in got] == pytest.approx([float(time) for time, _ in expected])
        np.testing.assert_array_equal(
            np.stack([ours for _, ours in got]), np.stack([theirs for _, theirs in expected])
        )


@pytest.fixture
def decoded(monkeypatch):
    """A list that grows by one with every frame that is decoded."""
    seen = []
    original = video_file.VideoFile._decoded

    def counting(self):
        for frame in original(self):
            seen.append(frame.pts)
            yield frame

    monkeypatch.setattr(video_file.VideoFile, "_decoded", counting)
    return seen


@pytest.mark.parametrize(
    ("name", "least", "most"),
    # The first frame, the span, the margin of a second, and a group of pictures.
    [("short.mp4", 8, 60), ("open.mp4", 8, 80), ("vp9.webm", 8, 80), ("mpeg2.ts", 105, 130)],
)
def test_a_late_span_is_not_decoded_from_the_beginning(made, decoded, name, least, most):
    path, frames, _ = made(name)
    assert len(list(video.read_frames(path, start=frames[100][0], max_frames=5))) == 5
    assert least <= len(decoded) <= most


def test_a_seek_that_lands_late_or_fails_falls_back(made, decoded, monkeypatch):
    path, frames, _ = made("short.mp4")
    original = video_file._open

    class Seeking:
        def __init__(self, container):
            self._container = container

        def __getattr__(self, name):
            return getattr(self._container, name)

        def seek(self, offset, **options):
            if self.fails:
                raise av.error.PermissionError(1, "no seeking")
            self._container.seek(int(offset + 3 * 16000), **options)

    def opened(path, threads):
        container, stream = original(path, threads)
        return Seeking(container), stream

    monkeypatch.setattr(video_file, "_open", opened)
    for Seeking.fails in (False, True):
        decoded.clear()
        got = next(video.read_frames(path, start=frames[60][0]))
        np.testing.assert_array_equal(got, frames[60][1])
        assert decoded.count(decoded[0]) == 2  # the first frame again


# Four levels, all different, so that no two ways round look alike.
PICTURE = np.kron([[250, 20], [90, 160]], np.ones((16, 32)))
PICTURE = np.repeat(PICTURE[..., None], 3, 2).astype(np.uint8)

# a, b, c, d of the matrix: (x, y) is shown at (a x + c y, b x + d y), y pointing down.
WAYS_ROUND = {
    "mirrored": ((-1, 0, 0, 1), np.fliplr),
    "upside down, mirrored": ((1, 0, 0, -1), np.flipud),
    "upside down": ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    "clockwise": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "counter-clockwise": ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
    "zeros say nothing": ((0, 0, 0, 0), lambda p: p),
    "transposed the other way": ((0, -1, -1, 0), lambda p: np.rot90(p.transpose(1, 0, 2), 2)),
    "almost clockwise": ((0.0087, 1, -1, 0.0087), lambda p: np.rot90(p, -1)),
}


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """From the matrix in its track header to an MP4."""
    folder = tmp_path_factory.mktemp("turned")
    pictures = [PICTURE] * 60
    path = _write(folder / "a.mp4", "libx264", {"qp": "0"}, range(60), Fraction(1, 25), pictures)
    content = path.read_bytes()

    def matrix(a, b, c, d):
        return struct.pack(">9i", *(round(n * 2**16) for n in (a, b, 0, c, d, 0, 0, 0)), 2**30)

    def of(*numbers):
        at = content.index(matrix(1, 0, 0, 1), content.index(b"tkhd"))
        path.write_bytes(content[:at] + matrix(*numbers) + content[at + 36 :])
        return path

    return of


@pytest.mark.parametrize("name", WAYS_ROUND)
def test_ways_round(turned, name):
    numbers, turn = WAYS_ROUND[name]
    path, expected = turned(*numbers), turn(PICTURE).astype(int)
    for start in (0, 2.1):
        frame = next(video.read_frames(path, start=start))
        assert frame.shape == expected.shape
        assert np.abs(frame - expected).max() < 8
    assert video.measure(path)[:2] == expected.shape[1::-1]


def test_bad_files(tmp_path):
    make(tmp_path / "real.mkv", [0, 40])
    real = f"file://{tmp_path}/real.mkv"
    index = make(tmp_path / "a.mp4", range(0, 400, 40), codec="libx264", size=SIZE).read_bytes()
    for name, content in (
        ("empty.mp4", b""),
        ("text.mp4", b"no video" * 100),
        ("concat.mp4", b"ffconcat version 1.0\nfile real.mkv\n"),
        ("list.m3u8", f"#EXTM3U\n#EXTINF:1,\n{real}\n#EXT-X-ENDLIST\n".encode()),
        ("index.mp4", index[: index.index(b"moov")]),
    ):
        (tmp_path / name).write_bytes(content)
        for read in (video.measure, lambda path: next(video.read_frames(path))):
            with pytest.raises(video.VideoError, match=rf"{name}: (not|expected) a video"):
                read(tmp_path / name)
    for read in (video.measure, video.read_frames):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.mp4"):
            read(tmp_path / "nowhere.mp4")


def test_neither_sound_nor_the_cover_of_a_song_is_a_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=8000)
        stream = out.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuvj420p"
        stream.disposition = av.stream.Disposition.attached_pic
        picture = np.zeros((16, 16, 3), np.uint8)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.rate = 8000
        out.mux(sound.encode(silence))
        out.mux(sound.encode(None))
    with pytest.raises(video.VideoError, match="no video stream, only audio"):
        next(video.read_frames(path))


def test_damage_midway_names_the_time(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (50, 64, 64, 3), np.uint8)
    path = _write(tmp_path / "a.mp4", "libx264", {}, range(50), Fraction(1, 25), noise)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    with pytest.raises(video.VideoError, match=r"a\.mp4: damaged at about [01]\.\d\d s"):
        list(video.read_frames(path, fps=25))


def test_joined_files_without_new_timestamps(made):
    path, *_ = made("mpeg2.ts")
    joined = path.with_name("joined.ts")
    joined.write_bytes(2 * path.read_bytes())
    with pytest.raises(video.VideoError, match=r"joined\.ts: timestamps go back at 5\.\d\d s"):
        list(video.read_frames(joined))


@pytest.mark.parametrize("suffix", ["mkv", "webm", "flv", "mp4", "avi"])
def test_a_file_cut_short_is_said(tmp_path, caplog, suffix):
    codec = {"webm": "libvpx-vp9", "avi": "mpeg4"}.get(suffix, "libx264")
    times, tick = (range(200), Fraction(1, 25)) if suffix == "avi" else (range(0, 8000, 40), TICK)
    path = tmp_path / f"a.{suffix}"
    options = {"movflags": "faststart"} if suffix == "mp4" else None
    encoded(path, times, tick, codec, 25, SIZE, lambda k: 7 * k % 256, None, options)
    assert len(list(video.read_frames(path, strict=True))) == 200
    assert len(list(video.read_frames(path, start=5, strict=True))) == 75
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    for read in (lambda: list(video.read_frames(path, strict=True)), lambda: video.measure(path)):
        with pytest.raises(video.VideoError, match=rf"a\.{suffix}: (cut short|damaged)"):
            read()
    if suffix == "avi":
        with caplog.at_level(logging.WARNING, logger="absl"):
            assert 0 < len(list(video.read_frames(path))) < 180
        assert "cut short. The header states 8.00 s" in caplog.text
