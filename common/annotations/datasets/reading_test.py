"""Every data set: its own files give exact records, and malformed ones an error with the place."""

import json

import pytest

from common.annotations import Action, Record, datasets, label_maps
from common.annotations.datasets import dataset, vidor

UCF, HMDB = label_maps.load(label_maps.UCF101), label_maps.load(label_maps.HMDB51)


def _clips(suffix, *rows, **fields):
    """Makes records from (subset, name, labels...)."""
    return [
        Record(name, name + suffix, subset, tuple(labels), **fields)
        for subset, name, *labels in rows
    ]


def _numbered(names):
    return "".join(f"{index} {name}\n" for index, name in enumerate(names, 1))


# Crawler: labels of several words in quotes; ids may start with - and contain _.
KINETICS = {
    "kinetics-400_train.csv": """label,youtube_id,time_start,time_end,split,is_cc
"air drumming",--nQbRBEz2s,104,114,train,0
zumba,a_b_c-d_e-f,23770,23780,train,1
""",
    "kinetics-400_val.csv": """label,youtube_id,time_start,time_end,split
abseiling,yq_M1PMw2hY,38,48,val
""",
    "kinetics-400_test.csv": "youtube_id,time_start,time_end,split\n--6bJUbfpnQ,17,27,test\n",
}
ABSEILING = ("validation", "abseiling/yq_M1PMw2hY_000038_000048", 0)
DOING = [f"doing {index}" for index in range(700)]

UCF101 = {
    "classInd.txt": _numbered(UCF),
    "trainlist01.txt": """ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1
HammerThrow/v_HammerThrow_g08_c01.avi 36
HandstandPushups/v_HandStandPushups_g08_c01.avi 37
""",
    # Some copies have labels here.
    "testlist01.txt": "Hammering/v_Hammering_g01_c02.avi\nYoYo/v_YoYo_g01_c01.avi 101\n",
}
UCF101_RECORDS = _clips(
    ".avi",
    ("training", "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01", 0),
    ("training", "HammerThrow/v_HammerThrow_g08_c01", 35),
    ("training", "HandstandPushups/v_HandStandPushups_g08_c01", 36),
    ("validation", "Hammering/v_Hammering_g01_c02", 34),
    ("validation", "YoYo/v_YoYo_g01_c01", 100),
)

OWN = {
    "classInd.txt": "1 jump\n2\t Pick up\n3 wave\n",
    "trainlist02.txt": "wave/b 1.MP4 3\n\njump/a.1.avi   1\n",
    "testlist02.txt": "Pick up/d.webm\nPick up/e f.webm 2\n",
}

BRUSH, WHEEL = (
    "Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!_brush_hair_h_cm_np1_fr_goo_0",
    "Geena_und_die_Radschl_ge___;-)_cartwheel_f_cm_np1_fr_med_2",
)
# Lines end in blanks.
HMDB51 = {
    **{f"{name}_test_split1.txt": f"unused_{name}.avi 0 \n" for name in HMDB},
    "brush_hair_test_split1.txt": f"April_09_u_nm.avi 1 \n{BRUSH}.avi 2 \nx.avi 0 \n",
    "cartwheel_test_split1.txt": f"{WHEEL}.avi 2 \n",
    "kick_ball_test_split1.txt": "Goal_1_&_2_kick_ball_f_cm_np1_fr_goo_2.avi 1 \n",
    "._brush_hair_test_split1.txt": "ignored",
    "class_test_split1.txt": "ignored.avi 1\n",
}

SOMETHING = {
    f"something-something-v1-{name}.csv": text
    for name, text in {
        "labels": "Holding something\nTurning something\nPretending, but it's empty\n",
        "train": "100218;Turning something\n7;Pretending, but it's empty\n",
        "validation": "24413;Holding something\n",
        "test": "5\n34899\n",
    }.items()
}


def _something(turning, pretending):
    rows = (
        ("training", "100218", turning),
        ("training", "7", pretending),
        ("validation", "24413", 0),
        ("testing", "5"),
        ("testing", "34899"),
    )
    return _clips("", *rows, fps=12.0)


