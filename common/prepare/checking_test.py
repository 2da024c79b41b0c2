"""What is found of videos: each kind of problem, what annotations say, and the report."""

import dataclasses
import json
import shutil
from fractions import Fraction

import pytest

from common import video
from common.annotations import Annotations, Record
from common.jobs.runs import Settings
from common.jobs.task import Item
from common.prepare import checking
from common.prepare.checking import Finding
from common.testing.films import Film


def _check(folder, *items, min_frames=1):
    """What `check` finds of items, working in a folder."""
    ran = checking.run(items, Settings(folder, workers=0))
    return checking.findings(items, ran, min_frames)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Videos with and without problems, named after them."""
    folder = tmp_path_factory.mktemp("videos")
    Film("good.mp4", 10, (1, 0)).write(folder)
    Film("large.mp4", 30, (1, 0), Fraction(30000, 1001), zoom=2).write(folder)
    Film("short.avi", 3, (1, 0)).write(folder)
    (folder / "empty.mp4").touch()
    return folder


SHORT = "expected at least 9 frames, got 3"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("good.mp4", ("", "", 64, 48, 25.0, 10, 0.4)),
        ("large.mp4", ("", "", 128, 96, 30000 / 1001, 30, 1.001)),
        ("gone.mp4", ("missing", "there is no such file")),
        ("empty.mp4", ("empty", "the file is empty")),
        ("short.avi", ("too_short", SHORT, 64, 48, 25.0, 3, 0.12)),
    ],
)
def test_a_video(folder, tmp_path, name, expected):
    (found,) = _check(tmp_path, Item("a/b", folder / name), min_frames=9)
    assert found == Finding("a/b", str(folder / name), *expected)


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
    clip = Item("a", folder / "large.mp4", start, end)
    (found,) = _check(tmp_path, clip, min_frames=9)
    assert (found.problem, found.reason, found.frames) == (problem, reason, 30)


def test_folders_of_frames(tmp_path):
    for name in ("good", "gap", "damaged"):
        Film(name, 10, (1, 0)).write(tmp_path)
    (tmp_path / "gap/00004.jpg").unlink()
    damaged = tmp_path / "damaged/00007.jpg"
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    (tmp_path / "nothing").mkdir()
    items = [Item(name, tmp_path / name) for name in ("gap", "damaged", "nothing")]
    items = [Item("a", tmp_path / "good", 0.0, 5.0), *items]
    found = _check(tmp_path / "out", *items, min_frames=9)
    assert found[0] == Finding("a", str(tmp_path / "good"), width=64, height=48, frames=10)
    reasons = ("00004.jpg is missing", "00007.jpg: is a damaged image", "without numbered frames")
    for finding, reason in zip(found[1:], reasons, strict=True):
        assert (finding.problem, finding.frames, finding.width) == ("unreadable", 0, 0)
        assert reason in finding.reason
    # As damage in the middle changes neither names nor ends, it is looked at again each time.
    damaged.write_bytes(content)
    found = _check(tmp_path / "out", *items, min_frames=11)
    problems = [each.problem for each in found]
    assert problems == ["too_short", "unreadable", "too_short", "unreadable"]
    failed = (tmp_path / "out/failed.jsonl").read_text().splitlines()
    assert [json.loads(line)["item"] for line in failed] == ["gap", "nothing"]


def test_a_second_run_decodes_only_what_is_new(folder, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("decoded again")

    good, large = Item("good", folder / "good.mp4"), Item("large", folder / "large.mp4")
    first = _check(tmp_path, good)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert sorted(path.name for path in kept) == [".good.json.done", "good.json"]
    assert not any(str(folder).encode() in content for content in kept.values())
    _check(tmp_path, good, large)
    monkeypatch.setattr(video, "measure", refuse)
    again = _check(tmp_path, good, large, min_frames=11)  # what is expected needs no decoding
    short = {"problem": "too_short", "reason": "expected at least 11 frames, got 10"}
    assert again[0] == dataclasses.replace(first[0], **short)
    assert (again[1].problem, again[1].frames) == ("", 30)
    assert {path: path.read_bytes() for path in kept} == kept
    span = dataclasses.replace(good, start=0.1)  # another span is another clip
    assert "decoded again" in _check(tmp_path, span)[0].reason


def test_names_as_long_as_they_may_be_and_names_that_two_share(folder, tmp_path):
    path = tmp_path / f"{'x' * 251}.mp4"
    shutil.copy(folder / "good.mp4", path)
    names = ["deep/" + "x" * 251, "same", "same"]
    items = [Item(name, path) for name in names[:2]] + [Item("same", folder / "large.mp4")]
    found = _check(tmp_path / "out", *items)
    assert [(each.name, each.frames) for each in found] == list(
        zip(names, (10, 10, 30), strict=True)
    )


GOOD = Finding("a", "a.mp4", width=64, height=48, fps=30.0, frames=300, seconds=10.0)
LONG = dataclasses.replace(GOOD, seconds=100.0)
FRAMES = Finding("a", "set/rgb/a", width=32, height=24, frames=240)
TOO_MANY = "the annotation has 241 frames, the folder 240"


@pytest.mark.parametrize(
    ("finding", "path", "stated", "reason"),
    [
        (GOOD, "a.mp4", {}, ""),
        (GOOD, "a.mp4", {"duration": 11.0}, ""),
        (GOOD, "a.mp4", {"duration": 8.9}, "the annotation has 8.9 s, the video 10.00 s"),
        (GOOD, "a.mp4", {"duration": 11.2}, "the annotation has 11.2 s, the video 10.00 s"),
        (GOOD, "a.mp4", {"duration": 11.2, "start": 1.0, "end": 12.2}, ""),  # of a clip
        (GOOD, "a.mp4", {"frames": 300, "fps": 30.0}, ""),
        (
            GOOD, "a.mp4", {"frames": 299, "fps": 30.0},
            "the annotation has 299 frames, the video 300",
        ),
        (GOOD, "a.mp4", {"frames": 250}, ""),  # of frames that were extracted at some rate
        (LONG, "a.mp4", {"duration": 109.0}, ""),  # a tenth is let pass
        (LONG, "a.mp4", {"duration": 95.0}, ""),
        (LONG, "a.mp4", {"duration": 115.0}, "the annotation has 115 s, the video 100.00 s"),
        (LONG, "a.mp4", {"duration": 90.0}, "the annotation has 90 s, the video 100.00 s"),
        (FRAMES, "a", {"frames": 240}, ""),
        (FRAMES, "a", {"frames": 241}, TOO_MANY),
        (FRAMES, "rgb/a", {"frames": 241, "fps": 12.0}, TOO_MANY),
        (FRAMES, "a", {"frames": 241, "start": 1.0, "end": 2.0}, ""),  # of the clip
        (FRAMES, "a", {"duration": 99.0}, ""),  # nobody knows the rate
        (FRAMES, "a", {"duration": 11.0, "fps": 24.0}, ""),
        (
            FRAMES, "a", {"duration": 11.2, "fps": 24.0},
            "the annotation has 11.2 s, the folder 10.00 s (240 frames at 24 a second)",
        ),
        (FRAMES, "a.mp4", {"frames": 241, "fps": 24.0, "duration": 20.0}, ""),  # of the video
        (FRAMES, "b", {"frames": 241}, ""),
    ],
)  # fmt: skip
def test_what_an_annotation_says(finding, path, stated, reason):
    records = [Record("b", "b.mp4", "training"), Record("a", path, "training", **stated)]
    (found,) = checking.compare([finding], records)
    problem = "mismatch" if reason else ""
    assert found == dataclasses.replace(finding, problem=problem, reason=reason)


def test_the_report(tmp_path):
    findings = [
        GOOD,
        Finding("b", "b.mp4", "empty", "the file is empty"),
        dataclasses.replace(GOOD, name="c", width=640, fps=30000 / 1001, seconds=26.0),
    ]
    names = ("a", (0, 2)), ("b", (0,)), ("c", (1,)), ("beyond the limit", (3,))
    records = tuple(Record(name, f"{name}.mp4", "training", labels) for name, labels in names)
    annotations = Annotations(("run", "walk", "sit", "fly"), records)
    content = checking.report(findings, annotations, ["new"])
    text = checking.summary(content, findings)
    checking.write(tmp_path / "out", content, text)
    assert json.loads((tmp_path / "out/report.json").read_text()) == content
    assert (tmp_path / "out/report.txt").read_text() == text + "\n"
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
        "findings": [dataclasses.asdict(finding) for finding in findings],
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
    unnamed = checking.report(findings, dataclasses.replace(annotations, classes=()))
    assert list(unnamed["coverage"]) == ["0", "1", "2"]
    assert "unlisted" not in unnamed


def test_the_summary_shows_some_and_counts_the_rest():
    findings = [
        Finding(f"{k}\x1b", "x", "missing", "there is no such file", width=k + 1) for k in range(8)
    ]
    lines = checking.summary(checking.report(findings), findings).splitlines()
    assert lines[1].endswith("5x0 (1) and 3 more")
    assert lines[2:5] == [
        "frames a second: none", "8 not there:", "  0\\x1b: there is no such file",
    ]  # fmt: skip
    assert lines[9:] == ["  and 3 more"]
