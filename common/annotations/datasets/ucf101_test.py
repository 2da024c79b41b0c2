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


def test_each_fold_has_lists_of_its_own(tmp_path):
    _write(tmp_path)
    _write(tmp_path, train=TRAIN.splitlines()[1], test=TEST.splitlines()[0], fold="3")
    assert DATASET.records(tmp_path, "3") == [RECORDS[1], RECORDS[3]]
    with pytest.raises(FileNotFoundError, match=r"Looked for trainlist02\.txt. Found: classInd"):
        DATASET.records(tmp_path, "2")


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


def test_a_clip_in_both_lists(tmp_path):
    _write(tmp_path, test="HammerThrow/v_HammerThrow_g08_c01.avi")
    with pytest.raises(ValueError, match=r"testlist01.txt, line 1: .* \(trainlist01.txt, line 2\)"):
        DATASET.records(tmp_path, "1")


def test_another_order_of_classes_is_refused(tmp_path):
    names = label_maps.load(label_maps.UCF101)
    _write(tmp_path, names=sorted(names))
    with pytest.raises(ValueError, match=r"classInd\.txt, line 35: .*35 Hammering.*HammerThrow"):
        DATASET.records(tmp_path, "1")
    _write(tmp_path, names=names[:-1])
    with pytest.raises(ValueError, match=r"classInd\.txt: expected 101 classes. Received: 100"):
        DATASET.classes(tmp_path, "1")
    _write(tmp_path, names=[*names, "More"])
    with pytest.raises(ValueError, match=r"line 102: expected 'no more classes'"):
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
