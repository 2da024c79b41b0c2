import pytest

from common import label_maps


def test_the_two_of_kinetics():
    names = label_maps.load(label_maps.KINETICS_400)
    assert (len(names), names[0], names[-1]) == (400, "abseiling", "zumba")
    names = label_maps.load(label_maps.KINETICS_600)
    assert (len(names), names[0], names[-1]) == (600, "abseiling", "zumba")


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("cat\ndog\n")
    assert label_maps.load(path) == ("cat", "dog")
    path.write_text("cat\n\ndog\n")
    with pytest.raises(ValueError, match=r"names\.txt: line 2 is empty"):
        label_maps.load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="empty file"):
        label_maps.load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="UTF-8"):
        label_maps.load(path)
    with pytest.raises(FileNotFoundError, match=r"label_map\.txt"):
        label_maps.load(tmp_path / "nothing.txt")


def test_by_number_of_classes():
    assert label_maps.for_classes(400) == label_maps.load(label_maps.KINETICS_400)
    assert label_maps.for_classes(600) == label_maps.load(label_maps.KINETICS_600)
    assert label_maps.for_classes(3) == ("class 0", "class 1", "class 2")


def test_a_built_package_carries_them_itself(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / label_maps.KINETICS_400).write_text("x\n" * 400)
    monkeypatch.setattr(label_maps, "_PACKAGE", tmp_path)
    assert label_maps.load(label_maps.KINETICS_400)[0] == "x"
    with pytest.raises(FileNotFoundError, match="project's label map is missing"):
        label_maps.load(label_maps.KINETICS_600)
    (tmp_path / "data" / label_maps.KINETICS_400).write_text("x\n" * 399)
    with pytest.raises(ValueError, match="expected 400 classes, got 399"):
        label_maps.load(label_maps.KINETICS_400)
