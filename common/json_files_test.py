import pytest

from common import json_files


def test_reads(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('\ufeff{"é": [1, 2.5, null]}', encoding="utf-8")
    assert json_files.load(path) == {"é": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b'{"a": 1', "not well-formed JSON"),
        (b"", "not well-formed JSON"),
        (b'{"a": 1, "b": 2, "a": 1}', 'the key "a" stands twice'),
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b'"\xff"', "not well-formed JSON"),
        (b"[" * 100_000, "not well-formed JSON"),
    ],
)
def test_what_is_not_json_names_the_file(tmp_path, text, error):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=rf"a\.json: .*{error}"):
        json_files.load(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.json: there is no such file"):
        json_files.load(tmp_path / "a.json")


def test_kinds():
    for value, kind in ((1, int), (1, float), (1.5, float), ("", str), ([], list), ({}, dict)):
        assert json_files.check(value, kind, "here") == value
    for value, kind in ((True, int), (1.0, int), ("1", int), (False, float), (1e999, float)):
        with pytest.raises(ValueError, match=r"here: expected a .* number, got"):
            json_files.check(value, kind, "here")
    with pytest.raises(ValueError, match=r"here: 'x': expected a list, got \"long.*\.\.\.\.$"):
        json_files.field({"x": "long " * 99}, "x", list, "here")
    with pytest.raises(ValueError, match="here: has no 'y'; expected an object under that key"):
        json_files.field({"x": 1}, "y", dict, "here")
