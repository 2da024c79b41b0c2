"""Registry of data sets, and videos and frames in a user's folder."""

import dataclasses
import os

import pytest

from common.annotations import SUBSETS, Record, datasets
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
    counts={"": {"training": (3, 2), "validation": (2,), "testing": (10_000, 9)}},
)


def _touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


@pytest.mark.parametrize("name", datasets.NAMES)
def test_the_facts_of_each_data_set(name):
    dataset = datasets.load(name)
    assert dataset.name == name
    assert bool(dataset.variant) == (dataset.variants != ("",))
    assert set(dataset.counts) == (set() if name == "own" else set(dataset.variants))
    assert all(set(counts) <= set(SUBSETS) for counts in dataset.counts.values())


def test_unknown_data_sets_and_counts():
    with pytest.raises(ValueError, match=r"'imagenet'. Expected one of kinetics, ucf101"):
        datasets.load("imagenet")
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


def test_links_are_followed_but_not_in_a_circle(tmp_path):
    _touch(tmp_path, "elsewhere/1.avi", "videos/b/3.avi")
    os.symlink(tmp_path / "elsewhere", tmp_path / "videos" / "a")
    os.symlink(tmp_path / "videos", tmp_path / "elsewhere" / "back")
    assert datasets.locate(DATASET, RECORDS, tmp_path / "videos") == (RECORDS, ("a/2",))


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


@pytest.mark.parametrize(
    ("name", "record", "path", "change"),
    [
        *(
            ("kinetics", KINETICS, path, change)
            for path, change in (
                (f"it's (a dance)/{ID}.mp4", {}),  # crawler
                (f"it's_(a_dance)/{ID}.mp4", {}),  # mmaction2
                (f"its_a_dance/{ID}.webm", {}),  # torchvision
                (f"val/its_a_dance/{ID}.mp4", {}),
                (f"val/{ID}.mp4", {}),  # CVDF
                (f"validate/{ID}.mkv", {}),
                (f"{ID}.mp4", {}),
                (REPLACEMENT, {}),
                ("a_b_c-d_e-f.mp4", WHOLE),
                ("val/a_b_c-d_e-f.webm", WHOLE),
            )
        ),
        ("kinetics", Record(f"test/{ID}", f"test/{ID}.mp4", "testing"), f"test/{ID}.mp4", {}),
        ("ucf101", Record("Yo/v_YoP", "Yo/v_YoP.avi", "training"), "UCF-101/Yo/v_Yop.mp4", {}),
        ("hmdb51", Record("a/[b;]", "a/[b;].avi", "training"), "hmdb51_org/a/[b;].avi", {}),
        ("something_v1", Record("7", "7", "training"), "7/", {}),
        ("something_v1", Record("7", "7", "testing"), "20bn-something-something-v1/7/", {}),
        *(
            ("charades", Record("N11GT", "N11GT.mp4", "training"), path, change)
            for path, change in (
                ("N11GT.mp4", {}),
                ("Charades_v1_480/N11GT.mp4", {}),
                ("N11GT/", {}),
                ("Charades_v1_rgb/N11GT/", {"fps": 24.0}),
            )
        ),
        *(
            ("vidor", VIDOR, f"{folder}0000/24{suffix}", {})
            for folder in ("", "video/", "training/", "video/training/")
            for suffix in (".MP4", "/")
        ),
    ],
)
def test_usual_folders(tmp_path, name, record, path, change):
    _touch(tmp_path, f"{path}1.jpg" if path.endswith("/") else path)
    expected = dataclasses.replace(record, path=path.removesuffix("/"), **change)
    assert datasets.locate(datasets.load(name), [record], tmp_path) == ([expected], ())


def test_a_replacement_comes_first_and_the_whole_video_last(tmp_path):
    order = [REPLACEMENT, KINETICS.path, f"val/{ID}.mp4", "val/a_b_c-d_e-f.mp4"]
    for path in reversed(order):
        _touch(tmp_path, path)
        located, _ = datasets.locate(datasets.load("kinetics"), [KINETICS], tmp_path)
        assert located[0].path == path
