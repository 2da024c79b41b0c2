"""A folder of everything that goes wrong with videos: the good are done, the bad are named.

In videos of one grey level a frame, level / 10 is the number of the frame.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.testing import commands, torture
from common.testing.torture import BAD, GOOD

TOO_SHORT = {**BAD, "one": ("mp4", "flow needs at least two frames. Received: 1")}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torture")
    torture.put(folder)
    return folder


def test_frames(videos, tmp_path):
    run = _run("extract_frames", videos, tmp_path, "--fps=25")
    _assert_failed(run, tmp_path, videos, BAD)
    assert run.stdout.startswith("extract_frames: 10 done, 0 skipped, 12 failed, 76 frames\n")
    expected = {"failed.jsonl"}
    for name, (count, width, height) in GOOD.items():
        numbers = range(1, count + 1)
        files = ["n_frames", ".done", *(f"image_{k:05d}.jpg" for k in numbers)]
        expected.update(f"{name}/{file}" for file in files)
        assert (tmp_path / name / "n_frames").read_text() == str(count)
        for k in numbers:
            assert _image(tmp_path / name / f"image_{k:05d}.jpg").shape == (height, width)
    assert _files(tmp_path) == expected

    # By timestamps, until the last frame's time is over; upright, its top left now bottom left.
    shown = [_image(tmp_path / f"variable/image_{k:05d}.jpg").mean() / 10 for k in range(1, 10)]
    np.testing.assert_allclose(shown, [0, 1, 1, 1, 1, 2, 2, 2, 3], atol=0.2)
    upright = _image(tmp_path / "rotated/image_00001.jpg")
    white = [[upright[y : y + 16, x : x + 8].mean() > 128 for x in (4, 20)] for y in (8, 40)]
    assert white == [[False, False], [True, False]]


def test_again(videos, tmp_path):
    """What is good is skipped and not touched, what is bad fails again."""
    _run("extract_frames", videos, tmp_path, "--fps=25")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    run = _run("extract_frames", videos, tmp_path, "--fps=25", "--allow_failures=12")
    assert run.stdout.startswith("extract_frames: 0 done, 10 skipped, 12 failed, 76 frames\n")
    assert (run.returncode, run.stderr) == (0, "")
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    run = _run("extract_frames", videos, tmp_path, "--fps=25", "--allow_failures=11")
    assert run.returncode == 1


def test_flow(videos, tmp_path):
    run = _run("extract_flow", videos, tmp_path, "--short_side=16")
    _assert_failed(run, tmp_path, videos, TOO_SHORT)
    assert run.stdout.startswith("extract_flow: 9 done, 0 skipped, 13 failed, 75 flows\n")
    good = {name: size for name, size in GOOD.items() if name != "one"}
    expected = {"failed.jsonl"}
    for name, (count, width, height) in good.items():
        images = [f"image_{k:05d}{axis}.jpg" for k in range(1, count + 1) for axis in "xy"]
        expected |= {f"{name}/{file}" for file in ("n_frames", "flow.json", ".done", *images)}
        assert (tmp_path / name / "n_frames").read_text() == str(count)
        short = min(width, height)
        sizes = {_image(tmp_path / name / image).shape for image in images}
        assert sizes == {(height * 16 // short, width * 16 // short)}
    assert _files(tmp_path) == expected
    run = _run("extract_flow", videos, tmp_path, "--short_side=16")
    assert run.stdout.startswith("extract_flow: 0 done, 9 skipped, 13 failed, 75 flows\n")
    _assert_failed(run, tmp_path, videos, TOO_SHORT)
    assert _files(tmp_path) == expected


def test_arrays(videos, tmp_path):
    run = _run("to_numpy", videos, tmp_path, "--tvl1=scales=1", "--tvl1=warps=1")
    _assert_failed(run, tmp_path, videos, TOO_SHORT)
    assert run.stdout.startswith("to_numpy: 9 done, 0 skipped, 13 failed, 75 frames\n")
    expected = {"failed.jsonl"}
    for name, (count, _, _) in GOOD.items():
        if name != "one":
            folder, _, last = name.rpartition("/")
            made = [f"{last}_{ending}" for ending in ("rgb.npy", "flow.npy", "flow.json")]
            made += [f".{file}.done" for file in made]
            expected |= {f"{folder}/{file}".lstrip("/") for file in made}
            rgb, flow = (np.load(tmp_path / f"{name}_{kind}.npy") for kind in ("rgb", "flow"))
            assert (rgb.shape, rgb.dtype) == ((1, count, 224, 224, 3), np.float32)
            assert (flow.shape, flow.dtype) == ((1, count, 224, 224, 2), np.float32)
    assert _files(tmp_path) == expected


def test_pictures(videos, tmp_path):
    """Of so few frames, three that are bad later on are good."""
    arguments = ("--tvl1=scales=1", "--tvl1=warps=1", "--max_frames=4")
    run = _run("preview", videos, tmp_path, *arguments)
    good = {"gap", "cut with index", "cut mkv"}
    bad = {name: about for name, about in TOO_SHORT.items() if name not in good}
    _assert_failed(run, tmp_path, videos, bad)
    assert run.stdout.startswith("preview: 12 done, 0 skipped, 10 failed, 48 frames\n")
    made = {name for name in _files(tmp_path) if not name.endswith(".done")}
    assert made == {"failed.jsonl"} | {
        f"{name}_{ending}"
        for name in {*GOOD, *good} - {"one"}
        for ending in ("rgb.gif", "flow.gif", "sheet.png")
    }


def test_check(videos, tmp_path):
    run = _run("check", videos, tmp_path, "--min_frames=2")
    assert (run.returncode, run.stderr) == (1, "")
    whole = {*GOOD, "gap"}
    measured = {f"findings/{name}.json" for name in whole}
    marked = {f"{path.parent}/.{path.name}.done" for path in map(Path, measured)}
    assert _files(tmp_path) == {"report.json", "report.txt", "failed.jsonl", *measured, *marked}
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["videos"], report["good"]) == (22, 10)  # the gap is no matter without a rate
    problems = {each["name"]: each["problem"] for each in report["findings"] if each["problem"]}
    kinds = {"one": "too_short", "empty": "empty", "gone": "missing", "itself": "missing"}
    bad = {*BAD, "one"} - {"gap"}
    assert problems == {name: kinds.get(name, "unreadable") for name in bad}
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
    before = {path: (tmp_path / path).stat().st_mtime_ns for path in measured}
    assert _run("check", videos, tmp_path, "--dry_run").stdout == "check: 11 videos to look at\n"
    run = _run("check", videos, tmp_path, "--min_frames=1", "--allow_failures=11")
    assert run.returncode == 0
    assert before == {path: (tmp_path / path).stat().st_mtime_ns for path in measured}
    again = json.loads((tmp_path / "report.json").read_text())
    assert (again["videos"], again["good"]) == (22, 11)  # one frame is enough


def test_check_tells_videos_of_one_name_apart(tmp_path):
    (tmp_path / "in").mkdir()
    torture.video(tmp_path / "in/a.mp4", range(0, 400, 40))
    (tmp_path / "in/a.avi").touch()
    assert _run("check", tmp_path / "in", tmp_path / "out").returncode == 1
    findings = json.loads((tmp_path / "out/report.json").read_text())["findings"]
    found = [(Path(each["source"]).name, each["problem"]) for each in findings]
    assert found == [("a.avi", "empty"), ("a.mp4", "")]


def _run(command, source, output, *arguments):
    words = (f"--input={source}", f"--output={output}", "--workers=0", *arguments)
    return commands.run(f"common.prepare.{command}", *words)


def _assert_failed(run, output, videos, bad):
    """These failed and no others, each named with its reason, and that is all that is said."""
    assert (run.returncode, run.stderr) == (1, "")
    lines = [json.loads(line) for line in (output / "failed.jsonl").read_text().splitlines()]
    assert [line["item"] for line in lines] == sorted(bad)
    for line in lines:
        suffix, reason = bad[line["item"]]
        assert line["source"] == str(videos / f"{line['item']}.{suffix}")
        assert reason in line["reason"]
        assert line["source"] in line["reason"] or "flow needs" in reason


def _files(folder):
    """All files below, hidden ones too; a folder without any is listed itself."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }


def _image(path):
    """[H, W] grey; OpenCV's own reading takes no name that is not UTF-8."""
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
