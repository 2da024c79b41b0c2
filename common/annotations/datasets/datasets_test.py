"""Tests of what all data sets have in common, and of locating videos."""

import dataclasses
import os

import pytest

from common.annotations import SUBSETS, Record, datasets
from common.annotations.datasets import Dataset


@pytest.mark.parametrize("name", datasets.NAMES)
def test_the_facts_of_each_data_set(name):
    dataset = datasets.load(name)
    assert dataset.name == name
    assert dataset.title
    assert len(set(dataset.variants)) == len(dataset.variants)
    assert bool(dataset.variant) == (dataset.variants != ("",))
    known = set() if name == "own" else set(dataset.variants)
    assert set(dataset.counts) == set(dataset.class_counts) == known
    assert all(set(counts) <= set(SUBSETS) for counts in dataset.counts.values())


def test_unknown_data_sets():
    with pytest.raises(ValueError, match=r"'imagenet'. Expected one of kinetics, ucf101"):
        datasets.load("imagenet")


@pytest.mark.parametrize("name", datasets.NAMES)
def test_a_wrong_folder_says_what_was_looked_for(name, tmp_path):
    dataset = datasets.load(name)
    with pytest.raises(FileNotFoundError, match=r"nowhere: there is no such folder"):
        dataset.records(tmp_path / "nowhere", dataset.variants[0])
    with pytest.raises(FileNotFoundError, match=r"Looked for .*(csv|txt|json).* Found: nothing"):
        dataset.records(tmp_path, dataset.variants[0])


RECORDS = [
    Record("a/1", "a/1.avi", "training"),
    Record("a/2", "a/2.avi", "training"),
    Record("b/3", "b/3.avi", "validation"),
]
DATASET = Dataset(
    name="made_up",
    title="",
    records=lambda annotations, variant: RECORDS,
    classes=lambda annotations, variant: (),
    counts={"": {"training": (3, 2), "validation": (2,), "testing": (10_000, 9)}},
)


def _touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_videos_are_found_in_any_case_and_with_any_suffix(tmp_path):
    _touch(tmp_path, "A/1.AVI", "b/3.webm", "a/2.txt", "a/2.mp4.part", "b/4.mp4", ".trash/a/2.mp4")
    (tmp_path / "a" / "2.avi").mkdir()  # a folder is not a video
    os.symlink("5.mkv", tmp_path / "a" / "5.mkv")  # leads nowhere
    located, missing = datasets.locate(DATASET, RECORDS, tmp_path)
    assert [record.path for record in located] == ["A/1.AVI", "a/2.avi", "b/3.webm"]
    assert missing == ("a/2",)
    assert located[1] == RECORDS[1]  # stays, and is said to be missing
    assert located[0] == dataclasses.replace(RECORDS[0], path="A/1.AVI")


def test_several_equally_good_files_are_an_error(tmp_path):
    _touch(tmp_path, "a/1.mp4", "a/1.webm")
    with pytest.raises(ValueError, match=r"a/1\.mp4, a/1\.webm all fit a/1\.avi"):
        datasets.locate(DATASET, RECORDS, tmp_path)
    _touch(tmp_path, "a/1.avi")  # exactly the one that is asked for
    located, _ = datasets.locate(DATASET, RECORDS, tmp_path)
    assert located[0].path == "a/1.avi"


def test_links_are_followed_but_not_in_a_circle(tmp_path):
    _touch(tmp_path, "elsewhere/1.avi", "videos/b/3.avi")
    os.symlink(tmp_path / "elsewhere", tmp_path / "videos" / "a")
    os.symlink(tmp_path / "videos", tmp_path / "elsewhere" / "back")
    located, missing = datasets.locate(DATASET, RECORDS, tmp_path / "videos")
    assert [record.path for record in located] == ["a/1.avi", "a/2.avi", "b/3.avi"]
    assert missing == ("a/2",)


def test_a_folder_with_none_of_the_clips(tmp_path):
    _touch(tmp_path, "a/4.avi")
    with pytest.raises(
        FileNotFoundError,
        match=r"none of the 3 clips of made_up is in .*\. Looked for a/1\.avi, ",
    ):
        datasets.locate(DATASET, iter(RECORDS), tmp_path)
    assert datasets.locate(DATASET, [], tmp_path) == ([], ())
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder of videos"):
        datasets.locate(DATASET, RECORDS, tmp_path / "nowhere")


def test_counts_are_compared_with_all_known_copies():
    assert datasets.check_counts(DATASET, "", RECORDS) == [
        "validation: 1 clips; complete copies have 2",
        "testing: 0 clips; complete copies have 10,000 or 9",
    ]
