"""Atomic writes, strict JSON, digests, and escaping."""

import hashlib
import json
import sys

import pytest

from common import io
from common.io import DigestError, check_shape, check_target, escape, load_json, replacing, to_json


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b'{"a": 1', "not well-formed JSON"),
        (b'{"a": 1, "b": 2, "a": 1}', 'the key "a" stands twice'),
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b'"\xff"', "not well-formed JSON"),
        (b"[" * 100_000, "not well-formed JSON"),
    ],
)
def test_json_is_strict(tmp_path, text, error):
    path = tmp_path / "a.json"
    path.write_text('\ufeff{"é": [1, 2.5, null]}', encoding="utf-8")
    assert load_json(path) == {"é": [1, 2.5, None]}
    path.write_bytes(text)
    with pytest.raises(ValueError, match=rf"a\.json: .*{error}"):
        load_json(path)
    with pytest.raises(FileNotFoundError, match=r"b\.json: there is no such file"):
        load_json(tmp_path / "b.json")


def test_kinds():
    for value, kind in ((1, int), (1, float), (1.5, float), ("", str), ([], list), ({}, dict)):
        assert check_shape(value, kind, "here") == value
    wrong = ((True, int), (1.0, int), ("1", int), (False, float), (1e999, float))
    for value, kind in (*wrong, (10**4000, float)):
        with pytest.raises(ValueError, match=r"here: expected a .* number, got"):
            check_shape(value, kind, "here")


def test_shapes():
    shape = {"x": [int], "y?": {str: (int, str)}}
    for value in ({"x": []}, {"x": [1, 2], "y": {"a": [1, "b"]}, "z": 0}):
        assert check_shape(value, shape) is value
    for value, error in (
        ([], r"\$: expected an object, got \[\]"),
        ({"y": {}}, r"\$: missing fields: x; unknown fields: none"),
        ({"x": "long " * 99}, r"\$\.x: expected a list, got \"long.*\.\.\.\.$"),
        ({"x": [1, None]}, r"\$\.x\[1\]: expected a whole number, got null"),
        ({"x": [], "y": {"a b": [1]}}, r'\$\.y\["a b"\]: expected 2 values, got \[1\]'),
        ({"x": [], "y": {"a": [1, 2]}}, r'\$\.y\["a"\]\[1\]: expected a text, got 2'),
    ):
        with pytest.raises(ValueError, match=error):
            check_shape(value, shape)
    with pytest.raises(ValueError, match=r"here\[0\]: missing fields: none; unknown fields: z"):
        check_shape([{"x": [], "z": 0}], [shape], "here", exact=True)


def test_digests(tmp_path):
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    # What `git hash-object` prints for this content.
    io.git_blob("ce013625030ba8dba906f756967f9e9ca394464a").check(path, "")
    right = hashlib.sha256(b"hello\n").hexdigest()
    io.sha256(right).check(path, "")
    expected = f"^{path}: not the expected file. Expected sha256 00ff, got {right} .6 bytes"
    with pytest.raises(DigestError, match=rf"{expected}.*Do this\.$"):
        io.sha256("00ff").check(path, "Do this.")


def test_escaping():
    for text in ("C:\\x1b", "Straße", "слой/вес", "卷积.权重", "तल", "e\u0301", "½ ≤ ∞", "🙂"):
        assert escape(text) == text
    assert escape("\x1b[2J\x9b2J a\rb\nc") == "\\x1b[2J\\x9b2J a\\rb\\nc"
    assert escape("x\u202egnp.exe \udcff") == "x\\u202egnp.exe \\udcff"  # turned; not UTF-8
    shown = (escape(chr(number)) for number in range(sys.maxunicode + 1))
    assert all(text.isprintable() for text in shown)
    assert io.listing("edcba", 3) == "a, b, c and 2 more"


def test_writing_is_all_or_nothing(tmp_path):
    path = tmp_path / "new" / ("ü" * 125 + ".json")  # 255 bytes, the longest name
    io.write_text(path, "text")
    with pytest.raises(KeyError), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert ([*path.parent.iterdir()], path.read_text()) == ([path], "text")
    with pytest.raises(KeyError), io.scratch_folder(path) as folder:
        (folder / "half").touch()
        assert folder.parent == path.parent
        raise KeyError
    assert [*path.parent.iterdir()] == [path]


def test_targets(tmp_path):
    (tmp_path / "a").touch()
    check_target(tmp_path / "new/b", False)
    check_target(tmp_path / "a", True)
    errors = {"a": FileExistsError, "": IsADirectoryError, "a/b": PermissionError}
    for name, error in errors.items():
        with pytest.raises(error, match=str(tmp_path)):
            check_target(tmp_path / name, False)


def test_json_has_no_nan_and_keeps_names():
    assert json.loads(to_json({"class": "jeté"})) == {"class": "jeté"}
    with pytest.raises(ValueError, match="JSON"):
        to_json({"norm": float("nan")})
