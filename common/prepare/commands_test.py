"""The commands: their flags, how these become settings, and runs of several one after another."""

import json
import os
import re
from pathlib import Path

import pytest

from common import flow, settings
from common.annotations import Annotations, Record, annotation_files
from common.flow import stamp
from common.jobs import runs
from common.jobs.pictures import Pictures
from common.jobs.settings import FrameSettings, RunSettings
from common.jobs.task import Item
from common.testing import commands, torture
from common.video import frame_files

ITEMS = ("allow_failures", "dry_run", "input", "limit", "output", "overwrite", "workers")
RUN = (*ITEMS, "annotations", "engine")
SOURCES = ("source_fps", "square_pixels")
FLOW = ("flow_engine", "tvl1")
FLAGS = {
    "check": (*RUN, "min_frames"),
    "count_frames": ITEMS,
    "extract_frames": (*RUN, *SOURCES, "fps", "short_side", "layout"),
    "extract_flow": (*RUN, *SOURCES, *FLOW, "fps", "short_side", "layout", "last", "bound"),
    "to_numpy": (*RUN, *SOURCES, *FLOW, "stream", "max_frames"),
    "preview": (*RUN, *SOURCES, *FLOW, "max_frames"),
}


def _run(command, *flags):
    """Runs a command in this process, without worker processes unless a flag says otherwise."""
    return commands.run(f"common.prepare.{command}", "--workers=0", *flags)


def _video(path, count=10, step=40):
    return torture.video(path, range(0, step * count, step), "ffv1", (32, 24))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    _video(folder / "run/a.mkv")
    _video(folder / "walk/b.mkv", 19, 20)  # the last is shown for 40 ms
    return folder


@pytest.mark.parametrize("command", FLAGS)
def test_help_lists_the_flags_of_the_command_and_no_others(command):
    done = _run(command, "--help")
    listed = re.findall(r"^  --(?:\[no\])?(\w+)", done.stdout, re.MULTILINE)
    assert sorted(listed) == sorted(FLAGS[command])
    assert f"python -m common.prepare.{command} --input=" in done.stdout


@pytest.mark.parametrize(
    ("command", "wrong", "text"),
    [
        ("extract_frames", "--fps=-1", "flag --fps=-1: -1.0 is not a non-negative number"),
        ("extract_frames", "--fps=1e9", "fps must be above 0 and at most 1000"),
        ("extract_frames", "--short_side=1", "short_side must be at least 2 pixels"),
        ("extract_frames", "--source_fps=25", "--source_fps is for folders of frames"),
        ("extract_frames", "--input={tmp}/none", "none: there is no such file or folder"),
        ("extract_frames", "--input={tmp}", "0 videos found under .*or folders of frames"),
        ("extract_frames", "--annotations={junk}", "junk.json: not annotations"),
        ("extract_frames", "--annotations={tmp}/x.json", "x.json: there is no such file"),
        ("extract_frames", "--layout=uv", "should be one of <image|img|frame"),
        ("extract_flow", "--bound=0", "bound must be above 0. Received: 0.0"),
        ("extract_flow", "--tvl1=warps=0", "warps must be at least 1. Received: 0"),
        ("extract_flow", "--tvl1=speed=9", "NAME being one of tau, .*Received: 'speed=9'"),
        ("extract_flow", "--layout=img", "should be one of <image_xy|flow_xy|"),
        ("to_numpy", "--fps=25", "Unknown command line flag 'fps'"),
        ("to_numpy", "--max_frames=1", "flag --max_frames=1: 1 is not integer >= 2"),
        ("check", "--min_frames=0", "flag --min_frames=0"),
        ("count_frames", "--output={tmp}/new", "--output is another folder than --input"),
    ],
)
def test_wrong_flags_end_with_one_line_and_nothing_written(videos, tmp_path, command, wrong, text):
    junk = tmp_path / "junk.json"
    junk.write_text("[1, 2]")
    flags = [f"--input={videos}", wrong.format(tmp=tmp_path, junk=junk)]
    if command != "count_frames":
        flags.insert(0, f"--output={tmp_path / 'out'}")
    done = commands.run(f"common.prepare.{command}", *flags)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(f"^error: .*{text}", done.stderr), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [junk]


