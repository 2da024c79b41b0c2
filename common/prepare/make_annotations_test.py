"""The summary and the file that are made of small trees; the command itself, as people call it."""

import dataclasses
import json

import pytest

from common.annotations import Annotations, Record, annotation_files, label_maps
from common.prepare import make_annotations
from common.prepare.make_annotations import Settings
from common.testing import commands

UCF = label_maps.load(label_maps.UCF101)
NAMES = ("HammerThrow/v_1", "HandstandPushups/v_HandStand_2", "YoYo/v_3")
RECORDS = tuple(
    Record(name, f"{name}.avi", subset, (label,))
    for name, subset, label in zip(
        NAMES, ("training", "training", "validation"), (35, 36, 100), strict=True
    )
)


@pytest.fixture
def settings(tmp_path):
    folder = tmp_path / "ucfTrainTestlist"
    folder.mkdir()
    listed = "".join(f"{index} {name}\r\n" for index, name in enumerate(UCF, 1))
    (folder / "classInd.txt").write_text(listed)
    (folder / "trainlist01.txt").write_text(f"{NAMES[0]}.avi 36\r\n{NAMES[1]}.avi 37\r\n")
    (folder / "testlist01.txt").write_text(f"{NAMES[2]}.avi\r\n")
    return Settings(dataset="ucf101", input=folder, output=tmp_path / "out" / "ucf101_1.json")


def _made(settings, **changes):
    """The lines of the summary, with some settings changed."""
    return make_annotations.run(dataclasses.replace(settings, **changes)).splitlines()


def _frames(root, name, *numbers):
    (root / name).mkdir(parents=True)
    for number in numbers:
        (root / name / f"image_{number:05d}.jpg").touch()
    return root


