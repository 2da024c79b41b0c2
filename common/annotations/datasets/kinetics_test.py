import dataclasses

import pytest

from common.annotations import Record, datasets, label_maps

DATASET = datasets.load("kinetics")

CRAWLER_TRAIN = """label,youtube_id,time_start,time_end,split,is_cc
"air drumming",--nQbRBEz2s,104,114,train,0
zumba,a_b_c-d_e-f,23770,23780,train,1
"air drumming",0wR5jVB-WPk,417,427,train,0
"""
CRAWLER_VAL = "label,youtube_id,time_start,time_end,split\nabseiling,yq_M1PMw2hY,38,48,val\n"
CRAWLER_TEST = "youtube_id,time_start,time_end,split\n--6bJUbfpnQ,17,27,test\n"


def _record(label, clip, subset, labels):
    name = f"{label}/{clip}"
    return Record(name, f"{name}.mp4", subset, labels, duration=10.0)


TRAIN = [
    _record("air drumming", "--nQbRBEz2s_000104_000114", "training", (1,)),
    _record("zumba", "a_b_c-d_e-f_023770_023780", "training", (399,)),
    _record("air drumming", "0wR5jVB-WPk_000417_000427", "training", (1,)),
]
VAL = _record("abseiling", "yq_M1PMw2hY_000038_000048", "validation", (0,))
TEST = _record("test", "--6bJUbfpnQ_000017_000027", "testing", ())


def _folder(path, **files):
    for name, text in files.items():
        (path / f"{name.replace('__', '-')}.csv").write_bytes(text.encode())
    return path


def test_the_lists_of_the_crawler(tmp_path):
    _folder(
        tmp_path,
        kinetics__400_val=CRAWLER_VAL,
        kinetics__400_test=CRAWLER_TEST,
        kinetics__400_train=CRAWLER_TRAIN,
    )
    assert DATASET.records(tmp_path, "400") == [*TRAIN, VAL, TEST]
    assert DATASET.classes(tmp_path, "400") == label_maps.load(label_maps.KINETICS_400)
    met = [sum(map(slip.met, DATASET.records(tmp_path, "400"))) for slip in DATASET.slips]
    assert met == [2, 0]


def test_those_of_kinetics_600_have_no_quotes_and_one_small_american(tmp_path):
    rows = (
        "passing american football (not in game),AAAAAAAAAAA,0,10,val\n"
        "passing American football (in game),BBBBBBBBBBB,0,10,val\n"
        "passing American football (in game),BBBBBBBBBBB,30,40,val\n"  # one video twice
    )
    _folder(tmp_path, kinetics__600_val=CRAWLER_VAL + rows)
    records = DATASET.records(tmp_path, "600")
    names = label_maps.load(label_maps.KINETICS_600)
    assert [names[record.labels[0]] for record in records] == [
        "abseiling",
        "passing american football (not in game)",
        "passing American football (in game)",
        "passing American football (in game)",
    ]
    assert [record.id for record in records[2:]] == [
        "BBBBBBBBBBB_000000_000010",
        "BBBBBBBBBBB_000030_000040",
    ]
    assert [sum(map(slip.met, records)) for slip in DATASET.slips] == [0, 1]


def test_a_test_list_with_labels_as_of_cvdf(tmp_path):
    text = "label,youtube_id,time_start,time_end,split\r\nzumba,--6bJUbfpnQ,17,27,test\r\n"
    _folder(tmp_path, test=text)
    (record,) = DATASET.records(tmp_path, "400")
    name = "zumba/--6bJUbfpnQ_000017_000027"
    assert record == Record(name, f"{name}.mp4", "testing", (399,), duration=10.0)


def test_the_lists_of_deepmind_say_validate(tmp_path):
    text = CRAWLER_VAL.replace(",val\n", ",validate\n")
    assert DATASET.records(_folder(tmp_path, validate=text), "400") == [VAL]


def test_former_columns_in_any_order_a_byte_order_mark_and_decimals(tmp_path):
    text = "\ufeffstart-time,end-time,video-id,label-name\n38.0,48.5,yq_M1PMw2hY,abseiling\n\n"
    assert DATASET.records(_folder(tmp_path, val=text), "400") == [VAL]


def test_kinetics_700_sorts_the_labels_of_its_lists(tmp_path):
    names = [f"doing {index}" for index in range(700)]
    rows = "".join(f"{name},AAAAAAAA{index:03d},0,10\n" for index, name in enumerate(names))
    _folder(tmp_path, train="label,youtube_id,time_start,time_end\n" + rows)
    for version in ("700", "700_2020"):
        assert DATASET.classes(tmp_path, version) == tuple(sorted(names))
    labels = [record.labels for record in DATASET.records(tmp_path, "700")]
    assert labels[:3] == [(0,), (1,), (112,)]
    assert labels[10] == (2,)  # "doing 10" comes before "doing 2"


