import dataclasses

import pytest

from common.annotations import Record, datasets

DATASET = datasets.load("something_v1")

LABELS = """Holding something
Turning something upside down
Pretending to take something out of something, but it's empty
"""
TRAIN = """100218;Turning something upside down
7;Pretending to take something out of something, but it's empty
"""
VALIDATION = "24413;Holding something\n"
TEST = "5\n34899\n"


def _write(folder, **texts):
    texts = {"labels": LABELS, "train": TRAIN, "validation": VALIDATION, "test": TEST, **texts}
    for name, text in texts.items():
        (folder / f"something-something-v1-{name}.csv").write_text(text)
    return folder


@pytest.mark.parametrize(("order", "turning", "pretending"), [("sorted", 2, 1), ("file", 1, 2)])
def test_the_lists_in_both_orders_of_classes(tmp_path, order, turning, pretending):
    assert DATASET.records(_write(tmp_path), order) == [
        Record("100218", "100218", "training", (turning,), fps=12.0),
        Record("7", "7", "training", (pretending,), fps=12.0),
        Record("24413", "24413", "validation", (0,), fps=12.0),
        Record("5", "5", "testing", fps=12.0),
        Record("34899", "34899", "testing", fps=12.0),
    ]
    lines = LABELS.splitlines()
    assert DATASET.classes(tmp_path, order) == tuple(
        [lines[0], lines[2], lines[1]] if order == "sorted" else lines
    )


@pytest.mark.parametrize(
    ("file", "line", "error"),
    [
        ("train", "Holding something", "expected 'ID;LABEL', the id a number"),
        ("train", "12,Holding something", "expected 'ID;LABEL'"),
        ("train", "x1;Holding something", "expected 'ID;LABEL'"),
        ("train", "12;Holding [something]", "expected one of the 3 classes of .*-labels.csv"),
        ("validation", "100218;Holding something", "expected a clip that is not listed before"),
        ("test", "12;Holding something", "expected an id, which is a number"),
        ("labels", "Holding something", "expected another class than line 1"),
    ],
)
def test_a_malformed_line_names_file_and_line(tmp_path, file, line, error):
    text = {"labels": LABELS, "train": TRAIN, "validation": VALIDATION, "test": TEST}[file]
    _write(tmp_path, **{file: f"{text}{line}\n"})
    number = len(text.splitlines()) + 1
    with pytest.raises(ValueError, match=rf"-v1-{file}\.csv, line {number}: {error}"):
        DATASET.records(tmp_path, "sorted")


def test_folders_of_frames_are_found(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "20bn-something-something-v1" / "100218").mkdir(parents=True)
    (tmp_path / "24413").touch()  # no folder
    records = [Record(name, name, "training", fps=12.0) for name in ("100218", "7", "24413")]
    located, missing = datasets.locate(DATASET, records, tmp_path)
    assert located == [
        dataclasses.replace(records[0], path="20bn-something-something-v1/100218"),
        *records[1:],
    ]
    assert missing == ("24413",)
