"""The summary and the file that are made of small trees; the command itself, as people call it."""

import dataclasses
import json

import pytest

from common.annotations import Action, Annotations, Record, annotation_files, label_maps
from common.prepare import make_annotations
from common.prepare.make_annotations import Settings
from common.testing import commands

UCF = label_maps.load(label_maps.UCF101)

RECORDS = tuple(
    Record(name, f"{name}.avi", subset, (label,))
    for name, subset, label in (
        ("HammerThrow/v_1", "training", 35),
        ("HandstandPushups/v_HandStand_2", "training", 36),
        ("YoYo/v_3", "validation", 100),
    )
)


@pytest.fixture
def ucf(tmp_path):
    folder = tmp_path / "ucfTrainTestlist"
    folder.mkdir()
    listed = "".join(f"{index} {name}\r\n" for index, name in enumerate(UCF, 1))
    (folder / "classInd.txt").write_text(listed)
    (folder / "trainlist01.txt").write_text(
        "HammerThrow/v_1.avi 36\r\nHandstandPushups/v_HandStand_2.avi 37\r\n"
    )
    (folder / "testlist01.txt").write_text("YoYo/v_3.avi\r\n")
    return folder


@pytest.fixture
def settings(ucf, tmp_path):
    return Settings(dataset="ucf101", input=ucf, output=tmp_path / "out" / "ucf101_1.json")


def _frames(root, name, *files):
    (root / name).mkdir(parents=True)
    for file in files:
        (root / name / file).touch()


def test_the_summary_and_the_file(settings):
    assert make_annotations.run(settings).splitlines() == [
        "UCF101, fold 1: 3 clips of 101 classes",
        "training: 2; validation: 1; testing: 0",
        "training: 2 clips; complete copies have 9,537",
        "validation: 1 clips; complete copies have 3,783",
        f"-> {settings.output} (native)",
    ]
    assert annotation_files.read(settings.output) == Annotations(UCF, RECORDS, "ucf101", "1")


def test_videos_and_frames_are_noted_and_what_is_missing_is_listed(settings, tmp_path):
    _frames(tmp_path / "videos", "hammerthrow", "V_1.AVI")
    frames = tmp_path / "frames"
    _frames(frames, "HammerThrow/v_1", *(f"image_{k:05d}.jpg" for k in (1, 2, 3)), "n.txt")
    _frames(frames, "YoYo/v_3")
    (frames / "YoYo/v_3/n_frames").write_text("120")  # of no image
    settings = dataclasses.replace(settings, videos=tmp_path / "videos", frames=frames)
    assert make_annotations.run(settings).splitlines()[4:6] == [
        f"1 of 3 clips have videos in {tmp_path}/videos; missing: "
        "HandstandPushups/v_HandStand_2, YoYo/v_3",
        f"1 of 3 clips have frames in {frames}; missing: HandstandPushups/v_HandStand_2, YoYo/v_3",
    ]
    assert annotation_files.read(settings.output).records == (
        dataclasses.replace(RECORDS[0], path="hammerthrow/V_1.AVI", frames=3),
        *RECORDS[1:],
    )


def test_a_number_of_frames_is_compared_with_the_images(settings, tmp_path):
    frames = tmp_path / "frames"
    _frames(frames, "YoYo/v_3", *(f"image_{k:05d}.jpg" for k in (1, 2, 3)))
    settings = dataclasses.replace(settings, frames=frames)
    (frames / "YoYo/v_3/n_frames").write_text("4")
    with pytest.raises(ValueError, match=r"YoYo/v_3/n_frames: says 4, and there are 3\."):
        make_annotations.run(settings)
    assert not settings.output.exists()
    (frames / "YoYo/v_3/n_frames").write_text("3")
    make_annotations.run(settings)
    assert annotation_files.read(settings.output).records[2].frames == 3


