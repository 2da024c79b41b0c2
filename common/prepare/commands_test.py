"""The commands that turn videos into frames, flow, arrays and previews: flags, and what they make.

Videos are a grey texture that moves two pixels a frame to the right.
"""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from common import flow, settings
from common.annotations import Annotations, Record, annotation_files
from common.flow import encoding, stamp
from common.flow.stamp import FlowStamp
from common.jobs import runs
from common.jobs.task import Item
from common.prepare import extract_frames, to_numpy
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT
from common.preprocessing.frames import resize_picture_short_side
from common.testing import commands, torture
from common.testing.tasks import contents
from common.video import frame_files, layouts, preview, video_clips

HEIGHT, WIDTH, STEP = 48, 64, 2
QUICK = ("--tvl1=warps=1", "--tvl1=scales=1")


def _run(command, *flags):
    """Runs a command in this process, without worker processes unless a flag says otherwise."""
    return commands.run(f"common.prepare.{command}", "--workers=0", *flags)


def _made(command, source, output, *flags):
    """Runs a command that has to succeed; the end of its summary."""
    done = _run(command, f"--input={source}", f"--output={output}", *flags)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout.rpartition(", 0 failed, ")[2].strip()


def _video(path, count, rate=25):
    """Lossless; returns the frames [T, H, W, 3]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH + STEP * count))
    smooth = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 3)
    canvas = cv2.normalize(smooth, None, 20, 235, cv2.NORM_MINMAX).astype(np.uint8)
    shown = [canvas[:, (left := STEP * (count - k)) : left + WIDTH] for k in range(count)]
    clip = np.repeat(np.stack(shown)[..., None], 3, -1)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "gray"
        for picture in clip:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return clip


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    """A folder with class/fast.mkv, 20 frames at 50 a second, and the frames."""
    folder = tmp_path_factory.mktemp("fast")
    return folder, _video(folder / "class/fast.mkv", 20, rate=50)


@pytest.fixture(scope="module")
def extracted(fast, tmp_path_factory):
    """Frames that `extract_frames` makes at 25 a second with a short side of 40."""
    output = tmp_path_factory.mktemp("frames")
    assert _made("extract_frames", fast[0], output, "--fps=25", "--short_side=40") == "10 frames"
    return output / "class/fast"


@pytest.fixture(scope="module")
def others(fast, tmp_path_factory):
    """Frames of another program."""
    folder = tmp_path_factory.mktemp("others") / "a"
    frame_files.write_rgb(folder, "a", fast[1])
    return folder


# Flags


@pytest.mark.parametrize(
    ("command", "wrong", "text"),
    [
        ("extract_frames", "--fps=-1", "--fps=-1: expected a finite number, at least 0"),
        ("extract_frames", "--input={tmp}/none", "none: there is no such file or folder"),
        ("extract_frames", "--input={tmp}", "0 videos found under .*or folders of frames"),
        ("extract_frames", "--annotations={junk}", "junk.json: not annotations"),
        ("extract_flow", "--bound=0", "bound must be above 0. Received: 0.0"),
        ("extract_flow", "--tvl1=warps=0", "warps must be at least 1. Received: 0"),
        ("extract_flow", "--tvl1=speed=9", "NAME being one of tau, .*Received: 'speed=9'"),
        ("to_numpy", "--max_frames=1", "--max_frames=1: expected a whole number, at least 2"),
    ],
)
def test_wrong_flags_end_with_one_line_and_nothing_written(fast, tmp_path, command, wrong, text):
    junk = tmp_path / "junk.json"
    junk.write_text("[1, 2]")
    wrong = wrong.format(tmp=tmp_path, junk=junk)
    flags = [f"--output={tmp_path / 'out'}", f"--input={fast[0]}", wrong]
    done = commands.run(f"common.prepare.{command}", *flags)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(f"^error: .*{text}", done.stderr), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [junk]


@pytest.mark.parametrize(
    ("name", "asked", "cuda", "workers", "threads"),
    [
        ("extract_frames", [], None, 16, 1),  # None fails when called: nobody asks for a GPU
        ("extract_frames", ["--limit=5"], None, 5, 3),
        ("check", ["--workers=4"], None, 4, 4),
        ("to_numpy", ["--stream=rgb"], None, 16, 1),
        ("to_numpy", [], lambda: True, 4, 4),
        ("preview", [], lambda: True, 4, 4),
        ("extract_flow", ["--workers=9"], lambda: True, 9, 1),
        ("extract_flow", ["--flow_engine=numba"], lambda: True, 16, 1),
    ],
)
def test_shares_of_the_processor_and_of_a_gpu(
    tmp_path, monkeypatch, name, asked, cuda, workers, threads
):
    for k in range(20):
        (tmp_path / f"{k}.mp4").touch()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(flow, "_cuda", cuda)
    found = []
    monkeypatch.setattr(runs, "Pool", lambda _, *given: found.append(given) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        commands.run(
            f"common.prepare.{name}", f"--input={tmp_path}", f"--output={tmp_path / 'out'}", *asked
        )
    assert found == [(workers, threads, "local")]


# Frames


def test_which_frames_are_taken(fast, extracted, others):
    """By timestamps of a video; of a folder by its rate, which is noted, stated or unknown."""
    video, clip = Item("a", fast[0] / "class/fast.mkv"), fast[1]

    def frames(item, *flags):
        flags = ("--input=in", "--output=out", *flags)
        given = settings.parse(extract_frames.Settings, flags)
        found = np.stack(list(given.read(item, given.fps, given.short_side)))
        assert found.dtype == np.uint8
        return found

    np.testing.assert_array_equal(frames(video), clip)
    np.testing.assert_array_equal(frames(video, "--fps=25"), clip[::2])
    span = dataclasses.replace(video, start=0.1, end=0.2)
    np.testing.assert_array_equal(frames(span), clip[5:10])
    small = [resize_picture_short_side(frame, 24) for frame in clip]
    np.testing.assert_array_equal(frames(video, "--short_side=24"), small)
    every = frames(Item("a", extracted))
    assert every.shape == (10, 40, 53, 3)
    for flags in (["--fps=12.5"], ["--fps=5", "--source_fps=10"]):
        np.testing.assert_array_equal(frames(Item("a", extracted), *flags), every[::2])
    assert len(frames(Item("a", others, fps=12), "--fps=6")) == 10
    with pytest.raises(ValueError, match=r"a: a folder of images has no times.*source_fps"):
        frames(Item("a", others), "--fps=12")


def test_extract_frames(fast, tmp_path):
    assert _made("extract_frames", fast[0], tmp_path, "--workers=2") == "20 frames"
    assert (tmp_path / "class/fast/n_frames").read_bytes() == b"20"
    made = frame_files.open_rgb(tmp_path, "class/fast").read(range(20))
    assert np.abs(made.astype(int) - fast[1]).mean() < 1
    assert json.loads((tmp_path / "class/fast/.done").read_text())["parameters"] == {
        "layout": "image", "quality": 95, "fps": 0.0, "short_side": 0, "source_fps": None,
        "square_pixels": True,
    }  # fmt: skip


def test_clips_of_annotations_and_then_their_frames(fast, tmp_path):
    records = (
        Record("x/clip 1", "class/fast.mkv", "training", (1,), start=0.1, end=0.3),
        Record("x/gone", "run/gone.mkv", "training", (0,)),
    )
    annotation_files.write(tmp_path / "list.json", Annotations(("run", "walk"), records))
    listed, frames = f"--annotations={tmp_path / 'list.json'}", tmp_path / "frames"
    done = _run("extract_frames", f"--input={fast[0]}", f"--output={frames}", listed)
    assert done.returncode == 1
    assert "1 done, 0 skipped, 1 failed, 10 frames" in done.stdout
    output, flags = tmp_path / "flow", ("--allow_failures=1", "--last=drop", "--short_side=0")
    done = _run("extract_flow", f"--input={frames}", f"--output={output}", listed, *flags)
    assert (done.returncode, "1 done, 0 skipped, 1 failed, 9 flows" in done.stdout) == (0, True)
    made = frame_files.open_flow(output, "x/clip 1")
    assert (len(made), made.stamp.fps, made.stamp.short_side) == (9, None, None)


# Flow


def test_extract_flow(fast, tmp_path):
    assert _made("extract_flow", fast[0], tmp_path, "--short_side=48") == "10 flows"
    clip = frame_files.open_flow(tmp_path, "class/fast")
    assert clip.stamp == FlowStamp(
        engine="numba", parameters=dataclasses.asdict(flow.TVL1Params()), fps=25, short_side=48,
        square_pixels=True, first_index=1, quality=95,
    )  # fmt: skip
    made = clip.read(range(10)) * encoding.BOUND
    assert np.median(made[..., 0]) == pytest.approx(2 * STEP, abs=0.2)
    assert abs(np.median(made[..., 1])) < 0.2
    np.testing.assert_array_equal(made[9], made[8])  # the last frame has no next one


def test_flow_of_every_frame_without_the_last(fast, tmp_path):
    flags = ("--fps=0", "--short_side=0", "--layout=uv", "--last=drop", "--bound=10")
    assert _made("extract_flow", fast[0], tmp_path, *flags) == "19 flows"
    clip = frame_files.open_flow(tmp_path, "class/fast")
    assert (clip.stamp.fps, clip.stamp.short_side) == (None, None)
    assert np.median(clip.read(range(19))[..., 0]) * encoding.BOUND == pytest.approx(STEP, abs=0.2)
    for part in "uv":
        assert layouts.read_n_frames(tmp_path / part / "class/fast") == 19


@pytest.mark.parametrize(
    ("flags", "source", "expected"),
    [
        ((), "extracted", (25, 256, True)),
        (("--short_side=0",), "extracted", (25, 40, True)),
        (("--fps=5", "--short_side=20"), "extracted", (5, 20, True)),
        (("--source_fps=30", "--short_side=0"), "others", (30, None, None)),
        (("--nosquare_pixels", "--fps=12", "--short_side=9"), "video", (12, 9, False)),
    ],
)
def test_flow_says_which_frames_it_is_of(
    fast, extracted, others, tmp_path, flags, source, expected
):
    path = {"video": fast[0] / "class/fast.mkv", "extracted": extracted, "others": others}[source]
    _made("extract_flow", path, tmp_path, *flags, *QUICK)
    made = stamp.read(tmp_path / path.stem)
    assert (made.fps, made.short_side, made.square_pixels) == expected


# Arrays and previews


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A video of 12 frames at 25 a second, whose name has a dot."""
    path = tmp_path_factory.mktemp("videos") / "a.b.mkv"
    _video(path, 12)
    return path


