"""The summary and the file that are made of small trees; the command itself, as people call it."""

import dataclasses
import json

import pytest

from common.annotations import Action, Annotations, Record, annotation_files, label_maps
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
def ucf(tmp_path):
    folder = tmp_path / "ucfTrainTestlist"
    folder.mkdir()
    listed = "".join(f"{index} {name}\r\n" for index, name in enumerate(UCF, 1))
    (folder / "classInd.txt").write_text(listed)
    (folder / "trainlist01.txt").write_text(f"{NAMES[0]}.avi 36\r\n{NAMES[1]}.avi 37\r\n")
    (folder / "testlist01.txt").write_text(f"{NAMES[2]}.avi\r\n")
    return folder


@pytest.fixture
def settings(ucf, tmp_path):
    return Settings(dataset="ucf101", input=ucf, output=tmp_path / "out" / "ucf101_1.json")


def _made(settings, **changes):
    """The lines of the summary, with some settings changed."""
    return make_annotations.run(dataclasses.replace(settings, **changes)).splitlines()


def _frames(root, name, *numbers):
    (root / name).mkdir(parents=True)
    for number in numbers:
        (root / name / f"image_{number:05d}.jpg").touch()
    return root


def test_the_summary_and_the_file(settings):
    lines = [
        "UCF101, fold 1: 3 clips of 101 classes",
        "training: 2; validation: 1; testing: 0",
        "training: 2 clips; complete copies have 9,537",
        "validation: 1 clips; complete copies have 3,783",
    ]
    written = f"{settings.output} (native)"
    assert _made(settings, dry_run=True) == [*lines, f"would be written to {written}"]
    assert not settings.output.parent.exists()
    assert _made(settings) == [*lines, f"-> {written}"]
    assert annotation_files.read(settings.output) == Annotations(UCF, RECORDS, "ucf101", "1")
    before = settings.output.stat().st_ino, settings.output.read_bytes()
    for dry_run in (False, True):
        as_it_is = f"{settings.output} is as it should be (native)"
        assert _made(settings, dry_run=dry_run) == [*lines, as_it_is]
        with pytest.raises(FileExistsError, match="--overwrite replaces it"):
            _made(settings, limit=1, dry_run=dry_run)
    assert before == (settings.output.stat().st_ino, settings.output.read_bytes())
    _made(settings, limit=1, overwrite=True)
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


def test_the_segments_of_kenshohara_are_the_frames(settings, tmp_path):
    frames = _frames(tmp_path / "frames", NAMES[2], 1, 2, 3, 4)
    (frames / NAMES[2] / "n_frames").write_text("4")
    _made(settings, format="kenshohara", frames=frames)
    content = json.loads(settings.output.read_text())
    assert content["labels"] == list(UCF)
    assert content["database"] == {
        "v_1": {"subset": "training", "annotations": {"label": "HammerThrow"}},
        "v_HandStand_2": {"subset": "training", "annotations": {"label": "HandstandPushups"}},
        "v_3": {"subset": "validation", "annotations": {"label": "YoYo", "segment": [1, 5]}},
    }


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
        ({"format": "piergiaj"}, ValueError, "has labels without spans"),
        ({"fold": "4"}, ValueError, r"ucf101: expected --fold 1, 2, 3. Received: '4'"),
        ({"fold": "2"}, FileNotFoundError, r"Looked for trainlist02\.txt\. Found: classInd\.txt"),
        ({"dataset": "charades", "fold": "1"}, ValueError, "--fold is not for charades"),
        ({"version": "400"}, ValueError, "--version is not for ucf101"),
        (
            {"dataset": "kinetics"}, FileNotFoundError,
            r"Looked for kinetics-400_train\.csv, train\.csv, kinetics-400_val\.csv",
        ),
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
    for name, rate in (("1", None), ("2", 12.0), ("3", 25.0)):
        frames = _frames(tmp_path / "frames", name, 1, 2)
        pictures = {"fps": None, "folder_fps": rate}
        marker = {"command": "extract_frames", "parameters": {"pictures": pictures}}
        (frames / name / ".done").write_text(json.dumps(marker))
    output = tmp_path / "a.json"
    _made(Settings(dataset="something_v1", input=tmp_path, output=output, frames=frames))
    records = annotation_files.read(output).records
    assert [(each.frames, each.fps) for each in records] == [
        (2, 12.0), (2, 12.0), (2, None), (None, 12.0),
    ]  # fmt: skip


def test_a_limit_and_what_is_odd(ucf, settings):
    lines = (ucf / "trainlist01.txt").read_text().replace("v_HandStand_2", "v_HandStandPushups_2")
    (ucf / "trainlist01.txt").write_text(lines)
    assert _made(settings, limit=2)[:4] == [
        "UCF101, fold 1: 2 clips of 101 classes",
        "training: 2; validation: 0; testing: 0",
        "only the first 2 clips, as --limit says",
        "1 x files of HandstandPushups are named v_HandStandPushups: names are found in any case",
    ]


def test_spans_for_pytorch_i3d(tmp_path):
    names = "".join(f"c{index:03d} Doing {index}\n" for index in range(157))
    (tmp_path / "Charades_v1_classes.txt").write_text(names)
    (tmp_path / "Charades_v1_train.csv").write_text(
        "id,actions,length\n46GP8,c092 11.90 21.20;c147 0.00 12.60,24.83\n"
    )
    settings = Settings(dataset="charades", input=tmp_path, output=tmp_path / "charades.json")
    _made(settings, format="piergiaj")
    assert json.loads(settings.output.read_text()) == {
        "46GP8": {
            "subset": "training",
            "duration": 24.83,
            "actions": [[92, 11.9, 21.2], [147, 0.0, 12.6]],
        }
    }
    _made(settings, overwrite=True)
    (record,) = annotation_files.read(settings.output).records
    assert record.actions == (Action(92, 11.9, 21.2), Action(147, 0.0, 12.6))


def test_the_command(settings):
    flags = ["--dataset=ucf101", f"--input={settings.input}"]
    done = commands.run("common.prepare.make_annotations", *flags, "--fold=2")
    assert (done.returncode, done.stderr[:27]) == (1, "error: --output is needed: ")
    flags += ["--fold=1", f"--output={settings.output}", "--workers=2"]
    done = commands.run("common.prepare.make_annotations", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "UCF101, fold 1: 3 clips of 101 classes"
    assert annotation_files.read(settings.output) == Annotations(UCF, RECORDS, "ucf101", "1")
