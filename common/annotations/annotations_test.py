import dataclasses
import math

import pytest

from common import annotations
from common.annotations import Action, Annotations, Record

RECORD = Record("a/b", "a/b.mp4", "training", (0, 2))


def _of(*records, classes=("x", "y", "z")):
    return Annotations(classes, records)


def test_counts_omit_empty_subsets():
    testing = dataclasses.replace(RECORD, name="c", subset="testing")
    assert _of(testing, RECORD, dataclasses.replace(RECORD, name="d")).counts == {
        "training": 2,
        "testing": 1,
    }
    assert RECORD.id == "b"


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"labels": ()},
        {"path": "a/b"},
        {"name": "Geena_und_die_Radschl_ge___;-)_[x]_%05d_{y}"},
        {"start": 417, "end": 427.5},
        {"end": 3.0},
        {"actions": (Action(2, 5.0, 1.0),)},  # Charades has spans that end before they start
        {"frames": 0},
    ],
)
def test_valid_records(change):
    annotations.check(_of(dataclasses.replace(RECORD, **change)))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": "/a"}, r"record '/a', name: expected a relative path .* Received: '/a'\."),
        ({"name": "a//b"}, "name: expected a relative path"),
        ({"name": "a/../b"}, "name: expected a relative path"),
        ({"path": "../b.mp4"}, r"'a/b', path: expected a relative path .* '\.\./b\.mp4'"),
        ({"path": ""}, "path: expected a relative path"),
        ({"boxes": "/x"}, "boxes: expected a relative path"),
        ({"subset": "train"}, "subset: expected one of training, validation, testing. .*'train'"),
        ({"unit": "hours"}, "unit: expected one of seconds, frames. Received: 'hours'"),
        ({"labels": (3,)}, r"labels: expected labels from 0, below 3. Received: \(3,\)"),
        ({"labels": (-1,)}, "labels: expected labels from 0"),
        ({"labels": (2, 0)}, r"labels: expected ascending labels. Received: \(2, 0\)"),
        ({"labels": (1, 1)}, "labels: expected ascending"),
        ({"actions": (Action(3, 0, 1),)}, "labels: expected labels from 0, below 3"),
        ({"actions": (Action(0, math.nan, 1),)}, "actions: expected finite times"),
        ({"start": -1.0}, r"start: expected a finite number, at least 0. Received: -1\.0"),
        ({"duration": math.inf}, "duration: expected a finite number"),
        ({"fps": math.nan}, "fps: expected a finite number"),
        ({"start": 2.0, "end": 2.0}, r"end: expected a time after the start. Received: 2\.0"),
    ],
)
def test_invalid_fields_are_named(change, error):
    with pytest.raises(ValueError, match=error):
        annotations.check(_of(dataclasses.replace(RECORD, **change)))


def test_names_are_unique():
    with pytest.raises(ValueError, match="record 'a/b' appears twice"):
        annotations.check(_of(RECORD, RECORD))
    with pytest.raises(ValueError, match=r"class names must be unique.*\['x'\]"):
        annotations.check(_of(RECORD, classes=("x", "y", "x")))
    with pytest.raises(ValueError, match="class names must be unique"):
        annotations.check(_of(RECORD, classes=("x", "", "z")))


def test_without_class_names_any_label_from_0_is_valid():
    annotations.check(_of(RECORD, classes=()))
    with pytest.raises(ValueError, match="labels from 0"):
        annotations.check(_of(dataclasses.replace(RECORD, labels=(-1,)), classes=()))