def test_arrays_are_what_a_network_is_fed(slow, tmp_path):
    assert _made("to_numpy", slow, tmp_path) == "12 frames"
    for stream, contract in (("rgb", RGB_CONTRACT), ("flow", FLOW_CONTRACT)):
        path = tmp_path / f"a.b_{stream}.npy"
        expected = video_clips.clip_from_video(slow, contract, flow_engine="numba")
        assert expected.shape == (1, 12, 224, 224, 3 if stream == "rgb" else 2)
        np.testing.assert_array_equal(np.load(path), expected, strict=True)
        np.testing.assert_array_equal(video_clips.clip_from_video(path, contract), expected)
    assert stamp.read(tmp_path / "a.b_flow.npy") == FlowStamp(
        engine="numba", parameters=dataclasses.asdict(flow.TVL1Params()), fps=25, short_side=256,
        square_pixels=True, form="npy",
    )  # fmt: skip


def test_one_stream_does_not_depend_on_the_flow_engine(fast, others, tmp_path):
    flags = ("--stream=rgb", "--max_frames=3")
    assert _made("to_numpy", fast[0], tmp_path, *flags) == "3 frames"
    assert {path.name for path in (tmp_path / "class").iterdir()} == {
        ".fast_rgb.npy.done", "fast_rgb.npy",
    }  # fmt: skip
    shown = list(video_clips.rgb_of_frames(fast[1][:6:2], RGB_CONTRACT))
    np.testing.assert_array_equal(np.load(tmp_path / "class/fast_rgb.npy")[0], shown)
    done = _run("to_numpy", f"--input={fast[0]}", f"--output={tmp_path}", *flags, *QUICK)
    assert "0 done, 1 skipped" in done.stdout
    assert _made("to_numpy", others, tmp_path, "--stream=rgb", "--source_fps=12") == "42 frames"


