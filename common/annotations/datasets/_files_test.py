import os

import pytest

from common.annotations.datasets import _files


def test_lines_are_numbered_as_an_editor_does(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeffone\r\n\r\n two \x0b\u2028three\n\n".encode())
    assert _files.lines(path) == [(1, "one"), (3, "two \x0b\u2028three")]
    path.write_bytes(b"\n\n")
    with pytest.raises(ValueError, match=r"list\.txt is empty"):
        _files.lines(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"list\.txt: expected UTF-8"):
        _files.lines(path)


def test_rows_of_a_csv_file_by_column(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(b'id, text\r\n1,"a, ""b""\r\nc"\r\n\r\n2, d \r\n')
    rows = list(_files.csv_rows(path, ["id", "words"], {"text": "words"}))
    assert rows == [
        (3, {"id": "1", "words": 'a, "b"\nc'}),
        (5, {"id": "2", "words": "d"}),
    ]
    with pytest.raises(ValueError, match=r"line 1: expected a header with id, name, each once"):
        list(_files.csv_rows(path, ["id", "name"], {}))
    path.write_text("id,id\n")
    with pytest.raises(ValueError, match="a header with id, each once"):
        list(_files.csv_rows(path, ["id"], {}))
    path.write_text("")
    with pytest.raises(ValueError, match=r"line 1: expected a header with id"):
        list(_files.csv_rows(path, ["id"], {}))


def test_a_folder_of_frames_is_asked_for_without_a_suffix(tmp_path):
    (tmp_path / "a.b").mkdir()
    (tmp_path / "c.mp4").mkdir()
    folder = _files.VideoFolder(tmp_path)
    assert folder.find("a.b") == "a.b"
    assert folder.find("x") is None
    assert folder.find("c.mp4") is None  # a folder is no video


def test_videos_are_found_as_the_commands_find_them(tmp_path):
    for name in ("a/1.ts", "a/2.3GP", ".trash/3.mp4", "._4.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.symlink("self", tmp_path / "self")
    os.symlink("5.mp4", tmp_path / "5.mp4")
    folder = _files.VideoFolder(tmp_path)
    found = [folder.find(name) for name in ("a/1.mp4", "a/2.avi", ".trash/3.mp4", "._4.mp4")]
    assert found == ["a/1.ts", "a/2.3GP", None, None]
