"""What is found of videos: each kind of problem, what annotations say, and the report."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from common import video
from common.annotations import Annotations, Record, annotation_files
from common.jobs.task import Item
from common.prepare import check
from common.testing import commands
from common.testing.films import Film


def _check(folder, output, *flags):
    """The exit status, and the findings by name."""
    words = (f"--input={folder}", f"--output={output}", "--workers=0", *flags)
    done = commands.run("common.prepare.check", *words)
    content = json.loads((output / "report.json").read_text())
    assert done.stdout == (output / "report.txt").read_text()
    return done.returncode, {each["name"]: each for each in content["findings"]}, content


@pytest.fixture
def folder(tmp_path):
    """Videos with and without problems, named after them; a.mp4 and a.avi side by side."""
    folder = tmp_path / "in"
    Film("run/good.mp4", 10, (1, 0)).write(folder)
    Film("large.mp4", 30, (1, 0), Fraction(30000, 1001), zoom=2).write(folder)
    Film("short.avi", 3, (1, 0)).write(folder)
    (folder / "short.mp4").touch()
    for name in ("gap", "damaged"):
        Film(name, 10, (1, 0)).write(folder)
    (folder / "gap/00004.jpg").unlink()
    damaged = folder / "damaged/00007.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    return folder


def test_a_folder_then_a_data_set_with_nothing_decoded_again(folder, tmp_path, monkeypatch):
    status, found, _ = _check(folder, tmp_path / "out", "--allow_failures=3")
    assert status == 1
    assert found["run/good"] == {
        "name": "run/good", "source": str(folder / "run/good.mp4"), "problem": "", "reason": "",
        "width": 64, "height": 48, "fps": 25.0, "frames": 10, "seconds": 0.4,
    }  # fmt: skip
    assert [found["large"][key] for key in ("width", "fps", "seconds")] == [
        128,
        30000 / 1001,
        1.001,
    ]
    shorts = [each for each in _check(folder, tmp_path / "out")[2]["findings"]
              if each["name"] == "short"]  # fmt: skip
    assert [(each["problem"], each["reason"]) for each in shorts] == [
        ("too_short", "expected at least 9 frames, got 3"), ("empty", "the file is empty"),
    ]  # fmt: skip
    for name, reason in (
        ("gap", "00004.jpg is missing"),
        ("damaged", "00007.jpg: the image is damaged"),
    ):
        assert found[name]["problem"] == "unreadable" and reason in found[name]["reason"]
        assert "frames" not in found[name]

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(video, "measure", refuse)
    records = (
        Record("run/good", "run/good.mp4", "training", (0,), fps=25.0, frames=10),
        Record("large", "large.mp4", "training", (0,), fps=25.0, frames=25),
        Record("gone", "run/gone.mp4", "training", (1,)),
    )
    annotation_files.write(tmp_path / "list.json", Annotations(("run", "walk"), records))
    listed = f"--annotations={tmp_path / 'list.json'}"
    status, found, content = _check(folder, tmp_path / "out", listed, "--allow_failures=2")
    assert status == 0
    assert {name: each["problem"] for name, each in found.items()} == {
        "run/good": "", "large": "mismatch", "gone": "missing",
    }  # fmt: skip
    assert found["large"]["reason"] == "the annotation has 25 frames, the video 30"
    assert content["unlisted"] == ["damaged", "gap", "short", "short"]
    assert content["coverage"] == {
        "run": {"expected": 2, "good": 1}, "walk": {"expected": 1, "good": 0},
    }  # fmt: skip


VIDEO = {"frames": 300, "seconds": 10.0, "inside": 300}
LONG = {**VIDEO, "seconds": 100.0}
FRAMES = {"frames": 240, "seconds": 0, "inside": 240}
CLIP = {**VIDEO, "inside": 6}


@pytest.mark.parametrize(
    ("measured", "path", "stated", "reason"),
    [
        (VIDEO, "a.mp4", {}, ""),
        (VIDEO, "a.mp4", {"duration": 11.0}, ""),
        (VIDEO, "a.mp4", {"duration": 8.9}, "the annotation has 8.9 s, the video 10.00 s"),
        (VIDEO, "a.mp4", {"frames": 300, "fps": 30.0}, ""),
        (VIDEO, "a.mp4", {"frames": 250}, ""),  # of frames that were extracted at some rate
        (VIDEO, "a.mp4", {"duration": 11.2, "start": 1.0, "end": 10.2}, ""),  # of a clip
        (VIDEO, "a.mp4", {"start": 0.0, "end": 11.2}, "the clip ends at 11.2 s, the video at 10"),
        (VIDEO, "a.mp4", {"start": 10.0}, "the clip begins at 10 s, the video ends at 10.00 s"),
        (CLIP, "a.mp4", {"start": 9.8}, "expected at least 9 frames, got 6"),
        (LONG, "a.mp4", {"duration": 109.0}, ""),  # a tenth is let pass
        (LONG, "a.mp4", {"duration": 115.0}, "the annotation has 115 s, the video 100.00 s"),
        (FRAMES, "a", {"frames": 240}, ""),
        (FRAMES, "rgb/a", {"frames": 241, "fps": 12.0}, "has 241 frames, the folder 240"),
        (FRAMES, "a", {"frames": 241, "start": 1.0, "end": 2.0}, ""),  # of the clip
        (FRAMES, "a", {"duration": 99.0}, ""),  # nobody knows the rate
        (FRAMES, "a", {"duration": 11.0, "fps": 24.0}, ""),
        (
            FRAMES, "a", {"duration": 11.2, "fps": 24.0},
            "the annotation has 11.2 s, the folder 10.00 s (240 frames at 24 a second)",
        ),
        (FRAMES, "a.mp4", {"frames": 241, "fps": 24.0, "duration": 20.0}, ""),  # of the video
    ],
)  # fmt: skip
def test_what_an_annotation_says(measured, path, stated, reason):
    record = Record("a", path, "training", **stated)
    source = Path("set/rgb/a" if measured is FRAMES else "set/a.mp4")
    item = Item("a", source, record.start, record.end)
    found = check.judge(item, measured, 9, record)
    assert reason in found[1] if reason else found == ("", "")


def test_the_summary_shows_some_and_counts_the_rest():
    missing = {"problem": "missing", "reason": "there is no such file", "height": 48, "fps": 29.97}
    findings = [{"name": f"{k}\x1b", "width": k, **missing} for k in range(8)]
    content = {**check.report(findings), "unlisted": ["new"]}
    content["coverage"] = {"run": {"expected": 2, "good": 2}, "walk": {"expected": 4, "good": 1}}
    lines = check.summary(content).splitlines()
    assert lines[0] == "8 videos, 0 good; 0 frames, 0.0 hours"
    assert lines[1].endswith("4x48 (1), and 3 more")
    assert lines[2:5] == [
        "frames a second: 29.97 (8)", "8 not there:", "  0\\x1b: there is no such file",
    ]  # fmt: skip
    assert lines[9:] == [
        "  and 3 more", "1 videos that the annotations do not name:", "  new",
        "1 of 2 classes are complete", "  walk: 1 of 4",
    ]  # fmt: skip