def test_other_labels_than_those_of_the_version(tmp_path):
    _folder(tmp_path, val=CRAWLER_VAL + "air guitaring,AAAAAAAAAAA,0,10,val\n")
    with pytest.raises(
        ValueError,
        match=r"not those of Kinetics-400. Only in the annotations: air guitaring. "
        r"Only in label_map.txt: air drumming, .* and 389 more",
    ):
        DATASET.records(tmp_path, "400")
    with pytest.raises(ValueError, match=r"expected the 700 labels of Kinetics-700.*Received: 2"):
        DATASET.records(tmp_path, "700")


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("abseiling,short,0,10,val", "expected a YouTube id of 11 characters. Received: 'short'"),
        ("abseiling,yq_M1PMw2hY,x,48,val", "expected seconds from 0 to 999999. Received: 'x'"),
        ("abseiling,yq_M1PMw2hY,38,nan,val", "expected seconds .* 'nan'"),
        ("abseiling,yq_M1PMw2hY,-1,9,val", "expected seconds .* '-1'"),
        ("abseiling,yq_M1PMw2hY,48,38,val", "expected an end after the start. Received: '48, 38'"),
        ("abseiling,yq_M1PMw2hY,38,48", "expected 5 values as in the header"),
        (",yq_M1PMw2hY,38,48,val", "expected the name of a class. Received: ''"),
        ("../x,yq_M1PMw2hY,38,48,val", "expected the name of a class"),
        ("abseiling,yq_M1PMw2hY,38,48,train", "expected a row of the validation subset.*'train'"),
        ('"abseiling,yq_M1PMw2hY,38,48,val', "expected comma-separated values"),
    ],
)
def test_a_malformed_row_names_file_and_line(tmp_path, row, error):
    header, first = CRAWLER_VAL.splitlines()
    _folder(tmp_path, val=f"{header}\n{first.replace('yq', 'xx')}\n{row}\n")
    with pytest.raises(ValueError, match=rf"val\.csv, line 3: {error}"):
        DATASET.records(tmp_path, "400")


def test_lists_that_do_not_fit(tmp_path):
    row = CRAWLER_VAL.splitlines()[1]
    for text, error in (
        (f"{CRAWLER_VAL}{row}\n", r"line 3: .* before \(val\.csv, line 2\)"),
        (row, "line 1: expected a header with label, youtube_id"),
        (CRAWLER_TEST, "line 1: expected a header with label"),  # only tests may lack it
    ):
        with pytest.raises(ValueError, match=rf"val\.csv, {error}"):
            DATASET.records(_folder(tmp_path, val=text), "400")
    _folder(tmp_path, val=CRAWLER_VAL, kinetics__400_val=CRAWLER_VAL)
    with pytest.raises(ValueError, match=r"has kinetics-400_val\.csv, val\.csv, which are copies"):
        DATASET.records(tmp_path, "400")


CLIP = _record("dancing gangnam style (it's)", "a_b_c-d_e-f_000007_000017", "validation", (5,))


@pytest.mark.parametrize(
    ("path", "span"),
    [
        ("dancing gangnam style (it's)/a_b_c-d_e-f_000007_000017.mp4", ()),  # crawler
        ("dancing_gangnam_style_(it's)/a_b_c-d_e-f_000007_000017.mp4", ()),  # mmaction2
        ("dancing_gangnam_style_its/a_b_c-d_e-f_000007_000017.webm", ()),  # torchvision
        ("val/dancing_gangnam_style_its/a_b_c-d_e-f_000007_000017.mp4", ()),
        ("val/a_b_c-d_e-f_000007_000017.mp4", ()),  # CVDF
        ("validate/a_b_c-d_e-f_000007_000017.mkv", ()),
        ("a_b_c-d_e-f_000007_000017.mp4", ()),
        ("a_b_c-d_e-f.mp4", (7.0, 17.0)),  # whole videos
        ("val/a_b_c-d_e-f.webm", (7.0, 17.0)),
    ],
)
def test_clips_are_found_in_every_usual_folder(tmp_path, path, span):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()
    change = dict(zip(("start", "end"), span, strict=False))
    expected = [dataclasses.replace(CLIP, path=path, **change)]
    assert datasets.locate(DATASET, [CLIP], tmp_path) == (expected, ())


def test_the_first_of_several_is_taken_a_replacement_before_all(tmp_path):
    replacement = f"replacement/replacement_for_corrupted_k400/{CLIP.id}.mp4"
    order = [replacement, CLIP.path, f"val/{CLIP.id}.mp4", "val/a_b_c-d_e-f.mp4"]
    for path in reversed(order):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
        located, _ = datasets.locate(DATASET, [CLIP], tmp_path)
        assert located[0].path == path


def test_unlabelled_clips_lie_in_test(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / TEST.path).touch()
    assert datasets.locate(DATASET, [TEST, VAL], tmp_path) == ([TEST, VAL], (VAL.name,))
