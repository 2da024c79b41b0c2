"""What is found of videos: each kind of problem, what annotations say, and the report."""

import dataclasses
import json
import multiprocessing
import os
import re
import shutil
import signal
from fractions import Fraction
from pathlib import PosixPath

import av
import numpy as np
import pytest

from common import video
from common.annotations import Annotations, Record
from common.jobs.runs import Settings
from common.jobs.task import Item
from common.prepare import checking
from common.prepare.checking import Finding
from common.video import frame_files


def _check(folder, *items, min_frames=1, workers=0):
    """What `check` finds of items, working in a folder."""
    ran = checking.run(items, Settings(folder, workers))
    return checking.findings(items, ran, min_frames)


def _video(path, count=10, rate=25, size=(32, 24), codec="ffv1"):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "gray" if codec == "ffv1" else "yuv420p"
        for _ in range(count):
            picture = noise.integers(0, 256, (size[1], size[0], 3), np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Videos with and without problems, named after them."""
    folder = tmp_path_factory.mktemp("videos")
    _video(folder / "good.mkv")
    _video(folder / "large/good.mp4", 30, Fraction(30000, 1001), (64, 48), "libx264")
    _video(folder / "short.mkv", 3)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video\nat all " * 50)
    content = _video(folder / "cut.mkv", 60).read_bytes()
    (folder / "cut.mkv").write_bytes(content[: len(content) // 2])
    return folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("good.mkv", {"width": 32, "height": 24, "fps": 25.0, "frames": 10, "seconds": 0.4}),
        (
            "large/good.mp4",
            {"width": 64, "height": 48, "fps": 30000 / 1001, "frames": 30, "seconds": 1.001},
        ),
        ("gone.mp4", {"problem": "missing", "reason": "there is no such file"}),
        ("empty.mp4", {"problem": "empty", "reason": "the file is empty"}),
        (
            "short.mkv",
            {
                "problem": "too_short", "reason": "expected at least 9 frames, got 3",
                "width": 32, "height": 24, "fps": 25.0, "frames": 3, "seconds": 0.12,
            },
        ),
    ],
)  # fmt: skip
def test_a_video(folder, tmp_path, name, expected):
    (found,) = _check(tmp_path, Item("a/b", folder / name), min_frames=9)
    assert found == Finding("a/b", str(folder / name), **expected)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("text.mp4", "not a video that FFmpeg can open"), ("cut.mkv", "cut short|damaged")],
)
def test_what_cannot_be_read(folder, tmp_path, name, reason):
    (found,) = _check(tmp_path, Item("a", folder / name))
    assert (found.problem, found.frames, found.width) == ("unreadable", 0, 0)
    assert re.search(reason, found.reason)
    assert "\n" not in found.reason


@pytest.mark.parametrize(
    ("start", "end", "problem", "reason"),
    [
        (0.2, 1.0, "", ""),
        (0.2, 0.4, "too_short", "expected at least 9 frames, got 6"),
        (0.0, None, "", ""),
        (0.96, None, "too_short", "expected at least 9 frames, got 1"),
        (1.001, None, "mismatch", "the clip begins at 1.001 s, the video ends at 1.00 s"),
        (0.0, 2.0, "", ""),  # a second more is let pass
        (0.0, 2.1, "mismatch", "the clip ends at 2.1 s, the video at 1.00 s"),
        (0.5, 20.0, "mismatch", "the clip ends at 20 s, the video at 1.00 s"),
    ],
)
def test_a_clip_of_a_video(folder, tmp_path, start, end, problem, reason):
    clip = Item("a", folder / "large/good.mp4", start, end)
    (found,) = _check(tmp_path, clip, min_frames=9)
    assert (found.problem, found.reason, found.frames) == (problem, reason, 30)


def _frames(folder, count=10):
    clip = np.random.default_rng(0).integers(0, 256, (count, 24, 32, 3), np.uint8)
    frame_files.write_rgb(folder, folder.name, clip)
    return folder


def test_folders_of_frames(tmp_path):
    good, gap, damaged = (_frames(tmp_path / name) for name in ("good", "gap", "damaged"))
    (gap / "image_00004.jpg").unlink()
    content = (damaged / "image_00007.jpg").read_bytes()
    (damaged / "image_00007.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "nothing").mkdir()
    items = (Item("a", good, 0.0, 5.0), *(Item(each.name, each) for each in (gap, damaged)))
    items += (Item("nothing", tmp_path / "nothing"),)
    found = _check(tmp_path / "out", *items, min_frames=9)
    assert found[0] == Finding("a", str(good), width=32, height=24, frames=10)
    assert [each.problem for each in found[1:]] == ["unreadable"] * 3
    assert [(each.frames, each.width) for each in found[1:]] == [(0, 0)] * 3
    assert "image_00004.jpg is missing" in found[1].reason
    assert "image_00007.jpg: is a damaged image" in found[2].reason
    assert "without numbered frames" in found[3].reason
    # As damage in the middle changes neither names nor ends, it is looked at again each time.
    (damaged / "image_00007.jpg").write_bytes(content)
    found = _check(tmp_path / "out", *items, min_frames=11)
    problems = [each.problem for each in found]
    assert problems == ["too_short", "unreadable", "too_short", "unreadable"]


class Deadly(PosixPath):
    """A source over which a worker dies, but not the process that counts."""

    def stat(self, **options):
        if multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().stat(**options)


@pytest.mark.parametrize("workers", [0, 2])
def test_all_in_their_order(folder, tmp_path, workers):
    names = ["good.mkv", "empty.mp4", "large/good.mp4", "text.mp4", "good.mkv"]
    items = [Item("same", folder / name) for name in names]
    problems = ["", "empty", "", "unreadable", ""]
    if workers:
        items.insert(1, Item("deadly", Deadly(folder / "good.mkv")))
        problems.insert(1, "unreadable")
    found = _check(tmp_path, *items, workers=workers)
    assert [each.problem for each in found] == problems
    assert [each.frames for each in found if not each.problem] == [10, 30, 10]
    assert [each.source for each in found] == [str(item.source) for item in items]
    if workers:
        assert found[1].reason == "the worker process died (signal 9)"


def _refuse(*_):
    raise AssertionError("decoded again")


def test_a_second_run_decodes_only_what_is_new(folder, tmp_path, monkeypatch):
    good, large = Item("good", folder / "good.mkv"), Item("large", folder / "large/good.mp4")
    first = _check(tmp_path, good)
    stored = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert sorted(path.name for path in stored) == [".good.json.done", "good.json"]
    assert not any(str(folder).encode() in content for content in stored.values())
    _check(tmp_path, good, large)
    monkeypatch.setattr(video, "measure", _refuse)
    again = _check(tmp_path, good, large, min_frames=11)  # what is expected needs no decoding
    assert again[0] == dataclasses.replace(
        first[0], problem="too_short", reason="expected at least 11 frames, got 10"
    )
    assert (again[1].problem, again[1].frames) == ("", 30)
    assert {path: path.read_bytes() for path in stored} == stored
    with pytest.raises(AssertionError, match="decoded again"):  # another span is another clip
        checking.CheckTask().make(Item("good", good.source, 0.1), (tmp_path / "x",))
    ran = checking.run([dataclasses.replace(good, start=0.1)], Settings(tmp_path, 0))
    assert ran.failed == ("good",)


def test_a_video_that_was_fetched_anew_is_looked_at_again(folder, tmp_path):
    whole = (folder / "good.mkv").read_bytes()
    path = tmp_path / "a.mkv"
    path.write_bytes(b"\0" * len(whole))
    (found,) = _check(tmp_path / "out", Item("a", path))
    assert found.problem == "unreadable"
    assert json.loads((tmp_path / "out/failed.jsonl").read_text())["item"] == "a"
    path.write_bytes(whole)
    (found,) = _check(tmp_path / "out", Item("a", path))
    assert (found.problem, found.frames) == ("", 10)
    assert not (tmp_path / "out/failed.jsonl").exists()


def test_names_as_long_as_they_may_be(folder, tmp_path):
    path = tmp_path / f"{'x' * 251}.mkv"
    shutil.copy(folder / "good.mkv", path)
    (found,) = _check(tmp_path / "out", Item("deep/" + "x" * 251, path))
    assert (found.name, found.problem, found.frames) == ("deep/" + "x" * 251, "", 10)


GOOD = Finding("a", "a.mp4", width=64, height=48, fps=30.0, frames=300, seconds=10.0)


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({}, ""),
        ({"duration": 11.0}, ""),
        ({"duration": 8.9}, "the annotation has 8.9 s, the video 10.00 s"),
        ({"duration": 11.2}, "the annotation has 11.2 s, the video 10.00 s"),
        ({"duration": 11.2, "start": 1.0, "end": 12.2}, ""),  # of a clip: `scan` has looked
        ({"frames": 300, "fps": 30.0}, ""),
        ({"frames": 299, "fps": 30.0}, "the annotation has 299 frames, the video 300"),
        ({"frames": 250}, ""),  # of frames that were extracted at some rate
    ],
)
def test_what_an_annotation_says(stated, reason):
    records = [Record("b", "b.mp4", "training"), Record("a", "a.mp4", "training", **stated)]
    other = dataclasses.replace(GOOD, name="other")
    found = checking.compare([GOOD, other], records)
    problem = "mismatch" if reason else ""
    assert found == [dataclasses.replace(GOOD, problem=problem, reason=reason), other]


def test_a_tenth_of_a_long_video_is_let_pass():
    found = dataclasses.replace(GOOD, seconds=100.0)
    for duration, problem in ((109.0, ""), (115.0, "mismatch"), (95.0, ""), (90.0, "mismatch")):
        record = Record("a", "a.mp4", "training", duration=duration)
        assert checking.compare([found], [record])[0].problem == problem


@pytest.mark.parametrize(
    ("path", "stated", "reason"),
    [
        ("a", {}, ""),
        ("a", {"frames": 240}, ""),
        ("a", {"frames": 241}, "the annotation has 241 frames, the folder 240"),
        ("a", {"frames": 241, "fps": 12.0}, "the annotation has 241 frames, the folder 240"),
        ("rgb/a", {"frames": 241}, "the annotation has 241 frames, the folder 240"),
        ("a", {"frames": 241, "start": 1.0, "end": 2.0}, ""),  # of the clip, not of the folder
        ("a", {"duration": 99.0}, ""),  # nobody knows the rate
        ("a", {"duration": 11.0, "fps": 24.0}, ""),
        (
            "a",
            {"duration": 11.2, "fps": 24.0},
            "the annotation has 11.2 s, the folder 10.00 s (240 frames at 24 a second)",
        ),
        ("a.mp4", {"frames": 241, "fps": 24.0, "duration": 20.0}, ""),  # of the video
        ("b", {"frames": 241}, ""),
    ],
)
def test_what_an_annotation_says_of_a_folder_of_frames(path, stated, reason):
    finding = Finding("a", "set/rgb/a", width=32, height=24, frames=240)
    (found,) = checking.compare([finding], [Record("a", path, "training", **stated)])
    problem = "mismatch" if reason else ""
    assert found == dataclasses.replace(finding, problem=problem, reason=reason)


def test_what_no_annotation_names(folder, tmp_path):
    items = [Item("x", folder / "good.mkv"), Item("y", folder / "cut.mkv")]
    expected = ["empty", "large/good", "short", "text"]
    assert checking.unlisted(folder, items) == expected
    assert checking.unlisted(tmp_path, items) == []


ANNOTATIONS = Annotations(
    ("run", "walk", "sit", "fly"),
    (
        Record("a", "a.mp4", "training", (0, 2)),
        Record("b", "b.mp4", "training", (0,)),
        Record("c", "c.mp4", "testing", (1,)),
        Record("beyond the limit", "d.mp4", "testing", (3,)),
    ),
)
FINDINGS = [
    GOOD,
    Finding("b", "b.mp4", "empty", "the file is empty"),
    dataclasses.replace(GOOD, name="c", width=640, fps=30000 / 1001, seconds=26.0),
]


def test_the_report(tmp_path):
    content = checking.report(FINDINGS, ANNOTATIONS, ["new"])
    text = checking.summary(content, FINDINGS)
    checking.write(tmp_path / "out", content, text)
    assert json.loads((tmp_path / "out/report.json").read_text()) == content
    assert (tmp_path / "out/report.txt").read_text() == text + "\n"
    assert [each.pop("name") for each in content["findings"]] == ["a", "b", "c"]
    assert content["findings"][1] == {
        "source": "b.mp4", "problem": "empty", "reason": "the file is empty", "width": 0,
        "height": 0, "fps": None, "frames": 0, "seconds": 0,
    }  # fmt: skip
    del content["findings"]
    assert content == {
        "videos": 3,
        "good": 2,
        "problems": {"empty": 1},
        "frames": 600,
        "hours": 0.01,
        "coverage": {
            "run": {"expected": 2, "good": 1},
            "walk": {"expected": 1, "good": 1},
            "sit": {"expected": 1, "good": 1},
        },
        "unlisted": ["new"],
    }
    assert text.splitlines() == [
        "3 videos, 2 good; 600 frames, 0.01 hours",
        "sizes: 64x48 (1), 640x48 (1)",
        "frames a second: 30 (1), 29.97 (1)",
        "1 empty files:",
        "  b: the file is empty",
        "1 videos that the annotations do not name:",
        "  new",
        "2 of 3 classes are complete",
        "  run: 1 of 2",
    ]


def test_the_report_without_annotations():
    content = checking.report([])
    assert content == {
        "videos": 0, "good": 0, "problems": {}, "frames": 0, "hours": 0, "findings": [],
    }  # fmt: skip
    assert checking.summary(content, []).splitlines()[1:] == [
        "sizes: none",
        "frames a second: none",
    ]
    unnamed = dataclasses.replace(ANNOTATIONS, classes=())
    assert list(checking.report(FINDINGS, unnamed)["coverage"]) == ["0", "1", "2"]
    assert "unlisted" not in checking.report(FINDINGS, unnamed)


def test_the_summary_shows_some_and_counts_the_rest():
    findings = [
        Finding(f"{k}\x1b", "x", "missing", "there is no such file", width=k + 1) for k in range(8)
    ]
    lines = checking.summary(checking.report(findings), findings).splitlines()
    assert lines[1].endswith("5x0 (1) and 3 more")
    assert lines[3] == "8 not there:"
    assert lines[4] == "  0\\x1b: there is no such file"
    assert lines[9:] == ["  and 3 more"]