_HEADER = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"
CHARADES = {
    "Charades_v1_classes.txt": "".join(f"c{k:03d} Doing {k}/a, b\n" for k in range(157)),
    "Charades_v1_train.csv": (
        f"{_HEADER}\n"
        '46GP8,HR43,Kitchen,6,7,Yes,"A person, cooking; ""well""",food;stove,"One, two",'
        "c092 11.90 21.20;c147 0.00 12.60,24.83\n"
        "N11GT,0KZ7,Stairs,6,7,No,Running,clothes,Runs,,18.33\n"
    ),
    "Charades_v1_test.csv": (
        f"{_HEADER}\n"
        "AKKWU,HR43,Kitchen,,7,Yes,A.,food,B.,c076 16.70 11.40;c076 0.00 40.00;c010 6 6,30.00\n"
    ),
}
# The last two spans: cut at the length of the video, and empty.
CHARADES_RECORDS = [
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


def _video(name, frames, *relations, trajectories=()):
    keys = ("subject_tid", "predicate", "object_tid", "begin_fid", "end_fid")
    return {
        "version": "VERSION 1.0",
        "video_path": f"{name}.mp4",
        "frame_count": frames,
        "fps": 29.97,
        "subject/objects": [{"tid": 0}, {"tid": 3}, {"tid": 7}],
        "trajectories": list(trajectories),
        "relation_instances": [dict(zip(keys, row, strict=True)) for row in relations],
    }


def _box(tid, *corners):
    return {
        "tid": tid,
        "bbox": dict(zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=False)),
        "generated": 0,
    }


PLAYING = "training/0000/2401075277.json"
VIDOR = {
    PLAYING: json.dumps(
        _video(
            "0000/2401075277", 6, (0, "throw", 3, 0, 2), (0, "watch", 3, 1, 6),
            (0, "watch", 7, 1, 6), (7, "chase", 3, 2, 5), (7, "in_front_of", 0, 0, 6),
            trajectories=[[_box(0, 10, 0, 19, 479), _box(3, 620, 5, 639, 14)], [],
                          [_box(0, 13, 0, 22, 479), _box(7, 4, 4, 4, 4)]],
        )
    ),
    "training/0001/1.json": json.dumps(_video("0001/1", 2, (0, "next_to", 7, 0, 2))),
    "validation/0000/9.json": json.dumps(_video("0000/9", 3, (0, "play(instrument)", 3, 1, 9))),
}  # fmt: skip


def _of_vidor(subset, name, frames, *actions):
    return Record(
        name, f"{name}.mp4", subset, tuple(sorted({action.label for action in actions})),
        actions=actions, unit="frames", duration=frames / 29.97, fps=29.97, frames=frames,
        boxes=f"{subset}/{name}.json",
    )  # fmt: skip


PLAYED = (Action(16, 0, 2, 0), Action(0, 1, 6, 0), Action(0, 1, 6, 0), Action(26, 2, 5, 7))
MUSIC = _of_vidor("validation", "0000/9", 3, Action(41, 1, 9, 0))

