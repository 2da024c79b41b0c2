"""The summary and the file that are made of small trees; the command itself, as people call it."""

import dataclasses
import json
import subprocess
import sys

import pytest

from common.annotations import Action, Annotations, Record, annotation_files, label_maps
from common.prepare import annotating
from common.prepare.annotating import Options

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
def options(ucf, tmp_path):
    return Options("ucf101", ucf, tmp_path / "out" / "ucf101_1.json")


def _frames(root, name, *files):
    (root / name).mkdir(parents=True)
    for file in files:
        (root / name / file).touch()


def test_the_summary_and_the_file(options):
    assert annotating.run(options).splitlines() == [
        "UCF101, fold 1: 3 clips of 101 classes",
        "training: 2; validation: 1; testing: 0",
        "training: 2 clips; complete copies have 9,537",
        "validation: 1 clips; complete copies have 3,783",
        f"-> {options.output} (native)",
    ]
    assert annotation_files.read(options.output) == Annotations(UCF, RECORDS, "ucf101", "1")


def test_videos_and_frames_are_noted_and_what_is_missing_is_listed(options, tmp_path):
    _frames(tmp_path / "videos", "hammerthrow", "V_1.AVI")
    frames = tmp_path / "frames"
    _frames(frames, "HammerThrow/v_1", *(f"image_{k:05d}.jpg" for k in (1, 2, 3)), "n.txt")
    _frames(frames, "YoYo/v_3")
    (frames / "YoYo/v_3/n_frames").write_text("120")  # of no image
    options = dataclasses.replace(options, videos=tmp_path / "videos", frames=frames)
    assert annotating.run(options).splitlines()[4:6] == [
        f"1 of 3 clips have videos in {tmp_path}/videos; missing: "
        "HandstandPushups/v_HandStand_2, YoYo/v_3",
        f"1 of 3 clips have frames in {frames}; missing: HandstandPushups/v_HandStand_2, YoYo/v_3",
    ]
    assert annotation_files.read(options.output).records == (
        dataclasses.replace(RECORDS[0], path="hammerthrow/V_1.AVI", frames=3),
        *RECORDS[1:],
    )


def test_a_number_of_frames_is_compared_with_the_images(options, tmp_path):
    frames = tmp_path / "frames"
    _frames(frames, "YoYo/v_3", *(f"image_{k:05d}.jpg" for k in (1, 2, 3)))
    options = dataclasses.replace(options, frames=frames)
    (frames / "YoYo/v_3/n_frames").write_text("4")
    with pytest.raises(ValueError, match=r"YoYo/v_3/n_frames: says 4, and there are 3\."):
        annotating.run(options)
    assert not options.output.exists()
    (frames / "YoYo/v_3/n_frames").write_text("3")
    annotating.run(options)
    assert annotation_files.read(options.output).records[2].frames == 3


