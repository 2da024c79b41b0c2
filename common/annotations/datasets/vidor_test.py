import dataclasses
import json

import numpy as np
import pytest

from common.annotations import Action, Record, datasets, label_maps
from common.annotations.datasets import vidor
from common.annotations.frame_labels import frame_labels


def _box(tid, left, upper, right, lower):
    return {
        "tid": tid,
        "bbox": {"xmin": left, "ymin": upper, "xmax": right, "ymax": lower},
        "generated": 0,
        "tracker": "none",
    }


def _relation(subject, predicate, towards, begin, end):
    keys = ("subject_tid", "predicate", "object_tid", "begin_fid", "end_fid")
    return dict(zip(keys, (subject, predicate, towards, begin, end), strict=True))


def _video(video_path, frames, relations, trajectories):
    objects = {0: "adult", 3: "ball/sports_ball", 7: "dog"}
    return {
        "version": "VERSION 1.0",
        "video_path": video_path,
        "frame_count": frames,
        "fps": 29.97,
        "subject/objects": [{"tid": tid, "category": name} for tid, name in objects.items()],
        "trajectories": trajectories,
        "relation_instances": relations,
    }


PLAYING = _video(
    "0000/2401075277.mp4",
    6,
    [
        _relation(0, "throw", 3, 0, 2),
        _relation(0, "watch", 3, 1, 6),
        _relation(0, "watch", 7, 1, 6),
        _relation(7, "chase", 3, 2, 5),
        _relation(7, "in_front_of", 0, 0, 6),
    ],
    [
        [_box(0, 10, 0, 19, 479), _box(3, 620, 5, 639, 14)],
        [_box(0, 11, 0, 20, 479)],
        [],
        [_box(0, 13, 0, 22, 479), _box(7, 4, 4, 4, 4)],
        [],
        [],
    ],
)
STILL = _video("0001/1.mp4", 2, [_relation(0, "next_to", 7, 0, 2)], [[], []])
MUSIC = _video("0000/9.mp4", 3, [_relation(0, "play(instrument)", 3, 1, 9)], [[], [], []])


@pytest.fixture
def folder(tmp_path):
    for subset, video in (("training", PLAYING), ("training", STILL), ("validation", MUSIC)):
        path = tmp_path / subset / str(video["video_path"]).replace(".mp4", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(video))
    return tmp_path


RECORDS = [
    Record(
        name="0000/2401075277", path="0000/2401075277.mp4", subset="training",
        labels=(0, 16, 26),
        actions=(Action(16, 0, 2, 0), Action(0, 1, 6, 0), Action(0, 1, 6, 0), Action(26, 2, 5, 7)),
        unit="frames", duration=6 / 29.97, fps=29.97, frames=6,
        boxes="training/0000/2401075277.json",
    ),
    Record(
        name="0001/1", path="0001/1.mp4", subset="training",
        unit="frames", duration=2 / 29.97, fps=29.97, frames=2, boxes="training/0001/1.json",
    ),
    Record(
        name="0000/9", path="0000/9.mp4", subset="validation", labels=(41,),
        actions=(Action(41, 1, 9, 0),),
        unit="frames", duration=3 / 29.97, fps=29.97, frames=3, boxes="validation/0000/9.json",
    ),
]  # fmt: skip


def test_the_42_actions(folder):
    dataset = datasets.load("vidor")
    records = dataset.records(folder, "actions")
    assert records == RECORDS
    assert [sum(map(slip.met, records)) for slip in dataset.slips] == [1, 1, 0]
    assert datasets.check_counts(dataset, "actions", records) == [
        "training: 2 clips; complete copies have 7,000",
        "validation: 1 clips; complete copies have 835",
    ]


def test_all_50_predicates(folder):
    records = vidor.records(folder, "predicates")
    assert records[0].labels == (0, 16, 26, 46)
    assert records[0].actions == (*RECORDS[0].actions, Action(46, 0, 6, 7))
    assert records[1].actions == (Action(48, 0, 2, 0),)
    assert records[2] == RECORDS[2]
    actions, predicates = map(
        label_maps.load, (label_maps.VIDOR_ACTIONS, label_maps.VIDOR_PREDICATES)
    )
    assert predicates[:42] == actions
    assert list(predicates[42:]) == sorted(predicates[42:])


def test_the_end_of_a_span_is_exclusive(folder):
    labels = frame_labels(vidor.records(folder, "actions")[0], 42)
    assert (labels.shape, labels.dtype) == ((6, 42), np.uint8)
    # two equal spans towards two objects are one label
    spans = {16: [0, 1], 0: [1, 2, 3, 4, 5], 26: [2, 3, 4]}
    assert {int(a): np.flatnonzero(labels[:, a]).tolist() for a in set(np.nonzero(labels)[1])} == (
        spans
    )
    assert np.flatnonzero(frame_labels(RECORDS[2], 42)[:, 41]).tolist() == [1, 2]
    one = frame_labels(RECORDS[0], 42, subject=7)
    assert np.argwhere(one).tolist() == [[2, 26], [3, 26], [4, 26]]
    record = dataclasses.replace(RECORDS[2], actions=(Action(41, 2, 2, 0),))
    assert datasets.load("vidor").slips[2].met(record)
    assert frame_labels(record, 42).sum() == 0


