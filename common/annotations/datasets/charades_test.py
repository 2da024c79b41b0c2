import pytest

from common.annotations import Action, Record, datasets
from common.annotations.datasets import charades

HEADER = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"
TRAIN = (
    '46GP8,HR43,Kitchen,6,7,Yes,"A person, cooking; ""well""",food;stove,"One, two",'
    "c092 11.90 21.20;c147 0.00 12.60,24.83\n"
    "N11GT,0KZ7,Stairs,6,7,No,Running,clothes,Runs,,18.33\n"
)
TEST = "AKKWU,HR43,Kitchen,,7,Yes,A.,food,B.,c076 16.70 11.40;c076 0.00 40.00;c010 6 6,30.00\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Charades_v1_train.csv").write_text(f"{HEADER}\n{TRAIN}")
    (tmp_path / "Charades_v1_test.csv").write_text(f"{HEADER}\n{TEST}")
    names = [f"c{index:03d} Doing {index}/a, b" for index in range(157)]
    (tmp_path / "Charades_v1_classes.txt").write_text("\n".join(names) + "\n")
    return tmp_path


RECORDS = [
    Record(
        "46GP8", "46GP8.mp4", "training", (92, 147), duration=24.83,
        actions=(Action(92, 11.9, 21.2), Action(147, 0.0, 12.6)),
    ),
    Record("N11GT", "N11GT.mp4", "training", duration=18.33),
    Record(
        "AKKWU", "AKKWU.mp4", "testing", (10, 76), duration=30.0,
        actions=(Action(76, 16.7, 11.4), Action(76, 0.0, 30.0), Action(10, 6.0, 6.0)),
    ),
]  # fmt: skip


def test_quoted_fields_videos_without_action_and_late_ends(folder):
    dataset = datasets.load("charades")
    records = dataset.records(folder, "")
    assert records == RECORDS
    met = [sum(map(slip.met, records)) for slip in dataset.slips]
    assert met == [1, 1, 1, 0]
    assert datasets.check_counts(dataset, "", records) == [
        "training: 2 clips; complete copies have 7,985",
        "testing: 1 clips; complete copies have 1,863",
    ]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_an_old_copy_without_length(folder, ending):
    old = HEADER.removesuffix(",length").replace("objects,", "")
    rows = f"{old}\nAKKWU,HR43,Kitchen,,7,Yes,A.,B.,c076 0.00 40.00\n"
    (folder / "Charades_v1_test.csv").write_text(rows.replace("\n", ending), newline="")
    record = charades.records(folder)[2]
    assert record == Record(
        "AKKWU", "AKKWU.mp4", "testing", (76,), actions=(Action(76, 0.0, 40.0),)
    )
    assert datasets.load("charades").slips[3].met(record)


def test_class_names_may_contain_slashes(folder):
    names = datasets.load("charades").classes(folder, "")
    assert (len(names), names[0], names[156]) == (157, "Doing 0/a, b", "Doing 156/a, b")
    assert all("/" not in record.name + record.path for record in charades.records(folder))
    path = folder / "Charades_v1_classes.txt"
    path.write_text("c000 A\nc002 B\n")
    with pytest.raises(ValueError, match=r"classes\.txt, line 2: expected c001 and the name"):
        charades.classes(folder)
    path.write_text("c000 A\n")
    with pytest.raises(ValueError, match=r"classes\.txt: expected 157 classes, got 1"):
        charades.classes(folder)


def test_videos_or_frames(folder, tmp_path):
    videos = tmp_path / "videos"
    (videos / "N11GT").mkdir(parents=True)
    (videos / "46GP8.mp4").touch()
    dataset = datasets.load("charades")
    records, missing = datasets.locate(dataset, charades.records(folder), videos)
    assert [record.path for record in records] == ["46GP8.mp4", "N11GT", "AKKWU.mp4"]
    assert missing == ("AKKWU",)
    (tmp_path / "Charades_v1_rgb" / "AKKWU").mkdir(parents=True)
    records, _ = datasets.locate(dataset, charades.records(folder), tmp_path)
    assert (records[2].path, records[2].fps) == ("Charades_v1_rgb/AKKWU", 24.0)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("c092 11.90", "c157 11.90", "line 2: expected actions such as .*c157 11.90 21.20"),
        ("c092 11.90", "92 11.90", "line 2: expected actions such as"),
        ("11.90 21.20", "11.90", "line 2: expected actions such as"),
        ("21.20", "nan", "line 2: expected actions such as"),
        ("18.33", "", "line 3: expected a length above 0 seconds. Received: ''"),
        ("18.33", "0.00", "line 3: expected a length above 0 seconds"),
        ("N11GT", "../GT", "line 3: expected an id of five capital letters and digits"),
        ("N11GT", "46GP8", "line 3: expected a clip that is not listed before"),
        ("N11GT", "AKKWU", r"test\.csv, line 2: expected a clip that is not listed before"),
        ("actions,", "action,", "line 1: expected a header with id, actions"),
    ],
)
def test_a_malformed_row_names_file_and_line(folder, old, new, error):
    path = folder / "Charades_v1_train.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=rf"Charades_v1_.*{error}"):
        charades.records(folder)
