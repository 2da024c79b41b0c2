import pytest

from common.annotations import label_maps


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        (label_maps.KINETICS_400, 400, "abseiling", "zumba"),
        (label_maps.KINETICS_600, 600, "abseiling", "zumba"),
        (label_maps.UCF101, 101, "ApplyEyeMakeup", "YoYo"),
        (label_maps.HMDB51, 51, "brush_hair", "wave"),
        (label_maps.VIDOR_ACTIONS, 42, "watch", "play(instrument)"),
        (label_maps.VIDOR_PREDICATES, 50, "watch", "towards"),
        (label_maps.VIDOR_OBJECTS, 80, "adult", "watercraft"),
    ],
)
def test_the_projects_label_maps(name, count, first, last):
    names = label_maps.load(name)
    assert (len(set(names)), names[0], names[-1]) == (count, first, last)


def test_the_users_own_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("cat\ndog\n")
    assert label_maps.load(path) == ("cat", "dog")
    for content, error in (
        (b"cat\n\ndog\n", r"names\.txt: expected one class a line"),
        (b"", "expected one class a line"),
        (b"\xff\xfe", "UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=error):
            label_maps.load(path)
    with pytest.raises(FileNotFoundError, match=r"label_map\.txt"):
        label_maps.load(tmp_path / "nothing.txt")


def test_names_by_number_of_classes():
    assert label_maps.for_classes(400) == label_maps.load(label_maps.KINETICS_400)
    assert label_maps.for_classes(51)[0] == "class 0"  # anybody's 51 classes, not HMDB51's
    assert label_maps.for_classes(3) == ("class 0", "class 1", "class 2")


def test_an_installed_package_has_its_own_files(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / label_maps.KINETICS_400).write_text("x\n" * 400)
    monkeypatch.setattr(label_maps, "_PACKAGE", tmp_path)
    assert label_maps.load(label_maps.KINETICS_400)[0] == "x"
