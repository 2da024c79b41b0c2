"""A folder of everything that goes wrong with videos: the good are done, the bad are named.

In videos of one grey level a frame, level / 10 is the number of the frame.
"""

import json
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest

from common.testing import commands, torture
from common.testing.torture import BAD, GOOD

TOO_SHORT = {**BAD, "one": ("mp4", "flow needs at least two frames. Received: 1")}
QUICK = ("--tvl1=scales=1", "--tvl1=warps=1")
FEW = ("--max_frames=4",)  # of so few frames, three that are bad later on are good
GOOD_AT_FIRST = ("gap", "cut with index", "cut mkv")
ARRAYS = ("rgb.npy", "flow.npy", "flow.json")
PICTURES = ("rgb.gif", "flow.gif", "sheet.png")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torture")
    torture.put(folder)
    return folder


def _run(command, source, output, *arguments):
    words = (f"--input={source}", f"--output={output}", "--workers=0", *arguments)
    return commands.run(f"common.prepare.{command}", *words)


def _files(folder):
    """All files below, hidden ones too; a folder without any is listed itself."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }


def _in_folder(name, *patterns):
    """The files of a good video in a folder of its own."""
    images = {pattern % k for k in range(1, GOOD[name][0] + 1) for pattern in patterns}
    return {f"{name}/{file}" for file in ("n_frames", ".done", *images)}


def _beside(name, *endings):
    """The files of a good video that have markers beside them."""
    path = PurePosixPath(name)
    names = [f"{path.name}_{ending}" for ending in endings]
    return {str(path.with_name(f)) for each in names for f in (each, f".{each}.done")}


@pytest.mark.parametrize(
    ("command", "flags", "summary", "bad", "files"),
    [
        (
            "extract_frames", ("--fps=25",), "10 done, 0 skipped, 12 failed, 76 frames", BAD,
            lambda name: _in_folder(name, "image_%05d.jpg"),
        ),
        (
            "extract_flow", ("--short_side=16", *QUICK), "9 done, 0 skipped, 13 failed, 75 flows",
            TOO_SHORT,
            lambda name: {
                *_in_folder(name, "image_%05dx.jpg", "image_%05dy.jpg"), f"{name}/flow.json"
            },
        ),
        pytest.param(
            "to_numpy", QUICK, "9 done, 0 skipped, 13 failed, 75 frames", TOO_SHORT,
            lambda name: _beside(name, *ARRAYS), marks=pytest.mark.slow,
        ),
        pytest.param(
            "preview", (*QUICK, *FEW), "12 done, 0 skipped, 10 failed, 48 frames",
            {name: about for name, about in TOO_SHORT.items() if name not in GOOD_AT_FIRST},
            lambda name: _beside(name, *PICTURES), marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_the_good_are_done_and_the_bad_are_named(
    videos, tmp_path, command, flags, summary, bad, files
):
    made = set().union(*map(files, {*GOOD, *BAD}.difference(bad)))
    done = _run(command, videos, tmp_path, *flags)
    assert done.stdout.startswith(f"{command}: {summary}\n")
    assert (done.returncode, done.stderr) == (1, "")
    lines = [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()]
    assert [line["item"] for line in lines] == sorted(bad)
    for line in lines:
        suffix, reason = bad[line["item"]]
        assert line["source"] == str(videos / f"{line['item']}.{suffix}")
        assert reason in line["reason"]
        assert line["source"] in line["reason"] or "flow needs" in reason
    assert _files(tmp_path) == {"failed.jsonl", *made}
    # Again: what is good is skipped and not touched, what is bad fails again.
    before = {path: (tmp_path / path).stat().st_mtime_ns for path in _files(tmp_path)}
    count = summary.split()[0]
    done = _run(command, videos, tmp_path, *flags, f"--allow_failures={len(bad)}")
    assert done.stdout.startswith(f"{command}: 0 done, {count} skipped, {len(bad)} failed, ")
    assert (done.returncode, done.stderr) == (0, "")
    assert before == {path: (tmp_path / path).stat().st_mtime_ns for path in _files(tmp_path)}


def _image(path):
    """[H, W] grey; OpenCV's own reading takes no name that is not UTF-8."""
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)


def test_frames(videos, tmp_path):
    _run("extract_frames", videos, tmp_path, "--fps=25")
    for name, (count, width, height) in GOOD.items():
        assert (tmp_path / name / "n_frames").read_text() == str(count)
        for path in (tmp_path / name).glob("*.jpg"):
            assert _image(path).shape == (height, width)
    # By timestamps, until the last frame's time is over; upright, its top left now bottom left.
    shown = [_image(tmp_path / f"variable/image_{k:05d}.jpg").mean() / 10 for k in range(1, 10)]
    np.testing.assert_allclose(shown, [0, 1, 1, 1, 1, 2, 2, 2, 3], atol=0.2)
    upright = _image(tmp_path / "rotated/image_00001.jpg")
    white = [[upright[y : y + 16, x : x + 8].mean() > 128 for x in (4, 20)] for y in (8, 40)]
    assert white == [[False, False], [True, False]]


def test_check(videos, tmp_path):
    run = _run("check", videos, tmp_path, "--min_frames=2")
    assert (run.returncode, run.stderr) == (1, "")
    measured = {f"findings/{name}.json" for name in (*GOOD, "gap")}
    marked = {f"{path.parent}/.{path.name}.done" for path in map(Path, measured)}
    assert _files(tmp_path) == {"report.json", "report.txt", "failed.jsonl", *measured, *marked}
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["videos"], report["good"]) == (22, 10)  # the gap is no matter without a rate
    problems = {each["name"]: each["problem"] for each in report["findings"] if each["problem"]}
    kinds = {"one": "too_short", "empty": "empty", "gone": "missing", "itself": "missing"}
    assert problems == {
        name: kinds.get(name, "unreadable") for name in {*BAD, "one"}.difference({"gap"})
    }
    for each in report["findings"]:
        name = each["name"]
        if name in GOOD:
            frames = 4 if name == "variable" else GOOD[name][0]
            assert (each["frames"], each["width"], each["height"]) == (frames, *GOOD[name][1:])
        elif each["problem"] == "unreadable":
            assert BAD[name][1] in each["reason"]
        assert each["source"].startswith(f"{videos / name}.")
    assert run.stdout == (tmp_path / "report.txt").read_text()
    # Again: only what was not measured is looked at; the report is made of all.
    assert _run("check", videos, tmp_path, "--dry_run").stdout == "check: 11 videos to look at\n"
    assert _run("check", videos, tmp_path, "--min_frames=1", "--allow_failures=11").returncode == 0
    again = json.loads((tmp_path / "report.json").read_text())
    assert (again["videos"], again["good"]) == (22, 11)  # one frame is enough