def test_boxes_are_inclusive_in_the_file_and_half_open_here(folder):
    path = folder / str(RECORDS[0].boxes)
    assert vidor.tracklets(path) == {
        0: {0: (10, 0, 20, 480), 1: (11, 0, 21, 480), 3: (13, 0, 23, 480)},
        3: {0: (620, 5, 640, 15)},
        7: {3: (4, 4, 5, 5)},
    }


@pytest.mark.parametrize("inside", ["", "video/", "training/", "video/training/"])
def test_locations_of_videos_and_frames(folder, tmp_path, inside):
    videos = tmp_path / "vidor"
    (videos / inside / "0000").mkdir(parents=True)
    (videos / inside / "0000" / "2401075277.MP4").touch()
    (videos / inside / "0001" / "1").mkdir(parents=True)  # frames
    dataset = datasets.load("vidor")
    records, missing = datasets.locate(dataset, vidor.records(folder, "actions"), videos)
    paths = [record.path for record in records[:2]]
    assert paths == [f"{inside}0000/2401075277.MP4", f"{inside}0001/1"]
    assert missing == ("0000/9",)


def test_one_subset_is_enough(folder):
    (folder / "validation" / "0000" / "9.json").unlink()
    assert vidor.records(folder, "actions") == RECORDS[:2]


OBJECT = {"tid": 0, "category": "adult"}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"version": None}, "expected version 'VERSION 1.0', got None.*VidVRD"),
        ({"version": "VERSION 2.0"}, "expected version 'VERSION 1.0', got 'VERSION 2.0'"),
        ({"video_path": "0001/1.mp4"}, "describes the video '0001/1.mp4', expected '0000/24"),
        ({"frame_count": 6.0}, "'frame_count': expected a whole number, got 6.0"),
        ({"fps": "29.97"}, "'fps': expected a finite number, got \"29.97\""),
        ({"fps": 0}, "expected a frame_count and an fps above 0, got 6 and 0"),
        ({"relation_instances": {}}, "'relation_instances': expected a list"),
        ({"relation_instances": [7]}, "relation 0: expected an object, got 7"),
        ({"relation_instances": [_relation(0, "eat", 3, 0, 1)]}, "relation 0: 'eat' is none of"),
        ({"relation_instances": [_relation(0, "hit", 4, 0, 1)]}, "relation 0: no object has the"),
        ({"relation_instances": [_relation(0, "hit", 3, -1, 1)]}, "relation 0: expected frames fr"),
        ({"relation_instances": [{"predicate": "hit"}]}, "relation 0: has no 'subject_tid'"),
        ({"subject/objects": [OBJECT, OBJECT]}, "object 1: expected a tid of its own"),
        ({"subject/objects": [{**OBJECT, "category": "cup "}]}, "object 0: .* got 0 and 'cup '"),
    ],
)
def test_a_malformed_file_is_named_with_the_entry(folder, change, error):
    path = folder / "training" / "0000" / "2401075277.json"
    path.write_text(json.dumps({**PLAYING, **change}))
    with pytest.raises(ValueError, match=rf"2401075277\.json: {error}"):
        vidor.records(folder, "actions")


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        ({}, "frame 0: expected a list"),
        ([{"tid": "0"}], "frame 0, box 0: 'tid': expected a whole number"),
        ([_box(5, 0, 0, 1, 1)], "frame 0, box 0: no object has the tid 5"),
        ([_box(0, 0, 0, 1, 1), _box(0, 0, 0, 1, 1)], "frame 0, box 1: the object with tid 0 has a"),
        ([_box(0, 2, 0, 1, 1)], "frame 0, box 0: expected xmin <= xmax"),
        ([{"tid": 0, "bbox": {"xmin": 1}}], "frame 0, box 0: has no 'ymin'"),
    ],
)
def test_malformed_boxes_are_named(folder, frame, error):
    path = folder / "training" / "0000" / "2401075277.json"
    path.write_text(json.dumps({**PLAYING, "trajectories": [frame]}))
    with pytest.raises(ValueError, match=rf"2401075277\.json: {error}"):
        vidor.tracklets(path)


def test_all_malformed_files_are_said_at_once(folder):
    (folder / "training" / "0000" / "2401075277.json").write_text("{}")
    (folder / "validation" / "0000" / "9.json").write_text("{")
    with pytest.raises(ValueError) as caught:
        vidor.records(folder, "actions")
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{folder}/training/0000/2401075277.json: expected version")
    assert second.startswith(f"{folder}/validation/0000/9.json: not well-formed JSON")
    for number in range(10, 21):
        (folder / "validation" / "0000" / f"{number}.json").write_text("{")
    with pytest.raises(ValueError) as caught:
        vidor.records(folder, "actions")
    *named, last = str(caught.value).splitlines()
    assert (len(named), last) == (10, "3 more files are malformed.")
