import pytest

from common.annotations import label_maps


def test_the_two_of_kinetics():
    names = label_maps.load(label_maps.KINETICS_400)
    assert (len(names), names[0], names[-1]) == (400, "abseiling", "zumba")
    names = label_maps.load(label_maps.KINETICS_600)
    assert (len(names), names[0], names[-1]) == (600, "abseiling", "zumba")


def test_that_of_ucf101_is_sorted_without_regard_to_case():
    names = label_maps.load(label_maps.UCF101)
    assert (len(set(names)), names[0], names[-1]) == (101, "ApplyEyeMakeup", "YoYo")
    assert list(names) == sorted(names, key=str.lower)
    others = [index for index, name in enumerate(sorted(names)) if name != names[index]]
    assert others == [34, 35, 46, 47]
    assert names[34:36] == ("Hammering", "HammerThrow")
    assert names[46:48] == ("JumpingJack", "JumpRope")
    assert {"HandstandPushups", "Skijet", "SkyDiving", "SkateBoarding", "Haircut"} <= set(names)


def test_that_of_hmdb51_is_sorted():
    names = label_maps.load(label_maps.HMDB51)
    assert (len(set(names)), list(names)) == (51, sorted(names))
    assert (names[20:22], names[44:46]) == (("kick", "kick_ball"), ("sword", "sword_exercise"))


def test_those_of_vidor():
    counts = [
        len(label_maps.load(name))
        for name in (
            label_maps.VIDOR_ACTIONS,
            label_maps.VIDOR_PREDICATES,
            label_maps.VIDOR_OBJECTS,
        )
    ]
    assert counts == [42, 50, 80]


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
    assert label_maps.for_classes(51)[0] == "class 0"  # anybody's 51 classes, not HMDB51's
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