def test_a_folder_without_one_of_the_clips(settings, tmp_path):
    (tmp_path / "empty").mkdir()
    looked_for = r"frames of none of the 3 clips\. Looked for .*/HammerThrow/v_1/image_00001\.jpg"
    with pytest.raises(FileNotFoundError, match=looked_for):
        make_annotations.run(dataclasses.replace(settings, frames=tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match=r"none of the 3 .*HammerThrow/v_1\.avi"):
        make_annotations.run(dataclasses.replace(settings, videos=tmp_path / "empty"))
    assert not settings.output.exists()


def _marked(root, name, folder_fps):
    _frames(root, name, "image_00001.jpg", "image_00002.jpg")
    pictures = {"fps": None, "folder_fps": folder_fps}
    marker = {"command": "extract_frames", "parameters": {"pictures": pictures}}
    (root / name / ".done").write_text(json.dumps(marker))


def test_the_rate_of_the_annotation_is_not_that_of_resampled_frames(tmp_path):
    for name, text in (("labels", "A\n"), ("train", "1;A\n2;A\n3;A\n4;A\n")):
        (tmp_path / f"something-something-v1-{name}.csv").write_text(text)
    frames = tmp_path / "frames"
    for name, rate in (("1", None), ("2", 12.0), ("3", 25.0)):
        _marked(frames, name, rate)
    settings = Settings(
        dataset="something_v1", input=tmp_path, output=tmp_path / "a.json", frames=frames
    )
    make_annotations.run(settings)
    records = annotation_files.read(settings.output).records
    assert [(each.frames, each.fps) for each in records] == [
        (2, 12.0), (2, 12.0), (2, None), (None, 12.0),
    ]  # fmt: skip


def test_frames_make_the_segments_of_kenshohara(settings, tmp_path):
    _frames(tmp_path / "frames", "YoYo/v_3", *(f"image_{k:05d}.jpg" for k in (1, 2, 3, 4)))
    make_annotations.run(
        dataclasses.replace(settings, format="kenshohara", frames=tmp_path / "frames")
    )
    content = json.loads(settings.output.read_text())
    assert content["labels"] == list(UCF)
    assert content["database"] == {
        "v_1": {"subset": "training", "annotations": {"label": "HammerThrow"}},
        "v_HandStand_2": {"subset": "training", "annotations": {"label": "HandstandPushups"}},
        "v_3": {"subset": "validation", "annotations": {"label": "YoYo", "segment": [1, 5]}},
    }


def test_gaps_in_the_frames_are_an_error(settings, tmp_path):
    _frames(tmp_path / "frames", "YoYo/v_3", "image_00001.jpg", "image_00003.jpg")
    with pytest.raises(ValueError, match=r"image_00002\.jpg is missing"):
        make_annotations.run(dataclasses.replace(settings, frames=tmp_path / "frames"))
    assert not settings.output.exists()
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder of frames"):
        make_annotations.run(dataclasses.replace(settings, frames=tmp_path / "nowhere"))


def test_a_limit_and_what_is_odd(ucf, settings):
    lines = (ucf / "trainlist01.txt").read_text().replace("v_HandStand_2", "v_HandStandPushups_2")
    (ucf / "trainlist01.txt").write_text(lines)
    assert make_annotations.run(dataclasses.replace(settings, limit=2)).splitlines()[:4] == [
        "UCF101, fold 1: 2 clips of 101 classes",
        "training: 2; validation: 0; testing: 0",
        "only the first 2 clips, as --limit says",
        "1 x files of HandstandPushups are named v_HandStandPushups: names are found in any case",
    ]
    assert len(annotation_files.read(settings.output).records) == 2


def test_a_dry_run_says_the_same_and_writes_nothing(settings):
    settings = dataclasses.replace(settings, dry_run=True)
    text = make_annotations.run(settings)
    assert text.splitlines()[0] == "UCF101, fold 1: 3 clips of 101 classes"
    assert text.splitlines()[-1] == f"would be written to {settings.output} (native)"
    assert not settings.output.parent.exists()
    with pytest.raises(ValueError, match="has labels without spans"):
        make_annotations.run(dataclasses.replace(settings, format="piergiaj"))


def test_a_second_run_leaves_the_file_as_it_is(settings):
    *summary, last = make_annotations.run(settings).splitlines()
    assert last == f"-> {settings.output} (native)"
    inode = settings.output.stat().st_ino
    for again in (settings, dataclasses.replace(settings, dry_run=True)):
        said = make_annotations.run(again).splitlines()
        assert said == [*summary, f"{settings.output} is as it should be (native)"]
    assert settings.output.stat().st_ino == inode  # not even written again
    with pytest.raises(FileExistsError, match="--overwrite replaces it"):
        make_annotations.run(dataclasses.replace(settings, limit=1, dry_run=True))


def test_what_is_there_is_replaced_only_when_asked(settings):
    make_annotations.run(settings)
    before = settings.output.read_bytes()
    with pytest.raises(FileExistsError, match="--overwrite replaces it"):
        make_annotations.run(dataclasses.replace(settings, limit=1))
    assert settings.output.read_bytes() == before
    make_annotations.run(dataclasses.replace(settings, overwrite=True))
    assert settings.output.read_bytes() == before  # the same input gives the same bytes


def test_variants_are_those_of_the_data_set(settings):
    with pytest.raises(ValueError, match=r"ucf101: expected --fold 1, 2, 3. Received: '4'"):
        make_annotations.run(dataclasses.replace(settings, fold="4"))
    with pytest.raises(FileNotFoundError, match=r"Looked for trainlist02\.txt"):
        make_annotations.run(dataclasses.replace(settings, fold="2"))
    with pytest.raises(ValueError, match="--fold is not for charades"):
        make_annotations.run(dataclasses.replace(settings, dataset="charades", fold="1"))


def test_spans_for_pytorch_i3d(tmp_path):
    names = "".join(f"c{index:03d} Doing {index}\n" for index in range(157))
    (tmp_path / "Charades_v1_classes.txt").write_text(names)
    (tmp_path / "Charades_v1_train.csv").write_text(
        "id,actions,length\n46GP8,c092 11.90 21.20;c147 0.00 12.60,24.83\n"
    )
    output = tmp_path / "charades.json"
    make_annotations.run(
        Settings(dataset="charades", input=tmp_path, output=output, format="piergiaj")
    )
    assert json.loads(output.read_text()) == {
        "46GP8": {
            "subset": "training",
            "duration": 24.83,
            "actions": [[92, 11.9, 21.2], [147, 0.0, 12.6]],
        }
    }
    native = tmp_path / "native.json"
    make_annotations.run(Settings(dataset="charades", input=tmp_path, output=native))
    (record,) = annotation_files.read(native).records
    assert record.actions == (Action(92, 11.9, 21.2), Action(147, 0.0, 12.6))


def _run(*flags):
    return commands.run("common.prepare.make_annotations", *flags)


def test_the_command(settings):
    flags = ["--dataset=ucf101", "--fold=1", f"--input={settings.input}"]
    done = _run(*flags, f"--output={settings.output}", "--workers=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert _run(*flags, f"--output={settings.output}").returncode == 0
    assert done.stdout.splitlines()[0] == "UCF101, fold 1: 3 clips of 101 classes"
    assert annotation_files.read(settings.output) == Annotations(UCF, RECORDS, "ucf101", "1")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output={output}"], "--dataset is needed"),
        (["--dataset=ucf101", "--input={input}"], "--output is needed"),
        (
            ["--dataset=ucf101", "--fold=2", "--input={input}", "--output={output}"],
            "Looked for trainlist02.txt. Found: classInd.txt, testlist01.txt, trainlist01.txt.",
        ),
        (
            ["--dataset=ucf101", "--version=400", "--input={input}", "--output={output}"],
            "--version is not for ucf101",
        ),
        (
            ["--dataset=kinetics", "--input={input}", "--output={output}"],
            "Looked for kinetics-400_train.csv, train.csv, kinetics-400_val.csv, val.csv, "
            "validate.csv, kinetics-400_test.csv, test.csv.",
        ),
    ],
)
def test_a_wrong_call_is_one_line_and_writes_nothing(settings, flags, message):
    filled = [flag.format(input=settings.input, output=settings.output) for flag in flags]
    done = _run(*filled)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and message in line
    assert not settings.output.exists()
