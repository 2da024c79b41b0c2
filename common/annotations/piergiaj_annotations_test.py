import dataclasses
import json

import numpy as np
import pytest

from common.annotations import Action, Annotations, Record, annotation_files, piergiaj_annotations
from common.annotations.frame_labels import frame_labels

CHARADES = [
    Record(
        "7UPGT", "7UPGT.mp4", "training", (12, 149), duration=23.21,
        actions=(Action(149, 16.0, 22.2), Action(12, 0.0, 30.5), Action(149, 1.5, 1.0)),
    ),
    Record("00SL4", "00SL4.mp4", "testing", duration=9.0),
    Record("0/é \"x\"", "0/é \"x\".mp4", "validation", (0,), duration=1.0,
           actions=(Action(0, 0.1, 0.30000000000000004),)),
]  # fmt: skip


def _write(path, records):
    annotation_files.write(path, Annotations((), tuple(records)), "piergiaj")


def _read(path):
    return list(annotation_files.read(path).records)


def test_the_exact_text(tmp_path):
    path = tmp_path / "charades.json"
    _write(path, CHARADES)
    assert path.read_text(encoding="utf-8") == (
        '{\n"7UPGT": {"subset": "training", "duration": 23.21, "actions": '
        "[[149, 16.0, 22.2], [12, 0.0, 30.5], [149, 1.5, 1.0]]},\n"
        '"00SL4": {"subset": "testing", "duration": 9.0, "actions": []},\n'
        '"0/é \\"x\\"": {"subset": "validation", "duration": 1.0, "actions": '
        "[[0, 0.1, 0.30000000000000004]]}\n}\n"
    )
    assert _read(path) == CHARADES
    assert piergiaj_annotations.read({}) == Annotations((), ())


def test_whole_numbers_are_times_too(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": {"subset": "training", "duration": 3, "actions": [[1, 0, 2]]}}')
    (record,) = _read(path)
    assert record == Record(
        "a", "a.mp4", "training", (1,), actions=(Action(1, 0.0, 2.0),), duration=3.0
    )
    assert isinstance(record.duration, float)
    assert isinstance(record.actions[0].end, float)


def test_spans_in_frames_become_seconds_and_are_the_same_frames_again(tmp_path):
    path = tmp_path / "vidor.json"
    for fps in (25.0, 29.97, 29.97002997, 30.0, 23.976, 59.94, 7.3):
        spans = tuple(Action(k % 42, k, k + 7, subject=k % 3) for k in range(93))
        record = Record(
            "0000/2401075277", "video/0000/2401075277.mp4", "training", tuple(range(42)),
            actions=spans, unit="frames", fps=fps, frames=100,
        )  # fmt: skip
        _write(path, [record])
        (found,) = _read(path)
        assert (found.unit, found.actions[0].subject, found.frames) == ("seconds", None, None)
        assert found.duration == pytest.approx(100 / fps, rel=1e-12)
        np.testing.assert_array_equal(frame_labels(found, 42, 100, fps), frame_labels(record, 42))


def test_the_rule_of_pytorch_i3d_leaves_out_a_frame_right_on_the_start(tmp_path):
    record = Record("a", "a.mp4", "training", (0,), unit="frames", fps=25.0, frames=50,
                    actions=(Action(0, 10, 20),))  # fmt: skip
    _write(tmp_path / "a.json", [record])
    (found,) = _read(tmp_path / "a.json")
    assert found.actions == (Action(0, 0.4, 0.8),)
    strict = frame_labels(found, 1, 50, 25, "strict")[:, 0]
    assert np.flatnonzero(strict).tolist() == list(range(11, 20))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"duration": None}, "7UPGT: this format needs the duration"),
        ({"start": 1.0, "end": 2.0}, "7UPGT: a part of a longer video .from 1.0 to 2.0 s"),
        ({"labels": (3, 12, 149)}, r"7UPGT: has labels without spans \(\[3\]\)"),
        ({"unit": "frames"}, "7UPGT: its spans are in frames and its rate is not known"),
        ({"name": "00SL4"}, "record '00SL4' is there twice"),
    ],
)
def test_what_the_format_cannot_say_is_not_written(tmp_path, change, error):
    path = tmp_path / "a.json"
    with pytest.raises(ValueError, match=error):
        _write(path, [dataclasses.replace(CHARADES[0], **change), CHARADES[1]])
    assert list(tmp_path.iterdir()) == []


GOOD = {"subset": "training", "duration": 3.5, "actions": [[1, 0.0, 2.0]]}


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ({"subset": "training", "actions": []}, "has no 'duration'"),
        ({**GOOD, "subset": "train"}, "expected subset training or validation or testing, got"),
        ({**GOOD, "duration": "3.5"}, "'duration': expected a finite number, got \"3.5\""),
        ({**GOOD, "duration": 0}, "expected a duration above 0 seconds, got 0"),
        ({**GOOD, "actions": None}, "'actions': expected a list, got null"),
        ({**GOOD, "subset": []}, "'subset': expected a text, got"),
        (
            {**GOOD, "actions": [[1, 0, 2], [1, 2]]},
            r"action 1: expected \[class, start, end\]",
        ),
        ({**GOOD, "actions": [[1.0, 0, 2]]}, "action 0: expected a whole number, got 1.0"),
        ({**GOOD, "actions": [[-1, 0, 2]]}, "action 0: expected a class from 0 on, got -1"),
        ({**GOOD, "actions": [[1, 0, True]]}, "action 0: expected a finite number, got true"),
    ],
)
def test_what_is_malformed_names_file_and_entry(tmp_path, entry, error):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"fine": GOOD, "7UPGT": entry}))
    with pytest.raises(ValueError, match=rf'a\.json: entry "7UPGT": {error}'):
        _read(path)


@pytest.mark.parametrize("key", ["../a", "/a", "", "a/../../b"])
def test_a_key_cannot_leave_the_folder(tmp_path, key):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({key: GOOD}))
    with pytest.raises(ValueError, match="the key is no name"):
        _read(path)
