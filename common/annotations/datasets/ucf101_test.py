import dataclasses

import pytest

from common.annotations import Record, datasets, label_maps

DATASET = datasets.load("ucf101")

TRAIN = """ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1
HammerThrow/v_HammerThrow_g08_c01.avi 36
HandstandPushups/v_HandStandPushups_g08_c01.avi 37
"""
TEST = "YoYo/v_YoYo_g01_c01.avi\nHammering/v_Hammering_g01_c02.avi\n"

RECORDS = [
    Record(name, f"{name}.avi", subset, (label,))
    for name, subset, label in (
        ("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01", "training", 0),
        ("HammerThrow/v_HammerThrow_g08_c01", "training", 35),
        ("HandstandPushups/v_HandStandPushups_g08_c01", "training", 36),
        ("YoYo/v_YoYo_g01_c01", "validation", 100),
        ("Hammering/v_Hammering_g01_c02", "validation", 34),
    )
]


def _write(folder, train=TRAIN, test=TEST, fold="1", ending="\r\n", names=None):
    names = names or label_maps.load(label_maps.UCF101)
    listed = "".join(f"{index} {name}\n" for index, name in enumerate(names, 1))
    for name, text in (
        ("classInd.txt", listed),
        (f"trainlist0{fold}.txt", train),
        (f"testlist0{fold}.txt", test),
    ):
        (folder / name).write_bytes(text.replace("\n", ending).encode())
    return folder


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
def test_the_lists_of_a_fold(tmp_path, ending):
    assert DATASET.records(_write(tmp_path, ending=ending), "1") == RECORDS
    assert DATASET.classes(tmp_path, "1") == label_maps.load(label_maps.UCF101)
    assert [sum(map(slip.met, RECORDS)) for slip in DATASET.slips] == [1]


def test_labels_in_test_lists_are_read_and_checked(tmp_path):
    test = "YoYo/v_YoYo_g01_c01.avi 101\n"
    assert DATASET.records(_write(tmp_path, test=test), "1")[3] == RECORDS[3]
    _write(tmp_path, test="YoYo/v_YoYo_g01_c01.avi 100\n")  # 0-based
    with pytest.raises(ValueError, match=r"testlist01\.txt, line 1: expected label 101, .*'100'"):
        DATASET.records(tmp_path, "1")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("YoYo/v_YoYo_g08_c01.avi", "expected 'CLASS/NAME.avi LABEL'"),
        ("v_YoYo_g08_c01.avi 101", "expected 'CLASS/NAME.avi', or that and a label"),
        ("UCF/YoYo/v_YoYo_g08_c01.avi 101", "expected 'CLASS/NAME.avi'"),
        ("YoYo/v_YoYo_g08_c01 101", "expected 'CLASS/NAME.avi'"),
        ("YoYo/v_YoYo_g08_c01.avi 101 x", "expected 'CLASS/NAME.avi'"),
        ("Yoyo/v_YoYo_g08_c01.avi 101", "expected one of the 101 classes of classInd.txt.*'Yoyo'"),
        (TRAIN.splitlines()[0], r"expected a clip that is not listed before \(trainlist01.txt, l"),
    ],
)
def test_a_malformed_line_names_file_and_line(tmp_path, line, error):
    _write(tmp_path, train=f"{TRAIN}\n{line}\n")
    with pytest.raises(ValueError, match=rf"trainlist01\.txt, line 5: {error}"):
        DATASET.records(tmp_path, "1")


def test_other_classes_are_refused(tmp_path):
    names = label_maps.load(label_maps.UCF101)
    _write(tmp_path, names=sorted(names))
    with pytest.raises(ValueError, match=r"classInd\.txt, line 35: .* Hammering\. .*HammerThrow"):
        DATASET.records(tmp_path, "1")
    for others, count in ((names[:-1], 100), ((*names, "More"), 102)):
        _write(tmp_path, names=others)
        error = rf"classInd\.txt: expected 101 classes. Received: {count}"
        with pytest.raises(ValueError, match=error):
            DATASET.classes(tmp_path, "1")


def test_videos_are_found_under_either_spelling_of_handstand(tmp_path):
    for path in (
        "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
        "HandstandPushups/v_HandstandPushups_g08_c01.mp4",
    ):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    located, missing = datasets.locate(DATASET, RECORDS[:3], tmp_path)
    assert located == [
        dataclasses.replace(RECORDS[0], path="UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi"),
        RECORDS[1],
        dataclasses.replace(RECORDS[2], path="HandstandPushups/v_HandstandPushups_g08_c01.mp4"),
    ]
    assert missing == ("HammerThrow/v_HammerThrow_g08_c01",)


OWN = datasets.load("own")

OWN_CLASSES = "1 jump\n2 Pick up\n3 wave\n"
OWN_TRAIN = "wave/b 1.MP4 3\njump/a.1.avi 1\nPick up/c.webm 2\n"
OWN_TEST = "jump/d.avi\nPick up/e f.avi 2\n"


def _write_own(folder, classes=OWN_CLASSES, train=OWN_TRAIN, test=OWN_TEST, fold="1"):
    (folder / "classInd.txt").write_text(classes)
    (folder / f"trainlist0{fold}.txt").write_text(train)
    (folder / f"testlist0{fold}.txt").write_text(test)


def test_own_videos_have_any_classes_names_and_suffixes(tmp_path):
    expected = [
        Record("wave/b 1", "wave/b 1.MP4", "training", (2,)),
        Record("jump/a.1", "jump/a.1.avi", "training", (0,)),
        Record("Pick up/c", "Pick up/c.webm", "training", (1,)),
        Record("jump/d", "jump/d.avi", "validation", (0,)),
        Record("Pick up/e f", "Pick up/e f.avi", "validation", (1,)),
    ]
    _write_own(tmp_path)
    assert OWN.classes(tmp_path, "1") == ("jump", "Pick up", "wave")
    assert OWN.records(tmp_path, "1") == expected
    for path in tmp_path.iterdir():  # byte order mark, tabs, blank lines, CRLF
        text = path.read_text().replace("1 jump", "1\t jump").replace(".avi 1", ".avi   1")
        path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", " \r\n\r\n").encode())
    assert OWN.classes(tmp_path, "1") == ("jump", "Pick up", "wave")
    assert OWN.records(tmp_path, "1") == expected


def test_each_fold_has_its_own_lists(tmp_path):
    _write_own(tmp_path)
    _write_own(tmp_path, train=OWN_TEST.replace("d.avi", "d.avi 1"), test=OWN_TRAIN, fold="2")
    subsets = [record.subset for record in OWN.records(tmp_path, "2")]
    assert subsets == ["training"] * 2 + ["validation"] * 3
    with pytest.raises(FileNotFoundError, match=r"Looked for trainlist03\.txt. Found: classInd"):
        OWN.records(tmp_path, "3")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("3", r"line 3: expected '3 CLASS', a folder's name. Received: '3'"),
        ("wave", r"line 3: expected '3 CLASS'"),
        ("2 wave", r"line 3: expected '3 CLASS'.*'2 wave'"),
        ("3 a/wave", r"line 3: expected '3 CLASS'"),
        ("3 jump", r"line 3: expected a class that is not listed before. Received: 'jump'"),
    ],
)
def test_own_classes_are_numbered_from_1_without_gaps(tmp_path, line, error):
    _write_own(tmp_path, classes=f"1 jump\n2 Pick up\n{line}\n")
    with pytest.raises(ValueError, match=rf"classInd\.txt, {error}"):
        OWN.classes(tmp_path, "1")
