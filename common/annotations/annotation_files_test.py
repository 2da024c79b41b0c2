import dataclasses
import json

import numpy as np
import pytest

from common.annotations import Action, Annotations, Record, annotation_files
from common.annotations.frame_labels import frame_labels

CLASSES = ("drinking", "air drumming", "größe", 'a "quoted" one, with a comma')

NATIVE = Annotations(
    CLASSES,
    (
        Record("YoYo/v_1", "YoYo/v_1.avi", "training", (1,), 2, 3.5, duration=1.5, frames=7),
        Record(
            "0/12", "0/12.mp4", "validation", (0, 3), unit="frames", fps=29.97,
            actions=(Action(3, 0, 1.5), Action(0, 2, 4, 5)), boxes="validation/0/12.json",
        ),
    ),
    "ucf101",
    "1",
)  # fmt: skip
NATIVE_TEXT = r"""{"format": "i3d-annotations",
"version": 1,
"dataset": "ucf101",
"variant": "1",
"classes": ["drinking", "air drumming", "gr\u00f6\u00dfe", "a \"quoted\" one, with a comma"],
"counts": {"training": 1, "validation": 1},
"records": [
{"name": "YoYo/v_1", "path": "YoYo/v_1.avi", "subset": "training", "labels": [1], "start": 2, "end": 3.5, "duration": 1.5, "frames": 7},
{"name": "0/12", "path": "0/12.mp4", "subset": "validation", "labels": [0, 3], "actions": [{"label": 3, "start": 0, "end": 1.5}, {"label": 0, "start": 2, "end": 4, "subject": 5}], "unit": "frames", "fps": 29.97, "boxes": "validation/0/12.json"}
]}
"""  # noqa: E501

KENSHOHARA = Annotations(
    ("Hammering", "HammerThrow"),
    (
        Record("HammerThrow/v_1", "HammerThrow/v_1", "training", (1,), frames=120),
        Record("Hammering/v_2", "Hammering/v_2", "validation", (0,)),
        Record("test/-_3_000017_000027", "test/-_3_000017_000027", "testing", frames=9),
        Record("Hammering/v_4", "Hammering/v_4", "testing", (0,), frames=5),
        Record("test/v_5", "test/v_5", "testing"),
    ),
)
KENSHOHARA_TEXT = (
    '{"labels": ["Hammering", "HammerThrow"], "database": {'
    '"v_1": {"subset": "training", '
    '"annotations": {"label": "HammerThrow", "segment": [1, 121]}}, '
    '"v_2": {"subset": "validation", "annotations": {"label": "Hammering"}}, '
    '"-_3_000017_000027": {"subset": "testing", "annotations": {"segment": [1, 10]}}, '
    '"v_4": {"subset": "testing", "annotations": {"label": "Hammering", "segment": [1, 6]}}, '
    '"v_5": {"subset": "testing", "annotations": {}}}}\n'
)

PIERGIAJ = Annotations(
    (),
    (
        Record(
            "7UPGT", "7UPGT.mp4", "training", (12, 149), duration=23.21,
            actions=(Action(149, 16.0, 22.2), Action(12, 0.0, 30.5), Action(149, 1.5, 1.0)),
        ),
        Record("00SL4", "00SL4.mp4", "testing", duration=9.0),
        Record(
            '0/é "x"', '0/é "x".mp4', "validation", (0,), duration=1.0,
            actions=(Action(0, 0.1, 0.30000000000000004),),
        ),
    ),
)  # fmt: skip
PIERGIAJ_TEXT = (
    '{\n"7UPGT": {"subset": "training", "duration": 23.21, "actions": '
    "[[149, 16.0, 22.2], [12, 0.0, 30.5], [149, 1.5, 1.0]]},\n"
    '"00SL4": {"subset": "testing", "duration": 9.0, "actions": []},\n'
    '"0/é \\"x\\"": {"subset": "validation", "duration": 1.0, "actions": '
    "[[0, 0.1, 0.30000000000000004]]}\n}\n"
)

EXAMPLES = {
    "native": (NATIVE, NATIVE_TEXT),
    "kenshohara": (KENSHOHARA, KENSHOHARA_TEXT),
    "piergiaj": (PIERGIAJ, PIERGIAJ_TEXT),
}


@pytest.mark.parametrize("container", annotation_files.FORMATS)
def test_the_exact_text_is_written_recognised_and_read_back(tmp_path, container):
    content, text = EXAMPLES[container]
    path = tmp_path / "any name"
    annotation_files.write(path, content, container)
    assert path.read_text(encoding="utf-8") == text
    assert annotation_files.read(path) == content
    assert annotation_files.format_of(json.loads(text)) == container


@pytest.mark.parametrize(("segment", "frames"), [([1, 121], 120), ([0, 120], 120), ([1, 1], 0)])
def test_kenshohara_segments_exclude_their_end(tmp_path, segment, frames):
    path = tmp_path / "a.json"
    path.write_text(KENSHOHARA_TEXT.replace("[1, 121]", str(segment)))
    assert annotation_files.read(path).records[0].frames == frames


