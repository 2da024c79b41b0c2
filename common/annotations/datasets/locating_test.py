"""Registry of data sets, and videos and frames in a user's folder."""

import dataclasses
import os

import pytest

from common.annotations import Record, datasets
from common.annotations.datasets import Dataset

RECORDS = [
    Record("a/1", "a/1.avi", "training"),
    Record("a/2", "a/2.avi", "training"),
    Record("b/3", "b/3.avi", "validation"),
]
DATASET = Dataset(
    name="made_up",
    title="",
    read=lambda folder, variant: ((), RECORDS),
    counts={"": ((3, 2), (2,), (10_000, 9))},
)


def _touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_counts():
    assert datasets.check_counts(DATASET, "", RECORDS) == [
        "validation: 1 clips; complete copies have 2",
        "testing: 0 clips; complete copies have 10,000 or 9",
    ]


def test_videos_are_found_in_any_case_and_with_any_suffix(tmp_path):
    _touch(tmp_path, "A/1.AVI", "b/3.webm", "a/2.txt", "a/2.mp4.part", "b/4.mp4", ".trash/a/2.mp4")
    (tmp_path / "a" / "2.avi").mkdir()  # a folder is not a video
    os.symlink("5.mkv", tmp_path / "a" / "5.mkv")  # leads nowhere
    located, missing = datasets.locate(DATASET, RECORDS, tmp_path)
    assert located == [
        dataclasses.replace(RECORDS[0], path="A/1.AVI"),
        RECORDS[1],
        dataclasses.replace(RECORDS[2], path="b/3.webm"),
    ]
    assert missing == ("a/2",)


def test_several_equally_good_files_are_an_error(tmp_path):
    _touch(tmp_path, "a/1.mp4", "a/1.webm")
    with pytest.raises(ValueError, match=r"a/1\.mp4, a/1\.webm all fit a/1\.avi"):
        datasets.locate(DATASET, RECORDS, tmp_path)
    _touch(tmp_path, "a/1.avi")  # exactly the one that is asked for
    assert datasets.locate(DATASET, RECORDS, tmp_path)[0][0].path == "a/1.avi"


def test_a_folder_with_none_of_the_clips(tmp_path):
    _touch(tmp_path, "a/4.avi")
    error = r"none of the 3 clips of made_up is in .*\. Looked for a/1\.avi, "
    with pytest.raises(FileNotFoundError, match=error):
        datasets.locate(DATASET, iter(RECORDS), tmp_path)
    assert datasets.locate(DATASET, [], tmp_path) == ([], ())
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder of videos"):
        datasets.locate(DATASET, RECORDS, tmp_path / "nowhere")


ID = "a_b_c-d_e-f_000007_000017"
KINETICS = Record(f"it's (a dance)/{ID}", f"it's (a dance)/{ID}.mp4", "validation", duration=10.0)
VIDOR = Record("0000/24", "0000/24.mp4", "training")
WHOLE = {"start": 7.0, "end": 17.0}
REPLACEMENT = f"replacement/replacement_for_corrupted_k400/{ID}.mp4"


CHARADES = Record("N11GT", "N11GT.mp4", "training")


@pytest.mark.parametrize(
    ("name", "record", "path", "change"),
    [
        ("kinetics", KINETICS, f"it's (a dance)/{ID}.mp4", {}),  # crawler
        ("kinetics", KINETICS, f"val/its_a_dance/{ID}.webm", {}),  # torchvision
        ("kinetics", KINETICS, f"{ID}.mp4", {}),
        ("kinetics", KINETICS, REPLACEMENT, {}),
        ("kinetics", KINETICS, "val/a_b_c-d_e-f.webm", WHOLE),
        ("kinetics", Record(f"test/{ID}", f"test/{ID}.mp4", "testing"), f"test/{ID}.mp4", {}),
        ("ucf101", Record("Yo/v_YoP", "Yo/v_YoP.avi", "training"), "UCF-101/Yo/v_Yop.mp4", {}),
        ("hmdb51", Record("a/[b;]", "a/[b;].avi", "training"), "hmdb51_org/a/[b;].avi", {}),
        ("something_v1", Record("7", "7", "testing"), "20bn-something-something-v1/7/", {}),
        ("charades", CHARADES, "Charades_v1_480/N11GT.mp4", {}),
        ("charades", CHARADES, "Charades_v1_rgb/N11GT/", {"fps": 24.0}),
        ("vidor", VIDOR, "video/0000/24.MP4", {}),
        ("vidor", VIDOR, "video/training/0000/24/", {}),
    ],
)
def test_usual_folders(tmp_path, name, record, path, change):
    _touch(tmp_path, f"{path}1.jpg" if path.endswith("/") else path)
    expected = dataclasses.replace(record, path=path.removesuffix("/"), **change)
    assert datasets.locate(datasets.DATASETS[name], [record], tmp_path) == ([expected], ())
