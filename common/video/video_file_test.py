"""Seeking gives the frames that decoding from the beginning gives, in bounded memory."""

import itertools
import json
import os
import subprocess
import sys
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common import video
from common.video import video_file

TICK = Fraction(1, 1000)
COUNT = 260


def _x264(**params):
    text = ":".join(f"{key.replace('_', '-')}={value}" for key, value in params.items())
    return "libx264", {"x264-params": f"scenecut=0:{text}"}


# File name: codec and its options.
VIDEOS = {
    "short.mp4": _x264(bframes=3, keyint=10),
    "long.mp4": _x264(bframes=3, keyint=250),
    "shifted.mp4": _x264(bframes=2, keyint=30),
    "open.mp4": _x264(bframes=3, keyint=25, open_gop=1, b_adapt=0),
    "open.mkv": _x264(bframes=5, keyint=25, open_gop=1, b_adapt=0, b_pyramid="normal"),
    "refresh.mp4": _x264(intra_refresh=1, keyint=25),
    "many.mkv": _x264(bframes=16, keyint=60, b_adapt=0, ref=4),
    "mpeg4.mkv": ("mpeg4", {"bf": "2", "g": "12"}),
    "mpeg4.avi": ("mpeg4", {"bf": "2", "g": "12"}),
    "many.avi": _x264(bframes=16, keyint=60, b_adapt=0, ref=4),
    "mpeg2.ts": ("mpeg2video", {"bf": "2", "g": "12"}),
    "vp9.webm": ("libvpx-vp9", {"g": "30", "lag-in-frames": "16", "auto-alt-ref": "1"}),
    "ffv1.mkv": ("ffv1", {"g": "20"}),
}
EVEN = ("avi", "ts")  # their formats have a constant rate


def _times(name):
    """Milliseconds; gaps of 5 to 120 ms, or 40 where the rate is constant."""
    if name.endswith(EVEN):
        return [40 * k for k in range(COUNT)]
    gaps = np.random.default_rng(len(name)).integers(5, 120, COUNT)
    return [5000 * name.startswith("shifted") + int(t) for t in np.cumsum(gaps)]