def test_frames_then_flow_of_them(videos, tmp_path):
    frames, flow = tmp_path / "frames", tmp_path / "flow"
    done = _run("extract_frames", f"--input={videos}", f"--output={frames}", "--fps=25")
    assert done.stdout == "extract_frames: 2 done, 0 skipped, 0 failed, 20 frames\n"
    arguments = (f"--input={frames}", f"--output={flow}", "--short_side=24", "--layout=flow_xy")
    done = _run("extract_flow", *arguments, "--workers=2")
    assert done.stdout == "extract_flow: 2 done, 0 skipped, 0 failed, 20 flows\n"
    done = _run("extract_flow", *arguments, "--dry_run")
    assert done.stdout == "extract_flow: 0 to do, 2 skipped, 0 failed, 20 flows\n"
    done = _run("extract_flow", *arguments, "--fps=12.5")
    assert done.stdout.startswith("extract_flow: 2 done (2 in place of what was there), ")
    assert stamp.read(flow / "run/a").fps == 12.5
    assert len(frame_files.open_flow(flow, "run/a")) == 5


def test_videos_and_folders_of_frames_together(videos, tmp_path):
    mixed = tmp_path / "mixed"
    _run("extract_frames", f"--input={videos / 'run'}", f"--output={mixed}", "--fps=10")
    _video(mixed / "videos/c.mkv")
    (mixed / "videos/c_1.jpg").write_text("a picture of the video, and no frame")
    done = _run("extract_flow", f"--input={mixed}", f"--output={tmp_path}", "--short_side=24")
    assert done.stdout == "extract_flow: 2 done, 0 skipped, 0 failed, 14 flows\n"
    assert stamp.read(tmp_path / "a").fps == 10
    assert stamp.read(tmp_path / "videos/c").fps == 25


def _annotations(path, *records):
    annotation_files.write(path, Annotations(("run", "walk"), records))
    return f"--annotations={path}"


def test_clips_of_annotations_and_then_their_frames(videos, tmp_path):
    listed = _annotations(
        tmp_path / "list.json",
        Record("x/clip 1", "walk/b.mkv", "training", (1,), start=0.1, end=0.3),
        Record("x/gone", "run/gone.mkv", "training", (0,)),
    )
    frames, flow = tmp_path / "frames", tmp_path / "flow"
    done = _run("extract_frames", f"--input={videos}", f"--output={frames}", listed)
    assert done.returncode == 1
    assert "1 done, 0 skipped, 1 failed, 10 frames" in done.stdout
    arguments = (listed, "--allow_failures=1", "--last=drop", "--short_side=0")
    done = _run("extract_flow", f"--input={frames}", f"--output={flow}", *arguments)
    assert done.returncode == 0
    assert "1 done, 0 skipped, 1 failed, 9 flows" in done.stdout
    made = frame_files.open_flow(flow, "x/clip 1")
    assert (len(made), made.stamp.fps, made.stamp.short_side) == (9, None, None)


def test_check(tmp_path):
    _video(tmp_path / "in/run/a.mkv")
    _video(tmp_path / "in/walk/b.mkv")
    (tmp_path / "in/walk/empty.mp4").touch()
    known = _annotations(
        tmp_path / "list.json",
        Record("a", "run/a.mkv", "training", (0,), fps=25.0, frames=10),
        Record("gone", "run/gone.mkv", "training", (0,)),
    )
    out, arguments = tmp_path / "out", (f"--input={tmp_path / 'in'}", f"--output={tmp_path}/out")
    done = _run("check", *arguments, known, "--dry_run")
    assert (done.returncode, done.stdout) == (0, "check: 2 videos to look at\n")
    assert not out.exists()
    done = _run("check", *arguments, known)
    assert (done.returncode, done.stdout) == (1, (out / "report.txt").read_text())
    content = json.loads((out / "report.json").read_text())
    assert content["problems"] == {"missing": 1}
    assert content["unlisted"] == ["walk/b", "walk/empty"]
    assert content["coverage"] == {"run": {"expected": 2, "good": 1}}
    assert _run("check", *arguments, "--allow_failures=1").returncode == 0
    content = json.loads((out / "report.json").read_text())
    assert (content["videos"], content["problems"]) == (3, {"empty": 1})
    assert "unlisted" not in content


