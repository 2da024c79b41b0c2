"""Strict JSON, digests, escaping and scratch folders."""

import hashlib
import json
import subprocess
import sys

import pytest

from common.io import (
    DigestError,
    check_json,
    check_shape,
    escape,
    git_blob,
    load_json,
    scratch_folder,
    sha256,
    to_json,
    write_text,
)


def test_reads(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('\ufeff{"é": [1, 2.5, null]}', encoding="utf-8")
    assert load_json(path) == {"é": [1, 2.5, None]}


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
        load_json(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.json: there is no such file"):
        load_json(tmp_path / "a.json")


def test_kinds():
    for value, kind in ((1, int), (1, float), (1.5, float), ("", str), ([], list), ({}, dict)):
        assert check_json(value, kind, "here") == value
    wrong = ((True, int), (1.0, int), ("1", int), (False, float), (1e999, float))
    for value, kind in (*wrong, (10**4000, float)):
        with pytest.raises(ValueError, match=r"here: expected a .* number, got"):
            check_json(value, kind, "here")


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


def test_both_kinds(tmp_path):
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    # What `git hash-object` prints for this content.
    git_blob("ce013625030ba8dba906f756967f9e9ca394464a").check(path, "")
    sha256(hashlib.sha256(b"hello\n").hexdigest()).check(path, "")


def test_as_git_has_it(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(bytes(range(256)) * 10_000)
    try:
        done = subprocess.run(["git", "hash-object", path], capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    assert git_blob("").of(path) == done.stdout.decode().strip()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"abc", "Likely causes"),
        (b"", "Likely causes"),
        (b"\n<!DOCTYPE html><html>", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
)
def test_a_mismatch_says_everything(tmp_path, content, cause):
    path = tmp_path / "weights"
    path.write_bytes(content)
    with pytest.raises(DigestError) as caught:
        sha256("00ff").check(path, "Do this.")
    text = str(caught.value)
    assert text.startswith(f"{path}: not the expected file. Expected sha256 00ff, got ")
    assert hashlib.sha256(content).hexdigest() in text
    assert f"({len(content)} bytes)" in text
    assert cause in text
    assert text.endswith("Do this.")
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "conv3d_1a_7x7/w",
            "a b",
            'it\'s "here"',
            "C:\\x1b",
            "Straße",
            "слой/вес",
            "卷积.权重",
        ),
        *("तल", "e\u0301", "½ ≤ ∞", "🙂"),
    ],
)
def test_text_of_people_stays(text):
    assert escape(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),  # the same order in one character
        ("a\rb\nc\td\0", "a\\rb\\nc\\td\\x00"),
        ("\x7f\b", "\\x7f\\x08"),
        ("x\u202egnp.exe", "x\\u202egnp.exe"),  # shown from right to left
        ("a\u200bb\ufeff\u2028", "a\\u200bb\\ufeff\\u2028"),
        ("\udcff", "\\udcff"),  # a byte of a file name that is not UTF-8
        ("\U000e0041é", "\\U000e0041é"),
    ],
)
def test_the_rest_is_escaped(text, shown):
    assert escape(text) == shown


def test_every_character():
    for number in range(sys.maxunicode + 1):
        shown = escape(chr(number))
        assert shown.isprintable() and (shown == chr(number) or shown.startswith("\\"))


def test_many_keys_are_checked_in_linear_time(tmp_path):
    """200,000 keys, the last twice: a count for each key would take hours."""
    keys = [f'"{k}": 0' for k in range(200_000)]
    path = tmp_path / "many.json"
    path.write_text("{" + ", ".join([*keys, '"199999": 1']) + "}")
    with pytest.raises(ValueError, match='the key "199999" stands twice'):
        load_json(path)


_SLOW = """
import sys, time
from common.io import scratch_folder
with scratch_folder(sys.argv[1]) as folder:
    (folder / "half").write_text("written")
    print(folder.name, flush=True)
    time.sleep(60)
"""


def test_a_scratch_folder_is_removed_even_after_a_kill(tmp_path):
    target = tmp_path / "a.pt"
    command = [sys.executable, "-c", _SLOW, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        left = process.stdout.readline().strip()
        with scratch_folder(target):
            assert (tmp_path / left / "half").is_file()  # of a process that lives
        process.kill()
    with scratch_folder(tmp_path / "b.pt"):
        assert (tmp_path / left).is_dir()  # of another target
    with scratch_folder(target) as folder:
        assert [path.name for path in tmp_path.iterdir()] == [folder.name]
        (folder / "x").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_only_scratch_folders_are_removed_and_never_through_a_link(tmp_path):
    other = tmp_path / "thesis"
    other.mkdir()
    (other / ".lock").touch()
    (other / "chapter").write_text("mine")
    kept = [".a.pt.notes.partial", ".a.pt.0123abcd", ".a.pt.0123abcd.partial.old"]
    for name in kept:
        (tmp_path / name).mkdir()
        (tmp_path / name / ".lock").touch()
    (tmp_path / ".a.pt.00000000.partial").symlink_to(other)
    (tmp_path / ".a.pt.11111111.partial").mkdir()
    (tmp_path / ".a.pt.11111111.partial/.lock").symlink_to(other / "chapter")
    before = sorted(tmp_path.iterdir())
    with scratch_folder(tmp_path / "a.pt"):
        pass
    assert sorted(tmp_path.iterdir()) == before
    assert (other / "chapter").read_text() == "mine"


def test_the_longest_name_is_written(tmp_path):
    path = tmp_path / ("ü" * 125 + ".json")  # 255 bytes
    write_text(path, "text")
    assert [path.read_text(), len(list(tmp_path.iterdir()))] == ["text", 1]


def test_json_has_no_nan_and_keeps_names():
    assert json.loads(to_json({"class": "jeté"})) == {"class": "jeté"}
    with pytest.raises(ValueError, match="JSON"):
        to_json({"norm": float("nan")})
