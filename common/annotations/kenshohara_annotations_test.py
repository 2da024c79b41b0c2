import dataclasses
import json

import pytest

from common.annotations import Action, Annotations, Record, annotation_files, kenshohara_annotations

CONTENT = Annotations(
    classes=("Hammering", "HammerThrow"),
    records=(
        Record("HammerThrow/v_1", "HammerThrow/v_1.avi", "training", (1,), frames=120),
        Record("Hammering/v_2", "Hammering/v_2.avi", "validation", (0,)),
        Record("test/-_3_000017_000027", "test/-_3_000017_000027.mp4", "testing", frames=9),
        Record("Hammering/v_4", "Hammering/v_4.mp4", "testing", (0,), frames=5),
        Record("test/v_5", "test/v_5.mp4", "testing"),
    ),
)
DOCUMENT = {
    "labels": ["Hammering", "HammerThrow"],
    "database": {
        "v_1": {
            "subset": "training",
            "annotations": {"label": "HammerThrow", "segment": [1, 121]},
        },
        "v_2": {"subset": "validation", "annotations": {"label": "Hammering"}},
        "-_3_000017_000027": {"subset": "testing", "annotations": {"segment": [1, 10]}},
        "v_4": {"subset": "testing", "annotations": {"label": "Hammering", "segment": [1, 6]}},
        "v_5": {"subset": "testing", "annotations": {}},
    },
}


def test_the_exact_content(tmp_path):
    path = tmp_path / "ucf101_01.json"
    annotation_files.write(path, CONTENT, "kenshohara")
    written = json.loads(path.read_text())
    assert written == DOCUMENT
    assert list(written["database"]) == list(DOCUMENT["database"])


def test_reading_it_back_gives_records_of_folders_of_frames(tmp_path):
    path = tmp_path / "ucf101_01.json"
    annotation_files.write(path, CONTENT, "kenshohara")
    records = tuple(dataclasses.replace(each, path=each.name) for each in CONTENT.records)
    assert annotation_files.read(path) == Annotations(CONTENT.classes, records)


@pytest.mark.parametrize(("segment", "frames"), [([1, 121], 120), ([0, 120], 120), ([1, 1], 0)])
def test_the_end_of_a_segment_does_not_belong_to_it(segment, frames):
    entry = {"subset": "training", "annotations": {"label": "a", "segment": segment}}
    document = {"labels": ["a"], "database": {"v": entry}}
    (record,) = kenshohara_annotations.read(document).records
    assert record.frames == frames


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"labels": (0, 1)}, "record 'Hammering/v_2': .* Received: 2 classes, 0 spans"),
        ({"labels": ()}, "Received: 0 classes, 0 spans"),
        ({"actions": (Action(0, 1, 2),)}, "Received: 1 classes, 1 spans"),
        ({"name": "HammerThrow/v_1/v_1"}, "another one has the key 'v_1' too"),
        ({"name": "v_2"}, "record 'v_2': .* looks for its frames in 'Hammering/v_2', where"),
        ({"name": "val/Hammering/v_2"}, "looks for its frames in 'Hammering/v_2'"),
        ({"name": "hammering/v_2"}, "looks for its frames in 'Hammering/v_2'"),
        ({"subset": "testing", "labels": ()}, "looks for its frames in 'test/v_2'"),
        ({"subset": "testing", "labels": (0, 1)}, "Received: 2 classes, 0 spans"),
        ({"subset": "testing", "actions": (Action(0, 1, 2),)}, "Received: 1 classes, 1 spans"),
    ],
)
def test_what_the_format_cannot_say_is_not_written(tmp_path, change, error):
    first, second, *_ = CONTENT.records
    records = (first, dataclasses.replace(second, **change))
    with pytest.raises(ValueError, match=error):
        annotation_files.write(
            tmp_path / "a.json", dataclasses.replace(CONTENT, records=records), "kenshohara"
        )
    with pytest.raises(ValueError, match="needs the names of the classes"):
        annotation_files.write(
            tmp_path / "a.json", dataclasses.replace(CONTENT, classes=()), "kenshohara"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ([], "expected a subset of training, validation, testing and annotations"),
        ({"subset": "train", "annotations": {}}, "expected a subset of training"),
        ({"subset": "training"}, "expected a subset of .* and annotations"),
        ({"subset": "training", "annotations": {}}, "expected a label .* Received: None"),
        ({"subset": "training", "annotations": {"label": "b"}}, "expected a label .* 'b'"),
        ({"subset": "training", "annotations": {"label": ["a"]}}, "expected a label"),
        *(
            (
                {"subset": "training", "annotations": {"label": "a", "segment": segment}},
                r"expected a segment \[1, frames \+ 1\] or \[0, frames\]. Received:",
            )
            for segment in ([1], [2, 9], [1, 0], [1.0, 9.0], [-1, 9], "19", [1, True])
        ),
    ],
)
def test_what_is_wrong_names_file_and_entry(tmp_path, entry, error):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"labels": ["a"], "database": {"v_1": entry}}))
    with pytest.raises(ValueError, match=rf"a\.json: entry 'v_1': {error}"):
        annotation_files.read(path)


def test_what_is_wrong_about_the_whole(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"labels": [1], "database": {}}')
    with pytest.raises(ValueError, match=r"a\.json: labels: expected a list of texts"):
        annotation_files.read(path)
    path.write_text('{"labels": ["a"], "database": []}')
    with pytest.raises(ValueError, match="database: expected an object"):
        annotation_files.read(path)
    path.write_text('{"labels": [], "database": {"v": {}, "v": {}}}')
    with pytest.raises(ValueError, match='the key "v" stands twice'):
        annotation_files.read(path)
