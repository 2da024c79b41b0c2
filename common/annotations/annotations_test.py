import dataclasses
import math

import pytest

from common.annotations import Action, Annotations, Record

RECORD = Record("a/b", "a/b.mp4", "training", (0, 2))


def _of(*records, classes=("x", "y", "z")):
    return Annotations(classes, records)


def test_counts_omit_empty_subsets():
    testing = dataclasses.replace(RECORD, name="c", subset="testing")
    content = _of(testing, RECORD, dataclasses.replace(RECORD, name="d"))
    assert content.counts == {"training": 2, "testing": 1}
    assert RECORD.id == "b"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": "/a"}, r"record '/a', name: expected a relative path .* Received: '/a'\."),
        ({"path": "../b.mp4"}, r"'a/b', path: expected a relative path .* '\.\./b\.mp4'"),
        ({"boxes": "/x"}, "boxes: expected a relative path"),
        ({"subset": "train"}, "subset: expected one of training, validation, testing. .*'train'"),
        ({"unit": "hours"}, "unit: expected one of seconds, frames. Received: 'hours'"),
        ({"labels": (2, 0)}, r"labels: expected ascending labels. Received: \(2, 0\)"),
        ({"actions": (Action(3, 0, 1),)}, "labels: expected labels from 0, below 3"),
        ({"actions": (Action(0, math.nan, 1),)}, "actions: expected finite times"),
        ({"start": -1.0}, r"start: expected a finite number, at least 0. Received: -1\.0"),
        ({"start": 2.0, "end": 2.0}, r"end: expected a time after the start. Received: 2\.0"),
    ],
)
def test_invalid_fields_are_named(change, error):
    with pytest.raises(ValueError, match=error):
        _of(dataclasses.replace(RECORD, **change))


def test_names_of_records_and_classes_are_unique():
    with pytest.raises(ValueError, match="record 'a/b' appears twice"):
        _of(RECORD, RECORD)
    for classes in (("x", "y", "x"), ("x", "", "z")):
        with pytest.raises(ValueError, match="class names must be unique"):
            _of(RECORD, classes=classes)
    assert _of(dataclasses.replace(RECORD, labels=(9,)), classes=()).classes == ()