# Data set and variant, its files, and the records.
EXAMPLES = {
    "kinetics, crawler": ("kinetics", "400", KINETICS, [
        *_clips(
            ".mp4",
            ("training", "air drumming/--nQbRBEz2s_000104_000114", 1),
            ("training", "zumba/a_b_c-d_e-f_023770_023780", 399),
            ABSEILING,
            ("testing", "test/--6bJUbfpnQ_000017_000027"),
            duration=10.0,
        )
    ]),
    "kinetics, former columns": ("kinetics", "400", {
        "val.csv":
            "\ufeffstart-time,end-time,video-id,label-name\r\n38.0,48.5,yq_M1PMw2hY,abseiling"
    }, _clips(".mp4", ABSEILING, duration=10.0)),
    # Numbered by the sorted names, in which "doing 10" comes before "doing 2".
    "kinetics, 700": ("kinetics", "700_2020", {
        "train.csv": "label,youtube_id,time_start,time_end\n"
        + "".join(f"{name},AAAAAAAAAAA,{i},{i + 10}\n" for i, name in enumerate(DOING))
    }, _clips(".mp4", *(
        ("training", f"{name}/AAAAAAAAAAA_{i:06d}_{i + 10:06d}", sorted(DOING).index(name))
        for i, name in enumerate(DOING)
    ), duration=10.0)),
    "ucf101": ("ucf101", "1", UCF101, UCF101_RECORDS),
    "own": ("own", "2", OWN, [
        Record("wave/b 1", "wave/b 1.MP4", "training", (2,)),
        Record("jump/a.1", "jump/a.1.avi", "training", (0,)),
        Record("Pick up/d", "Pick up/d.webm", "validation", (1,)),
        Record("Pick up/e f", "Pick up/e f.webm", "validation", (1,)),
    ]),
    "hmdb51": ("hmdb51", "1", HMDB51, _clips(
        ".avi",
        ("training", "brush_hair/April_09_u_nm", 0),
        ("validation", f"brush_hair/{BRUSH}", 0),
        ("validation", f"cartwheel/{WHEEL}", 1),
        ("training", "kick_ball/Goal_1_&_2_kick_ball_f_cm_np1_fr_goo_2", 21),
    )),
    "something_v1, sorted": ("something_v1", "sorted", SOMETHING, _something(2, 1)),
    "something_v1, file": ("something_v1", "file", SOMETHING, _something(1, 2)),
    "charades": ("charades", "", CHARADES, CHARADES_RECORDS),
    "charades, without length": ("charades", "", {
        "Charades_v1_classes.txt": CHARADES["Charades_v1_classes.txt"],
        "Charades_v1_test.csv": "id,script,actions\r\nAKKWU,A.,c076 0.00 40.00\r\n",
    }, [
        Record("AKKWU", "AKKWU.mp4", "testing", (76,), actions=(Action(76, 0.0, 40.0),))
    ]),
    "vidor, actions": ("vidor", "actions", VIDOR, [
        _of_vidor("training", "0000/2401075277", 6, *PLAYED), _of_vidor("training", "0001/1", 2),
        MUSIC,
    ]),
    "vidor, predicates": ("vidor", "predicates", VIDOR, [
        _of_vidor("training", "0000/2401075277", 6, *PLAYED, Action(46, 0, 6, 7)),
        _of_vidor("training", "0001/1", 2, Action(48, 0, 2, 0)), MUSIC,
    ]),
}  # fmt: skip


CLASSES = {
    "kinetics, 700": tuple(sorted(DOING)),
    "ucf101": UCF,
    "own": ("jump", "Pick up", "wave"),
    "hmdb51": HMDB,
    "something_v1, sorted": (
        "Holding something", "Pretending, but it's empty", "Turning something"
    ),
    "something_v1, file": ("Holding something", "Turning something", "Pretending, but it's empty"),
    "charades": tuple(f"Doing {k}/a, b" for k in range(157)),
    "vidor, actions": label_maps.load(label_maps.VIDOR_ACTIONS),
    "vidor, predicates": label_maps.load(label_maps.VIDOR_PREDICATES),
}  # fmt: skip


def _write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())


@pytest.mark.parametrize("example", EXAMPLES)
def test_records(tmp_path, example):
    name, variant, files, records = EXAMPLES[example]
    _write(tmp_path, files)
    dataset = datasets.DATASETS[name]
    classes, found = dataset.read(tmp_path, variant)
    assert found == records
    assert classes == CLASSES.get(example, classes)


VAL = "kinetics-400_val.csv"
KIN = "kinetics, crawler", VAL
LIST = "ucf101", "trainlist01.txt"
INDEX = "ucf101", "classInd.txt"
WHEELS = "hmdb51", "cartwheel_test_split1.txt"
SOME = "something_v1, sorted", "something-something-v1-train.csv"
TRAIN = "charades", "Charades_v1_train.csv"
PLAY = "vidor, actions", PLAYING