def test_count_frames(tmp_path, monkeypatch):
    for name, numbers in (("a/good", [1, 2, 3]), ("a/right", [0, 1]), ("gap", [1, 3])):
        (tmp_path / name).mkdir(parents=True)
        for number in numbers:
            (tmp_path / name / f"image_{number:05d}.jpg").touch()
    (tmp_path / "a/right/n_frames").write_text("2")
    done = _run("count_frames", f"--input={tmp_path}", "--dry_run")
    summary = "count_frames: 3 folders, 5 frames or flows, 1 n_frames"
    assert (done.returncode, done.stdout) == (1, f"{summary} to write, 1 failed\n")
    assert not (tmp_path / "a/good/n_frames").exists()
    also = (f"--output={tmp_path / 'a/..'}", "--workers=2", "--overwrite", "--allow_failures=1")
    done = _run("count_frames", f"--input={tmp_path}", *also)
    assert (done.returncode, done.stdout) == (0, f"{summary} written, 1 failed\n")
    assert "image_00002.jpg is missing" in done.stderr
    assert (tmp_path / "a/good/n_frames").read_text() == "3"
    assert not (tmp_path / "gap/n_frames").exists()
    monkeypatch.chdir(tmp_path / "a/good")
    (tmp_path / "a/good/n_frames").write_text("7")
    assert _run("count_frames", "--input=.").returncode == 0
    assert (tmp_path / "a/good/n_frames").read_text() == "3"


def _settings(*flags):
    """The settings of a command over items with these flags."""
    return settings.parse(RunSettings, ["--input=in", "--output=out", *flags], "test")


@pytest.mark.parametrize(
    ("asked", "cores", "items", "workers", "threads"),
    [
        ([], 16, 100, 16, 1),
        ([], 16, 5, 5, 3),
        ([], 1, 5, 1, 1),
        (["--workers=4"], 16, 100, 4, 4),
        (["--workers=64"], 16, 100, 64, 1),
        (["--workers=0"], 16, 100, 0, 16),
    ],
)
def test_shares_of_the_processor(monkeypatch, asked, cores, items, workers, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    given = _settings("--allow_failures=3", "--dry_run", *asked)
    found = given.for_run([Item(str(k), Path()) for k in range(items)])
    assert (found.workers, found.threads) == (workers, threads)
    assert (found.output, found.allow_failures, found.dry_run) == (Path("out"), 3, True)
    assert (found.engine, found.overwrite) == ("local", False)


@pytest.mark.parametrize(
    ("name", "asked", "cuda", "workers"),
    [
        ("extract_frames", [], None, 16),  # None fails when called: nobody asks for a GPU
        ("check", [], None, 16),
        ("to_numpy", ["--stream=rgb"], None, 16),
        ("to_numpy", [], lambda: True, 4),
        ("preview", [], lambda: True, 4),
        ("extract_flow", [], lambda: True, 4),
        ("extract_flow", ["--workers=9"], lambda: True, 9),
        ("extract_flow", ["--flow_engine=numba"], lambda: True, 16),
    ],
)
def test_few_processes_share_a_gpu(tmp_path, monkeypatch, name, asked, cuda, workers):
    for k in range(20):
        (tmp_path / f"{k}.mp4").touch()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(flow, "_cuda", cuda)
    found = []
    monkeypatch.setattr(runs, "run", lambda task, items, given: found.append(given) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        commands.run(
            f"common.prepare.{name}", f"--input={tmp_path}", f"--output={tmp_path / 'out'}", *asked
        )
    assert [given.workers for given in found] == [workers]


USUAL = Pictures(fps=25, short_side=256)


@pytest.mark.parametrize(
    ("asked", "folders", "expected"),
    [
        ([], True, USUAL),
        (["--fps=25"], False, USUAL),
        (["--fps=10"], True, Pictures(fps=10, folder_fps=10, short_side=256)),
        (["--fps=0", "--short_side=0"], True, Pictures()),
        (["--fps=0"], False, Pictures(short_side=256)),
        (["--source_fps=12"], True, Pictures(fps=25, source_fps=12, short_side=256)),
        (["--nosquare_pixels", "--short_side=8"], False, Pictures(25, None, None, 8, False)),
    ],
)
def test_pictures(tmp_path, asked, folders, expected):
    items = [Item("a", tmp_path / "a.mp4"), *([Item("b", tmp_path)] if folders else [])]
    assert settings.parse(FrameSettings, asked, "test").pictures(items, USUAL) == expected