def test_piergiaj_spans_in_frames_label_the_same_frames_when_read_back(tmp_path):
    path = tmp_path / "vidor.json"
    for fps in (25.0, 29.97, 29.97002997, 30.0, 23.976, 59.94, 7.3):
        spans = tuple(Action(k % 42, k, k + 7, subject=k % 3) for k in range(93))
        record = Record(
            "0000/2401075277", "video/0000/2401075277.mp4", "training", tuple(range(42)),
            actions=spans, unit="frames", fps=fps, frames=100,
        )  # fmt: skip
        annotation_files.write(path, Annotations((), (record,)), "piergiaj")
        (found,) = annotation_files.read(path).records
        assert (found.unit, found.actions[0].subject, found.frames) == ("seconds", None, None)
        assert found.duration == pytest.approx(100 / fps, rel=1e-12)
        np.testing.assert_array_equal(frame_labels(found, 42, 100, fps), frame_labels(record, 42))
    # The rule of pytorch-i3d leaves out a frame exactly on the start.
    record = dataclasses.replace(record, actions=(Action(0, 10, 20),), labels=(0,), fps=25.0)
    annotation_files.write(path, Annotations((), (record,)), "piergiaj")
    (found,) = annotation_files.read(path).records
    assert found.actions == (Action(0, 0.4, 0.8),)
    strict = frame_labels(found, 1, 50, 25, "strict")[:, 0]
    assert np.flatnonzero(strict).tolist() == list(range(11, 20))


@pytest.mark.parametrize(
    ("container", "change", "error"),
    [
        ("kenshohara", {"labels": (0, 1)}, "'HammerThrow/v_1': this format holds clips of one cl"),
        ("kenshohara", {"actions": (Action(0, 1, 2),)}, "'HammerThrow/v_1': this format"),
        ("kenshohara", {"name": "HammerThrow/v_2"}, "'Hammering/v_2': this format"),
        ("kenshohara", {"subset": "testing", "labels": ()}, "'HammerThrow/v_1': this format"),
        ("piergiaj", {"duration": None}, "7UPGT: this format .* an unknown duration"),
        ("piergiaj", {"start": 1.0, "end": 2.0}, "7UPGT: .* a part of a longer video"),
        ("piergiaj", {"labels": (3, 12, 149)}, "7UPGT: .* labels without spans"),
        ("piergiaj", {"unit": "frames"}, "7UPGT: .* spans in frames of an unknown rate"),
    ],
)
def test_what_a_format_cannot_express_is_not_written(tmp_path, container, change, error):
    content = EXAMPLES[container][0]
    first, *others = content.records
    content = dataclasses.replace(content, records=(dataclasses.replace(first, **change), *others))
    with pytest.raises(ValueError, match=error):
        annotation_files.write(tmp_path / "a.json", content, container)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("container", "old", "new", "error"),
    [
        (container, *case)
        for container, cases in {
            "native": (
                ('"version": 1', '"version": 2', r"expected version 1 .* Received: 2\."),
                ('"variant": "1",', "", r"\$: missing fields: variant; unknown .* none"),
                ('"validation": 1}', '"validation": 2}', "expected as many records as the file"),
                ('["drinking"', "[7", r"\$\.classes\[0\]: expected a text, got 7"),
                ('"labels": [1]', '"labels": [4]', "record 'YoYo/v_1', labels: .* below 4"),
                (NATIVE_TEXT[-20:], "", "not well-formed JSON"),
            ),
            "kenshohara": (
                ('"database": {', '"database": [], "x": {', "database: expected an object"),
                ('"label": "HammerThrow"', '"l": 1', "entry 'v_1': expected one of the file's la"),
                ('"label": "HammerThrow"', '"label": "b"', "expected one of the file's la.*'b'"),
                ("[1, 121]", "[2, 9]", r"'v_1': .* a segment \[1, frames \+ 1\] or \[0"),
            ),
            "piergiaj": (
                ('"duration": 23.21, ', "", r'\$\["7UPGT"\]: missing fields: duration'),
                ("23.21", "0", "entry '7UPGT': expected a duration above 0 s, got 0"),
                ("00SL4", "a/../../b", "name: expected a relative path"),
            ),
        }.items()
        for case in cases
    ],
)
def test_malformed_files_are_refused_with_the_place(tmp_path, container, old, new, error):
    path = tmp_path / "all.json"
    text = EXAMPLES[container][1]
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"all\.json: .*{error}") as caught:
        annotation_files.read(path)
    assert str(caught.value).count(str(path)) == 1


@pytest.mark.parametrize("text", ["[]", "{}", '"x"', "null", '{"a": {}}', '{"labels": []}'])
def test_other_json_is_not_an_annotation_file(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.json: .* \(native, kenshohara, piergiaj\)"):
        annotation_files.read(path)
    with pytest.raises(FileNotFoundError, match=r"b\.json"):
        annotation_files.read(tmp_path / "b.json")
