import json

import pytest

from common.annotations import Action, Annotations, Record, annotation_files

CONTENT = Annotations(("a", "b"), (Record("x/1", "x/1", "training", (1,), frames=3),))


@pytest.mark.parametrize("container", ["native", "kenshohara"])
def test_a_file_says_itself_which_format_it_has(tmp_path, container):
    path = tmp_path / "any name"
    content = Annotations(("a", "b"), (Record("b/1", "b/1", "training", (1,), frames=3),))
    annotation_files.write(path, content, container)
    assert annotation_files.read(path) == content
    recognised = [
        name
        for name, row in annotation_files.FORMATS.items()
        if row.recognises(json.loads(path.read_text()))
    ]
    assert recognised == [container]


def test_that_of_pytorch_i3d_names_no_classes(tmp_path):
    path = tmp_path / "charades.json"
    path.write_text(
        '{"7UPGT": {"subset": "testing", "duration": 23.5, "actions": [[149, 16.0, 22.2]]}}'
    )
    content = annotation_files.read(path)
    record = Record(
        "7UPGT", "7UPGT.mp4", "testing", (149,), actions=(Action(149, 16.0, 22.2),), duration=23.5
    )
    assert content == Annotations((), (record,))
    annotation_files.write(tmp_path / "again.json", content, "piergiaj")
    assert annotation_files.read(tmp_path / "again.json") == content
    path.write_text('{"7UPGT": {"subset": "testing", "duration": "x", "actions": []}}')
    with pytest.raises(ValueError) as caught:
        annotation_files.read(path)
    assert str(caught.value).count(str(path)) == 1


@pytest.mark.parametrize("text", ["[]", "{}", '"x"', "1", "null", '{"a": {}}', '{"labels": []}'])
def test_other_json_is_no_annotation_file(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.json: .* native, kenshohara, piergiaj"):
        annotation_files.read(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"label,id", b"[" * 100_000])
def test_what_is_no_json_at_all(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json: not well-formed JSON"):
        annotation_files.read(path)
    with pytest.raises(FileNotFoundError, match=r"b\.json"):
        annotation_files.read(tmp_path / "b.json")


def test_nothing_wrong_is_written(tmp_path):
    wrong = Annotations(("a",), CONTENT.records)
    for container in annotation_files.FORMATS:
        with pytest.raises(ValueError, match="record 'x/1', labels"):
            annotation_files.write(tmp_path / "a.json", wrong, container)
    assert list(tmp_path.iterdir()) == []