def test_a_folder_without_one_of_the_clips(options, tmp_path):
    (tmp_path / "empty").mkdir()
    looked_for = r"frames of none of the 3 clips\. Looked for .*/HammerThrow/v_1/image_00001\.jpg"
    with pytest.raises(FileNotFoundError, match=looked_for):
        annotating.run(dataclasses.replace(options, frames=tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match=r"none of the 3 .*HammerThrow/v_1\.avi"):
        annotating.run(dataclasses.replace(options, videos=tmp_path / "empty"))
    assert not options.output.exists()


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
    options = Options("something_v1", tmp_path, tmp_path / "a.json", frames=frames)
    annotating.run(options)
    records = annotation_files.read(options.output).records
    assert [(each.frames, each.fps) for each in records] == [
        (2, 12.0), (2, 12.0), (2, None), (None, 12.0),
    ]  # fmt: skip


def test_frames_make_the_segments_of_kenshohara(options, tmp_path):
    _frames(tmp_path / "frames", "YoYo/v_3", *(f"image_{k:05d}.jpg" for k in (1, 2, 3, 4)))
    annotating.run(dataclasses.replace(options, container="kenshohara", frames=tmp_path / "frames"))
    content = json.loads(options.output.read_text())
    assert content["labels"] == list(UCF)
    assert content["database"] == {
        "v_1": {"subset": "training", "annotations": {"label": "HammerThrow"}},
        "v_HandStand_2": {"subset": "training", "annotations": {"label": "HandstandPushups"}},
        "v_3": {"subset": "validation", "annotations": {"label": "YoYo", "segment": [1, 5]}},
    }


def test_gaps_in_the_frames_are_an_error(options, tmp_path):
    _frames(tmp_path / "frames", "YoYo/v_3", "image_00001.jpg", "image_00003.jpg")
    with pytest.raises(ValueError, match=r"image_00002\.jpg is missing"):
        annotating.run(dataclasses.replace(options, frames=tmp_path / "frames"))
    assert not options.output.exists()
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder of frames"):
        annotating.run(dataclasses.replace(options, frames=tmp_path / "nowhere"))


def test_a_limit_and_what_is_odd(ucf, options):
    lines = (ucf / "trainlist01.txt").read_text().replace("v_HandStand_2", "v_HandStandPushups_2")
    (ucf / "trainlist01.txt").write_text(lines)
    assert annotating.run(dataclasses.replace(options, limit=2)).splitlines()[:4] == [
        "UCF101, fold 1: 2 clips of 101 classes",
        "training: 2; validation: 0; testing: 0",
        "only the first 2 clips, as --limit says",
        "1 x files of HandstandPushups are named v_HandStandPushups: names are found in any case",
    ]
    assert len(annotation_files.read(options.output).records) == 2


def test_a_dry_run_says_the_same_and_writes_nothing(options):
    options = dataclasses.replace(options, dry_run=True)
    text = annotating.run(options)
    assert text.splitlines()[0] == "UCF101, fold 1: 3 clips of 101 classes"
    assert text.splitlines()[-1] == f"would be written to {options.output} (native)"
    assert not options.output.parent.exists()
    with pytest.raises(ValueError, match="has labels without spans"):
        annotating.run(dataclasses.replace(options, container="piergiaj"))


def test_a_second_run_leaves_the_file_as_it_is(options):
    *summary, last = annotating.run(options).splitlines()
    assert last == f"-> {options.output} (native)"
    inode = options.output.stat().st_ino
    for again in (options, dataclasses.replace(options, dry_run=True)):
        said = annotating.run(again).splitlines()
        assert said == [*summary, f"{options.output} is as it should be (native)"]
    assert options.output.stat().st_ino == inode  # not even written again
    with pytest.raises(FileExistsError, match="--overwrite replaces it"):
        annotating.run(dataclasses.replace(options, limit=1, dry_run=True))


def test_what_is_there_is_replaced_only_when_asked(options):
    annotating.run(options)
    before = options.output.read_bytes()
    with pytest.raises(FileExistsError, match="--overwrite replaces it"):
        annotating.run(dataclasses.replace(options, limit=1))
    assert options.output.read_bytes() == before
    annotating.run(dataclasses.replace(options, overwrite=True))
    assert options.output.read_bytes() == before  # the same input gives the same bytes


def test_variants_are_those_of_the_data_set(options):
    with pytest.raises(ValueError, match=r"ucf101: expected --fold 1, 2, 3. Received: '4'"):
        annotating.run(dataclasses.replace(options, variant="4"))
    with pytest.raises(FileNotFoundError, match=r"Looked for trainlist02\.txt"):
        annotating.run(dataclasses.replace(options, variant="2"))
    with pytest.raises(ValueError, match=r"charades has no variants\. Received: '1'"):
        annotating.run(dataclasses.replace(options, dataset="charades", variant="1"))


def test_spans_for_pytorch_i3d(tmp_path):
    names = "".join(f"c{index:03d} Doing {index}\n" for index in range(157))
    (tmp_path / "Charades_v1_classes.txt").write_text(names)
    (tmp_path / "Charades_v1_train.csv").write_text(
        "id,actions,length\n46GP8,c092 11.90 21.20;c147 0.00 12.60,24.83\n"
    )
    output = tmp_path / "charades.json"
    annotating.run(Options("charades", tmp_path, output, container="piergiaj"))
    assert json.loads(output.read_text()) == {
        "46GP8": {
            "subset": "training",
            "duration": 24.83,
            "actions": [[92, 11.9, 21.2], [147, 0.0, 12.6]],
        }
    }
    native = tmp_path / "native.json"
    annotating.run(Options("charades", tmp_path, native))
    (record,) = annotation_files.read(native).records
    assert record.actions == (Action(92, 11.9, 21.2), Action(147, 0.0, 12.6))


def _run(*flags):
    return subprocess.run(
        [sys.executable, "-m", "common.prepare.make_annotations", *map(str, flags)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command(options):
    flags = ["--dataset=ucf101", "--fold=1", f"--input={options.annotations}"]
    done = _run(*flags, f"--output={options.output}", "--workers=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert _run(*flags, f"--output={options.output}").returncode == 0
    assert done.stdout.splitlines()[0] == "UCF101, fold 1: 3 clips of 101 classes"
    assert annotation_files.read(options.output) == Annotations(UCF, RECORDS, "ucf101", "1")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output={output}"], "--dataset is missing"),
        (["--dataset=ucf101", "--input={input}"], "--output is missing"),
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
def test_a_wrong_call_is_one_line_and_writes_nothing(options, flags, message):
    filled = [flag.format(input=options.annotations, output=options.output) for flag in flags]
    done = _run(*filled)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and message in line
    assert not options.output.exists()