def test_the_summary_and_the_file(settings):
    flags = ["--dataset=ucf101", f"--input={settings.input}"]
    done = commands.run("common.prepare.make_annotations", *flags, "--fold=2")
    assert (done.returncode, done.stderr[:27]) == (1, "error: --output is needed: ")
    lines = [
        "UCF101, fold 1: 3 clips of 101 classes",
        "training: 2; validation: 1; testing: 0",
        "training: 2 clips; complete copies have 9,537",
        "validation: 1 clips; complete copies have 3,783",
    ]
    written = f"{settings.output} (native)"
    assert _made(settings, dry_run=True) == [*lines, f"would be written to {written}"]
    assert not settings.output.parent.exists()
    flags += ["--fold=1", f"--output={settings.output}"]
    done = commands.run("common.prepare.make_annotations", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [*lines, f"-> {written}"]
    assert annotation_files.read(settings.output) == Annotations(UCF, RECORDS, "ucf101", "1")
    before = settings.output.stat().st_ino, settings.output.read_bytes()
    assert _made(settings) == [*lines, f"{settings.output} is as it should be (native)"]
    with pytest.raises(FileExistsError, match="--overwrite replaces it"):
        _made(settings, limit=1)
    assert before == (settings.output.stat().st_ino, settings.output.read_bytes())
    lines = _made(settings, limit=1, overwrite=True)
    assert lines[2] == "only the first 1 clips, as --limit says"
    assert len(annotation_files.read(settings.output).records) == 1


def test_videos_and_frames_are_noted_and_what_is_missing_is_listed(settings, tmp_path):
    videos, frames = tmp_path / "videos", _frames(tmp_path / "frames", NAMES[0], 1, 2, 3)
    (videos / "hammerthrow").mkdir(parents=True)
    (videos / "hammerthrow/V_1.AVI").touch()
    (_frames(frames, NAMES[2]) / NAMES[2] / "n_frames").write_text("120")  # of no image
    assert _made(settings, videos=videos, frames=frames)[4:6] == [
        f"1 of 3 clips have videos in {videos}; missing: {NAMES[1]}, {NAMES[2]}",
        f"1 of 3 clips have frames in {frames}; missing: {NAMES[1]}, {NAMES[2]}",
    ]
    assert annotation_files.read(settings.output).records == (
        dataclasses.replace(RECORDS[0], path="hammerthrow/V_1.AVI", frames=3),
        *RECORDS[1:],
    )
    _made(settings, frames=frames, format="kenshohara", overwrite=True)
    database = json.loads(settings.output.read_text())["database"]
    assert database["v_1"]["annotations"] == {"label": "HammerThrow", "segment": [1, 4]}


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"frames": "wrong number"}, ValueError, r"YoYo/v_3/n_frames: says 4, and there are 3\."),
        ({"frames": "gap"}, ValueError, r"image_00002\.jpg is missing"),
        ({"frames": "nowhere"}, FileNotFoundError, "nowhere: there is no such folder of frames"),
        (
            {"frames": "empty"}, FileNotFoundError,
            r"frames of none of the 3 clips\. Looked for .*/HammerThrow/v_1/image_00001\.jpg",
        ),
        ({"videos": "empty"}, FileNotFoundError, r"none of the 3 .*HammerThrow/v_1\.avi"),
        ({"format": "piergiaj"}, ValueError, "labels without spans"),
        ({"fold": "4"}, ValueError, r"ucf101: expected --fold 1, 2, 3. Received: '4'"),
        ({"fold": "2"}, FileNotFoundError, r"Looked for trainlist02\.txt\. Found: classInd\.txt"),
        ({"version": "400"}, ValueError, "--version is not for ucf101"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_written(settings, tmp_path, changes, error, text):
    (tmp_path / "empty").mkdir()
    _frames(tmp_path / "gap", NAMES[2], 1, 3)
    wrong = _frames(tmp_path / "wrong number", NAMES[2], 1, 2, 3)
    (wrong / NAMES[2] / "n_frames").write_text("4")
    folders = {name: tmp_path / changes[name] for name in ("frames", "videos") if name in changes}
    with pytest.raises(error, match=text):
        _made(settings, **{**changes, **folders})
    assert not settings.output.exists()


def test_the_rate_of_the_annotation_is_not_that_of_resampled_frames(tmp_path):
    for name, text in (("labels", "A\n"), ("train", "1;A\n2;A\n3;A\n4;A\n")):
        (tmp_path / f"something-something-v1-{name}.csv").write_text(text)
    for name, rate in (("1", 0), ("2", 12.0), ("3", 25.0)):
        frames = _frames(tmp_path / "frames", name, 1, 2)
        marker = {"command": "extract_frames", "parameters": {"fps": rate}}
        (frames / name / ".done").write_text(json.dumps(marker))
    output = tmp_path / "a.json"
    _made(Settings(dataset="something_v1", input=tmp_path, output=output, frames=frames))
    records = annotation_files.read(output).records
    assert [(each.frames, each.fps) for each in records] == [
        (2, 12.0), (2, 12.0), (2, None), (None, 12.0),
    ]  # fmt: skip


def test_frames_at_another_rate_than_the_annotation_counts_in(tmp_path):
    video = {
        "version": "VERSION 1.0", "video_id": "9", "video_path": "0000/9.mp4", "frame_count": 14,
        "fps": 30.0, "width": 64, "height": 48, "relation_instances": [], "trajectories": [[]] * 14,
        "subject/objects": [{"tid": 0, "category": "adult"}],
    }  # fmt: skip
    (tmp_path / "training/0000").mkdir(parents=True)
    (tmp_path / "training/0000/9.json").write_text(json.dumps(video))
    frames = _frames(tmp_path / "frames", "0000/9", 1, 2, 3)
    settings = Settings(dataset="vidor", input=tmp_path, output=tmp_path / "a.json", frames=frames)
    said = [line for line in _made(settings) if "another number of frames" in line]
    assert said[0].startswith("1 clips have") and said[0].endswith(": 0000/9")
    (record,) = annotation_files.read(settings.output).records
    assert (record.frames, record.fps) == (14, 30.0)
