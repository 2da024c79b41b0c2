import pytest

from common.annotations.datasets import readers


def test_lines_are_numbered_as_an_editor_does(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeffone\r\n\r\n two \x0b\u2028three\n\n".encode())
    assert readers.lines(path) == [(1, "one"), (3, "two \x0b\u2028three")]
    path.write_bytes(b"\n\n")
    with pytest.raises(ValueError, match=r"list\.txt is empty"):
        readers.lines(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"list\.txt: expected UTF-8"):
        readers.lines(path)


def test_rows_of_a_csv_file_by_column(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(b'id, text\r\n1,"a, ""b""\r\nc"\r\n\r\n2, d \r\n')
    rows = list(readers.csv_rows(path, ["id", "words"], {"text": "words"}))
    assert rows == [
        (3, {"id": "1", "words": 'a, "b"\nc'}),
        (5, {"id": "2", "words": "d"}),
    ]
    with pytest.raises(ValueError, match=r"line 1: expected a header with id, name, each once"):
        list(readers.csv_rows(path, ["id", "name"], {}))
    path.write_text("id,id\n")
    with pytest.raises(ValueError, match="a header with id, each once"):
        list(readers.csv_rows(path, ["id"], {}))
    path.write_text("")
    with pytest.raises(ValueError, match=r"line 1: expected a header with id"):
        list(readers.csv_rows(path, ["id"], {}))