@pytest.mark.parametrize(
    ("example", "old", "new", "error"),
    [
        (KIN, "yq_M1PMw2hY", "short", "line 2: expected a YouTube id of 11 .* Received: 'short'"),
        (KIN, "38,48", "48,38", "line 2: expected a start and a later end"),
        (KIN, "\nabseiling", "\n../x", "line 2: expected the name of a class"),
        (KIN, ",val", ",train", "line 2: expected a row of the validation subset.*'train'"),
        (KIN, "youtube_id", "id", "line 1: expected a header with youtube_id, time_start"),
        (KIN, "\nabs", "\nabseiling,yq_M1PMw2hY,38,48,val\nabs", "line 3: .* not listed before"),
        (LIST, ".avi 36", ".avi 35", "line 2: expected label 36, that of HammerThrow.*'35'"),
        (LIST, "HammerThrow/", "hammer/", "expected one of the 101 classes of classInd.txt.*'ha"),
        (INDEX, "101 YoYo", "101 YoYo\n102 x", "expected the 101 classes of UCF101 in its order"),
        (WHEELS, " 2 ", "", "line 1: expected 'NAME.avi CODE' with code 0, 1 or 2"),
        (SOME, "7;", "7,", "line 2: expected 'ID;LABEL', the id a number"),
        (TRAIN, "c092 11.90", "c157 11.90", "line 2: expected actions such as .*c157 11.90 21.20"),
        (TRAIN, "18.33", "", "line 3: expected a length above 0 seconds. Received: ''"),
        (PLAY, "0000/24", "0001/24", "video 0000/2401075277.mp4, .* Received: 0001/24"),
        (PLAY, "29.97", "0", "with a frame_count and an fps above 0.* 6 and 0"),
        (PLAY, '"chase"', '"eat"', "relations with one of the 50 predicates .*'eat'"),
    ],
)
def test_malformed_files(tmp_path, example, old, new, error):
    example, file = example
    name, variant, files, _ = EXAMPLES[example]
    assert old in files[file]
    _write(tmp_path, {**files, file: files[file].replace(old, new, 1)})
    with pytest.raises(ValueError, match=rf"{file.replace('.', '[.]')}(: |, ).*{error}"):
        datasets.DATASETS[name].read(tmp_path, variant)


def test_several_files_of_kinetics(tmp_path):
    _write(tmp_path, {**KINETICS, "val.csv": KINETICS[VAL]})
    with pytest.raises(
        ValueError, match=r"has kinetics-400_val\.csv, val\.csv, copies of the same"
    ):
        datasets.DATASETS["kinetics"].read(tmp_path, "400")
    with pytest.raises(ValueError, match=r"expected the 700 labels .* Received: 1\. Add a compl"):
        datasets.DATASETS["kinetics"].read(tmp_path, "700")


@pytest.mark.parametrize("name", datasets.NAMES)
def test_a_wrong_folder_says_what_was_looked_for(name, tmp_path):
    dataset = datasets.DATASETS[name]
    with pytest.raises(FileNotFoundError, match=r"nowhere: there is no such folder"):
        dataset.read(tmp_path / "nowhere", dataset.variants[0])
    with pytest.raises(FileNotFoundError, match=r"Looked for .*(csv|txt|json).* Found: nothing"):
        dataset.read(tmp_path, dataset.variants[0])


def test_boxes_are_inclusive_in_the_file_and_half_open_here(tmp_path):
    _write(tmp_path, VIDOR)
    assert vidor.tracklets(tmp_path / PLAYING) == {
        0: {0: (10, 0, 20, 480), 2: (13, 0, 23, 480)},
        3: {0: (620, 5, 640, 15)},
        7: {2: (4, 4, 5, 5)},
    }
    for frame, error in (
        ({}, r"\$\.trajectories\[0\]: expected a list"),
        ([_box(5, 0, 0, 1, 1)], "frame 0: expected one box for .* 0, 3, 7, .* object 5 at"),
        ([_box(0, 0, 0, 1, 1)] * 2, "frame 0: expected one box .* object 0"),
        ([_box(0, 2, 0, 1, 1)], "frame 0: .* with xmin <= xmax"),
    ):
        (tmp_path / PLAYING).write_text(json.dumps(_video("0000/1", 6, trajectories=[frame])))
        with pytest.raises(ValueError, match=rf"2401075277\.json: .*{error}"):
            vidor.tracklets(tmp_path / PLAYING)


def test_lines_are_numbered_as_an_editor_does(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeffone\r\n\r\n two \x0b\u2028three\n\n".encode())
    assert dataset.lines(path) == [(1, "one"), (3, "two \x0b\u2028three")]
    path.write_bytes(b'id, text\r\n1,"a, ""b""\r\nc"\r\n\r\n2, d \r\n')
    rows = list(dataset.csv_rows(path, ["id", "text"]))
    assert rows == [(3, {"id": "1", "text": 'a, "b"\nc'}), (5, {"id": "2", "text": "d"})]
    for content, error in ((b"\n\n", r"list\.txt is empty"), (b"\xff", r"txt: expected UTF-8")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=error):
            dataset.lines(path)