def _pictures(count=COUNT, size=(64, 48)):
    """Moving noise, so that every frame differs from every other."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], 2 * size[0], 3), np.uint8)
    for k in range(count):
        yield np.ascontiguousarray(np.roll(noise, 3 * k, 1)[:, : size[0]] // 2 + k % 128)


def _write(path, codec, options, times, tick=TICK, size=(64, 48), pictures=None):
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = tick
        for time, picture in zip(times, pictures or _pictures(size=size), strict=False):
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
    def make(name):
        times, tick = _times(name), TICK
        if name.endswith(EVEN):
            times, tick = range(COUNT), Fraction(1, 25)
        path = _write(folder / name, *VIDEOS[name], times, tick)
        with av.open(str(path)) as container:
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            slack = min(container.streams.video[0].time_base / 2, TICK)
        expected = [Fraction(time - _times(name)[0], 1000) for time in _times(name)]
        assert len(pictures) == COUNT
        return path, list(zip(expected, pictures, strict=True)), slack

    return make


def _expected(frames, slack, fps, start, end, max_frames):
    """By definition, of all frames: which are shown, and when; times are `slack` late at most."""
    times = [time for time, _ in frames]
    if fps is None:
        picked = [(t, p) for t, p in frames if start <= t < end]
        return picked[:max_frames]
    picked = []
    for k in itertools.count():
        moment = start + k / fps
        if moment >= end or k == max_frames:
            return picked
        last = max(i for i, time in enumerate(times) if time - slack <= moment)
        picked.append((moment, frames[last][1]))


@pytest.mark.parametrize("name", VIDEOS)
@settings(max_examples=12, deadline=None, suppress_health_check=[*HealthCheck])
@given(
    start=st.fractions(0, 15, max_denominator=1000),
    length=st.fractions(Fraction(1, 10), 3, max_denominator=1000),
    fps=st.sampled_from([None, Fraction(25), Fraction(10), Fraction(30000, 1001), Fraction(60)]),
)
def test_a_span_is_a_slice_of_all_frames(made, name, start, length, fps):
    path, frames, slack = made(name)
    start = start % (frames[-1][0] - 1)
    end = start + length if fps is None else min(start + length, frames[-1][0])
    span = {"fps": fps, "start": start, "end": end, "max_frames": 40}
    expected = _expected(frames, slack, **span)
    got = [] if not expected else list(video.Video(path, threads=2, **span).timed())
    assert [time for time, _ in got] == pytest.approx([float(time) for time, _ in expected])
    for (_, ours), (_, theirs) in zip(got, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


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
    ("name", "most"),
    # The first frames, the span, the margin of a second, and a group of pictures.
    [("short.mp4", 60), ("open.mp4", 80), ("open.mkv", 80), ("vp9.webm", 80), ("ffv1.mkv", 80)],
)
def test_a_late_span_is_not_decoded_from_the_beginning(made, decoded, name, most):
    path, frames, _ = made(name)
    start = frames[200][0]
    assert len(list(video.read_frames(path, start=start, max_frames=10))) == 10
    assert 10 < len(decoded) <= most


@pytest.mark.parametrize("name", ["mpeg4.avi", "mpeg2.ts"])
def test_containers_that_cannot_seek_exactly_are_decoded_from_the_beginning(made, decoded, name):
    path, frames, _ = made(name)
    list(video.read_frames(path, start=frames[200][0], max_frames=10))
    assert len(decoded) >= 210


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

    monkeypatch.setattr(video_file, "_open", lambda path: Seeking(original(path)))
    for Seeking.fails in (False, True):
        decoded.clear()
        got = next(video.read_frames(path, start=frames[150][0]))
        np.testing.assert_array_equal(got, frames[150][1])
        assert decoded.count(decoded[0]) == 2  # the first frame again


def test_the_result_is_the_same_with_any_number_of_threads(made):
    path, _, _ = made("open.mkv")
    one, four = (list(video.read_frames(path, start=5, threads=n)) for n in (1, 4))
    assert len(one) > 100
    np.testing.assert_array_equal(one, four)


# Reads a video in a process of its own: the most memory it held, MB, all of it and Python's part.
MEASURE = """
import json, resource, sys, tracemalloc
from common import video
next(video.read_frames(sys.argv[1], threads=2))
tracemalloc.start()
count = sum(1 for _ in video.read_frames(sys.argv[1], fps=25, threads=2))
traced = tracemalloc.get_traced_memory()[1] / 2**20
print(json.dumps([count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, traced]))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path):
    peaks = {}
    for count in (100, 3000):
        path = tmp_path / f"{count}.mp4"
        pictures = itertools.islice(itertools.cycle(_pictures(25, (640, 360))), count)
        options = {"preset": "ultrafast", "g": "50"}
        every = Fraction(1, 25)
        _write(path, "libx264", options, range(count), every, (640, 360), pictures)
        run = [sys.executable, "-c", MEASURE, str(path)]
        output = subprocess.run(run, check=True, capture_output=True, text=True).stdout
        frames, resident, traced = json.loads(output)
        assert frames == count
        peaks[count] = np.array([resident, traced])
    # 3000 frames are 2 GB; measured: within 1 MB resident and 0.1 MB of Python's.
    print(peaks)
    assert (peaks[3000] - peaks[100] < [16, 1]).all(), peaks


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
@pytest.mark.parametrize(("threads", "most"), [(1, 0), (2, 2 + 1)])
def test_no_more_threads_than_asked_for(made, threads, most):
    path, *_ = made("long.mp4")
    before = set(os.listdir("/proc/self/task"))
    with video_file.VideoFile(path, threads) as file:
        for shown in file.frames(Fraction(8), strict=True):  # after a seek
            file.to_rgb(shown.item)
            assert len(set(os.listdir("/proc/self/task")) - before) <= most
    assert file._stream.codec_context.thread_count == threads
