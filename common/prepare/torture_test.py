"""A folder of everything that goes wrong with videos: the good are done, the bad are named."""

import json
import os

import av
import cv2
import numpy as np
import pytest

from common.testing import commands
from common.testing.tasks import contents, failed
from common.testing.torture import cut, video

ODD = "a b/été 日本 %05d [1] {name} (x) & 'y';!"
BYTES = os.fsdecode(b"caf\xe9")  # no UTF-8
SECOND = range(0, 1000, 40)

# By name, what a good video is at 25 frames a second: frames, width, height.
GOOD = {
    "odd": (10, 33, 17),
    "tiny": (5, 3, 3),
    "one": (1, 64, 48),
    "rotated": (6, 32, 64),
    "variable": (9, 32, 24),
    "huge": (10, 64, 48),
    ODD: (5, 64, 48),
    BYTES: (5, 64, 48),
    "folder.mp4/inside": (5, 64, 48),
}

# By name, the suffix of a bad one, and what is said of it.
BAD = {
    "cut": ("mp4", "not a video"),  # its index is at the end
    "cut with index": ("mp4", "damaged at about"),
    "cut mkv": ("mkv", "cut short"),
    "cut avi": ("avi", "damaged at about"),
    "empty": ("mp4", "expected a video, got an empty file"),
    "text\nof two lines": ("mp4", "not a video"),
    "sound": ("mp4", "no video stream, only audio"),
    "gap": ("mkv", "the frame at 0.04 s would be shown for 1.07374e+06 s"),
    "gone": ("mp4", "there is no such file"),
    "itself": ("mp4", "there is no such file"),
    "pipe": ("mp4", "empty file"),
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torture")
    video(folder / "odd.mkv", range(0, 400, 40), "ffv1", (33, 17))
    video(folder / "tiny.webm", codec="libvpx-vp9", size=(3, 3))
    video(folder / "one.mp4", [0])
    video(folder / "rotated.mp4", range(0, 240, 40), size=(64, 32), turn=90)
    video(folder / "variable.mkv", [0, 40, 200, 300], "ffv1", (32, 24))
    video(folder / "huge.mkv", range(2**40, 2**40 + 400, 40))
    for name in (ODD, BYTES, "folder.mp4/inside"):
        video(folder / f"{name}.mp4")
    (folder / "notes.txt").write_text("no video, and no name of one")
    (folder / "a b/loop").symlink_to(folder)
    cut(video(folder / "cut.mp4", SECOND, noise=True))
    cut(video(folder / "cut with index.mp4", SECOND, noise=True, movflags="faststart"))
    cut(video(folder / "cut mkv.mkv", SECOND, noise=True))
    cut(video(folder / "cut avi.avi", SECOND, "mpeg4", noise=True))
    (folder / "empty.mp4").touch()
    (folder / "text\nof two lines.mp4").write_text("no video " * 100)
    with av.open(str(folder / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.rate = 8000
        out.mux(stream.encode(sound))
        out.mux(stream.encode(None))
    video(folder / "gap.mkv", [0, 40, 2**30, 2**30 + 40], "ffv1", (32, 24))
    (folder / "gone.mp4").symlink_to(folder / "not there")
    (folder / "itself.mp4").symlink_to(folder / "itself.mp4")
    os.mkfifo(folder / "pipe.mp4")
    return folder


def _run(command, source, output, *flags):
    words = (f"--input={source}", f"--output={output}", "--workers=0", *flags)
    return commands.run(f"common.prepare.{command}", *words)


def _image(path):
    """[H, W] grey; OpenCV's own reading takes no name that is not UTF-8."""
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)


def test_frames(videos, tmp_path):
    done = _run("extract_frames", videos, tmp_path, "--fps=25")
    summary = "done, 0 skipped, 11 failed, 56 frames\n"
    assert done.stdout.startswith(f"extract_frames: 9 {summary}")
    assert (done.returncode, done.stderr) == (1, "")
    lines = {line["item"]: line for line in failed(tmp_path)}
    assert lines.keys() == BAD.keys()
    for name, (suffix, reason) in BAD.items():
        assert lines[name]["source"] == str(videos / f"{name}.{suffix}")
        assert reason in lines[name]["reason"] and lines[name]["source"] in lines[name]["reason"]
    made = contents(tmp_path)
    assert {name for name, content in made.items() if content is not None} == {
        "failed.jsonl",
        *(f"{name}/{file}" for name in GOOD for file in ("n_frames", ".done")),
        *(f"{name}/image_{k:05d}.jpg" for name in GOOD for k in range(1, GOOD[name][0] + 1)),
    }
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
    # Again: what is good is skipped and not touched, what is bad fails again.
    done = _run("extract_frames", videos, tmp_path, "--fps=25", "--allow_failures=11")
    assert done.stdout.startswith("extract_frames: 0 done, 9 skipped, 11 failed, ")
    assert (done.returncode, contents(tmp_path)) == (0, made)


def test_check(videos, tmp_path):
    done = _run("check", videos, tmp_path, "--min_frames=2")
    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["videos"], report["good"]) == (20, 9)  # the gap is no matter without a rate
    problems = {each["name"]: each["problem"] for each in report["findings"] if each["problem"]}
    kinds = {"one": "too_short", "empty": "empty", "gone": "missing", "itself": "missing"}
    names = {*BAD, "one"} - {"gap"}
    assert problems == {name: kinds.get(name, "unreadable") for name in names}
    for each in report["findings"]:
        name = each["name"]
        assert each["source"].startswith(f"{videos / name}.")
        if name in GOOD:
            frames = 4 if name == "variable" else GOOD[name][0]
            assert (each["frames"], each["width"], each["height"]) == (frames, *GOOD[name][1:])
        elif each["problem"] == "unreadable":
            assert BAD[name][1] in each["reason"]
    assert done.stdout == (tmp_path / "report.txt").read_text()
    # Again: only what was not measured is looked at; the report is made of all.
    assert _run("check", videos, tmp_path, "--dry_run").stdout == "check: 10 videos to look at\n"
    assert _run("check", videos, tmp_path, "--min_frames=1", "--allow_failures=10").returncode == 0
