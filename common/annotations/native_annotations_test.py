import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.annotations import (
    SUBSETS,
    UNITS,
    Action,
    Annotations,
    Record,
    annotation_files,
    native_annotations,
)

CLASSES = ("drinking", "air drumming", "größe", 'a "quoted" one, with a comma')

PARTS = st.text(min_size=1, max_size=8).filter(lambda text: not {"/", "\0"} & set(text))
PATHS = (
    st.lists(PARTS.filter(lambda part: part not in (".", "..")), min_size=1, max_size=3)
    .map("/".join)
)  # fmt: skip
NUMBERS = st.floats(0, 1e9) | st.integers(0, 10**6)
LABELS = st.integers(0, len(CLASSES) - 1)
ACTIONS = st.builds(
    Action, LABELS, NUMBERS, NUMBERS | st.floats(-9, 0), st.none() | st.integers(-3, 9)
)
RECORDS = st.builds(
    Record,
    name=PATHS,
    path=PATHS,
    subset=st.sampled_from(SUBSETS),
    labels=st.sets(LABELS).map(lambda labels: tuple(sorted(labels))),
    start=st.none() | st.floats(0, 100),
    end=st.none() | st.floats(101, 1e6),
    actions=st.lists(ACTIONS, max_size=3).map(tuple),
    unit=st.sampled_from(UNITS),
    duration=st.none() | NUMBERS,
    fps=st.none() | NUMBERS,
    frames=st.none() | st.integers(0, 10**6),
    boxes=st.none() | PATHS,
)
CONTENT = st.builds(
    Annotations,
    st.just(CLASSES),
    st.lists(RECORDS, max_size=5, unique_by=lambda record: record.name).map(tuple),
    st.text(max_size=9),
    st.text(max_size=9),
)


@settings(max_examples=200, deadline=None)
@given(content=CONTENT)
def test_what_is_written_is_read_back(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("annotations") / "all.json"
    annotation_files.write(path, content)
    assert annotation_files.read(path) == content
    first = path.read_bytes()
    annotation_files.write(path, annotation_files.read(path))
    assert path.read_bytes() == first


RECORD = Record("YoYo/v_1", "YoYo/v_1.avi", "training", (1,), frames=7)
SPANS = Record(
    "0/12", "0/12.mp4", "validation", (0, 3), actions=(Action(3, 0, 1.5), Action(0, 2, 4, 5)),
    unit="frames", fps=29.97, boxes="validation/0/12.json",
)  # fmt: skip
TEXT = r"""{"format": "i3d-annotations",
"version": 1,
"dataset": "ucf101",
"variant": "1",
"classes": ["drinking", "air drumming", "gr\u00f6\u00dfe", "a \"quoted\" one, with a comma"],
"counts": {"training": 1, "validation": 1},
"records": [
{"name": "YoYo/v_1", "path": "YoYo/v_1.avi", "subset": "training", "labels": [1], "frames": 7},
{"name": "0/12", "path": "0/12.mp4", "subset": "validation", "labels": [0, 3], "actions": [{"label": 3, "start": 0, "end": 1.5}, {"label": 0, "start": 2, "end": 4, "subject": 5}], "unit": "frames", "fps": 29.97, "boxes": "validation/0/12.json"}
]}
"""  # noqa: E501


def test_the_exact_text():
    content = Annotations(CLASSES, (RECORD, SPANS), "ucf101", "1")
    assert native_annotations.text(content) == TEXT
    assert native_annotations.read(json.loads(TEXT)) == content


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"version": 1', '"version": 2', r"expected version 1 of the format. Received: 2\."),
        ('"variant": "1",', "", "the file: missing fields: variant; unknown fields: none"),
        ('"variant": "1",', '"variant": 1,', "the file, variant: expected a text, got 1"),
        ('"variant"', '"fold": "1", "variant"', "the file: .* unknown fields: fold"),
        ('"validation": 1}', '"validation": 2}', "expected the records that the file counts"),
        ('["drinking"', "[7", "classes: expected a text, got 7"),
        ('"path": "YoYo/v_1.avi", ', "", "record 'YoYo/v_1': missing fields: path"),
        ('"name": "YoYo/v_1", ', "", "record 0: missing fields: name"),
        ('"labels": [1]', '"labels": [1.0]', "record 'YoYo/v_1', labels: expected a whole number"),
        ('"labels": [1]', '"labels": [true]', "labels: expected a whole number, got true"),
        ('"labels": [1]', '"labels": 1', "record 'YoYo/v_1', labels: expected a list, got 1"),
        ('"labels": [1]', '"labels": [4]', "record 'YoYo/v_1', labels: .* below 4"),
        ('"frames": 7', '"frames": "7"', 'frames: expected a whole number, got "7"'),
        ('"frames": 7', '"frames": null', "frames: expected a whole number, got null"),
        ('"frames": 7', '"frame": 7', "record 'YoYo/v_1': .* unknown fields: frame"),
        ('"start": 0, ', "", "record '0/12', action 0: missing fields: start"),
        ('"end": 4', '"end": "4"', "record '0/12', action 1, end: expected a finite number"),
        ('"fps": 29.97', '"fps": NaN', "NaN is no number of JSON"),
        ('"fps": 29.97', '"fps": 1e999', "fps: expected a finite number"),
        ('"name": "0/12"', '"name": "YoYo/v_1"', "record 'YoYo/v_1' is there twice"),
        ('"unit": "frames"', '"unit": "frames", "unit": "seconds"', 'key "unit" stands twice'),
        (TEXT[-20:], "", "not well-formed JSON"),
    ],
)
def test_what_is_wrong_names_the_file_and_the_record(tmp_path, old, new, error):
    path = tmp_path / "all.json"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"all\.json: .*{error}"):
        annotation_files.read(path)
