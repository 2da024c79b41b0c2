import pytest

from common.annotations import Record, annotation_files, datasets
from common.prepare import annotating

DATASET = datasets.load("own")

CLASSES = "1 jump\n2 Pick up\n3 wave\n"
TRAIN = "wave/b 1.MP4 3\njump/a.1.avi 1\nPick up/c.webm 2\n"
TEST = "jump/d.avi\nPick up/e f.avi 2\n"

RECORDS = [
    Record("wave/b 1", "wave/b 1.MP4", "training", (2,)),
    Record("jump/a.1", "jump/a.1.avi", "training", (0,)),
    Record("Pick up/c", "Pick up/c.webm", "training", (1,)),
    Record("jump/d", "jump/d.avi", "validation", (0,)),
    Record("Pick up/e f", "Pick up/e f.avi", "validation", (1,)),
]


def _write(folder, classes=CLASSES, train=TRAIN, test=TEST, fold="1"):
    for name, text in (
        ("classInd.txt", classes),
        (f"trainlist0{fold}.txt", train),
        (f"testlist0{fold}.txt", test),
    ):
        (folder / name).write_text(text)
    return folder


def test_any_classes_any_names_any_suffix(tmp_path):
    _write(tmp_path)
    assert DATASET.classes(tmp_path, "1") == ("jump", "Pick up", "wave")
    assert DATASET.records(tmp_path, "1") == RECORDS


def test_blanks_and_endings_are_those_of_editors(tmp_path):
    _write(tmp_path)
    for path in tmp_path.iterdir():
        text = path.read_text().replace("1 jump", "1\t jump").replace(".avi 1", ".avi   1")
        path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", " \r\n\r\n").encode())
    assert DATASET.classes(tmp_path, "1") == ("jump", "Pick up", "wave")
    assert DATASET.records(tmp_path, "1") == RECORDS


def test_other_divisions_are_other_lists(tmp_path):
    _write(tmp_path)
    _write(tmp_path, train=TEST.replace("d.avi", "d.avi 1"), test=TRAIN, fold="2")
    subsets = [record.subset for record in DATASET.records(tmp_path, "2")]
    assert subsets == ["training"] * 2 + ["validation"] * 3
    with pytest.raises(FileNotFoundError, match=r"Looked for trainlist03\.txt"):
        DATASET.records(tmp_path, "3")


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
def test_classes_are_counted_from_1_without_a_gap(tmp_path, line, error):
    _write(tmp_path, classes=f"1 jump\n2 Pick up\n{line}\n")
    with pytest.raises(ValueError, match=rf"classInd\.txt, {error}"):
        DATASET.classes(tmp_path, "1")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("wave/g.avi", "expected 'CLASS/NAME.avi LABEL'"),
        ("g.avi 3", "expected 'CLASS/NAME.avi', or that and a label"),
        ("a/wave/g.avi 3", "expected 'CLASS/NAME.avi'"),
        ("wave/g 3", "expected 'CLASS/NAME.avi'"),
        ("Wave/g.avi 3", r"expected one of the 3 classes of classInd\.txt. Received: 'Wave'"),
        ("wave/g.avi 2", "expected label 3, that of wave. Received: '2'"),
        ("wave/b 1.avi 3", r"expected a clip that is not listed before \(trainlist01.txt, line 1"),
    ],
)
def test_a_malformed_line_names_file_and_line(tmp_path, line, error):
    _write(tmp_path, train=f"{TRAIN}{line}\n")
    with pytest.raises(ValueError, match=rf"trainlist01\.txt, line 4: {error}"):
        DATASET.records(tmp_path, "1")


def test_annotations_are_made_of_them(tmp_path):
    _write(tmp_path)
    for record in RECORDS[:3]:
        path = tmp_path / "videos" / record.path
        path.parent.mkdir(parents=True)
        path.touch()
    output = tmp_path / "own.json"
    options = annotating.Options("own", tmp_path, output, videos=tmp_path / "videos")
    assert annotating.run(options).splitlines()[:3] == [
        "Own videos, fold 1: 5 clips of 3 classes",
        "training: 3; validation: 2; testing: 0",
        f"3 of 5 clips have videos in {tmp_path}/videos; missing: Pick up/e f, jump/d",
    ]
    assert list(annotation_files.read(output).records) == RECORDS