def test_arrays_are_streamed(tmp_path):
    _video(tmp_path / "long.mkv", 80)
    given = to_numpy.Settings(input=tmp_path, output=tmp_path, stream=("rgb",))
    tracemalloc.start()
    try:
        given.make(Item("long", tmp_path / "long.mkv"), [tmp_path / "long_rgb.npy"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "long_rgb.npy").stat().st_size > 48e6
    assert peak < 16e6


def test_previews(slow, tmp_path):
    assert _made("preview", slow, tmp_path, "--max_frames=10") == "10 frames"
    clips = [
        video_clips.clip_from_video(slow, contract, 10, flow_engine="numba")[0]
        for contract in (RGB_CONTRACT, FLOW_CONTRACT)
    ]
    rgb, moving = (preview.to_pictures(clip) for clip in clips)
    for name, expected in (("rgb", rgb), ("flow", moving)):
        with av.open(str(tmp_path / f"a.b_{name}.gif")) as file:
            shown = np.stack([each.to_ndarray(format="rgb24") for each in file.decode(video=0)])
        assert shown.shape == (10, 224, 224, 3)
        assert np.abs(shown.astype(int) - expected).mean() < 4  # a palette has 256 colours
    # To the right by 2 pixels of 48, which are 10.7 of 256: more than red can show.
    assert np.median(moving[..., 0]) == 255
    assert np.median(moving[..., 1]) == pytest.approx(127.5, abs=3)
    sheet = cv2.cvtColor(cv2.imread(str(tmp_path / "a.b_sheet.png")), cv2.COLOR_BGR2RGB)
    moments = np.linspace(0, 9, 8).round().astype(int)
    rows = [np.concatenate(list(part[moments]), axis=1) for part in (rgb, moving)]
    np.testing.assert_array_equal(sheet, np.concatenate(rows))


def test_count_frames(tmp_path):
    for name, pattern, numbers in (
        ("a/good", "image_%05d.jpg", [1, 2, 3]), ("a/right", "img_%05d.jpg", [0, 1]),
        ("gap", "image_%05dx.jpg", [1, 3]), ("gap", "image_%05dy.jpg", [1, 2, 3]),
    ):  # fmt: skip
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            (tmp_path / name / (pattern % number)).touch()
    (tmp_path / "a/right/n_frames").write_text("2")
    (tmp_path / "a/good/n_frames").write_text("many")
    (tmp_path / "gap/n_frames").write_text("7")
    count = ("common.prepare.count_frames", f"--input={tmp_path}")
    done = commands.run(*count, "--dry_run")
    summary = "count_frames: 3 folders, 5 frames or flows, 1 n_frames"
    assert (done.returncode, done.stdout) == (1, f"{summary} to write, 1 failed\n")
    assert (tmp_path / "a/good/n_frames").read_text() == "many"
    done = commands.run(*count, "--allow_failures=1")
    assert (done.returncode, done.stdout) == (0, f"{summary} written, 1 failed\n")
    assert "image_00002x.jpg is missing" in done.stderr
    assert (tmp_path / "a/good/n_frames").read_text() == "3"
    assert (tmp_path / "gap/n_frames").read_text() == "7"


# Kills


@pytest.mark.slow
@pytest.mark.parametrize("name", ["extract_frames", "extract_flow", "to_numpy", "preview", "check"])
def test_a_command_is_killed_and_repeated(tmp_path, name):
    """The whole process group, while items are being made by `python -m`."""
    for k in range(6):
        torture.video(tmp_path / f"videos/class {k % 2}/clip_{k}.mp4", range(0, 1000 + 400 * k, 40))
    flags = {"extract_flow": ["--short_side=24", "--layout=uv", *QUICK], "to_numpy": QUICK}
    flags["preview"] = [*QUICK, "--max_frames=10"]
    words = [sys.executable, "-m", f"common.prepare.{name}", "--input=videos", "--workers=2"]

    def start(output):
        return subprocess.Popen(
            [*words, f"--output={output}", *flags.get(name, [])], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip

    process, out = start("out"), tmp_path / "out"
    while process.poll() is None and not [*out.glob(".i3d-*.tmp")]:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.communicate()[1] == ""
    assert [*out.glob(".i3d-*.tmp")]
    for output in ("out", "fresh"):
        process = start(output)
        assert (process.communicate()[1], process.returncode) == ("", 0)
    assert contents(out) == contents(tmp_path / "fresh")
