import pytest

from common.annotations import Record, datasets, label_maps

DATASET = datasets.load("hmdb51")

NAMES = label_maps.load(label_maps.HMDB51)

# As they are: blanks at the ends of lines, and names no shell should see.
LISTS = {
    "brush_hair": (
        "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 \n"
        "Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!_brush_hair_h_cm_np1_fr_goo_0.avi 2 \n"
        "Unused_brush_hair_h_cm_np1_fr_goo_0.avi 0 \n"
    ),
    "cartwheel": "Geena_und_die_Radschl_ge___;-)_cartwheel_f_cm_np1_fr_med_2.avi 2 \n",
    "kick": "-_kick_f_cm_np1_fr_goo_2.avi 1 \n",
    "kick_ball": "Goal_1_&_2_kick_ball_f_cm_np1_fr_goo_2.avi 1 \n",
}

RECORDS = [
    Record(name, f"{name}.avi", subset, (label,))
    for subset, label, name in (
        ("training", 0, "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0"),
        (
            "validation",
            0,
            "brush_hair/Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!_brush_hair_h_cm_np1_fr_goo_0",
        ),
        ("validation", 1, "cartwheel/Geena_und_die_Radschl_ge___;-)_cartwheel_f_cm_np1_fr_med_2"),
        ("training", 20, "kick/-_kick_f_cm_np1_fr_goo_2"),
        ("training", 21, "kick_ball/Goal_1_&_2_kick_ball_f_cm_np1_fr_goo_2"),
    )
]


def _write(folder, fold="1", **lists):
    for name in NAMES:
        text = {**LISTS, **lists}.get(name, f"unused_{name}.avi 0 \n")
        (folder / f"{name}_test_split{fold}.txt").write_text(text)
    return folder


def test_the_lists_of_a_fold(tmp_path):
    _write(tmp_path, fold="2", brush_hair="April_09_brush_hair_u_nm_np1_ba_goo_0.avi 2 \n")
    _write(tmp_path)
    assert DATASET.records(tmp_path, "1") == RECORDS
    assert DATASET.records(tmp_path, "2")[0].subset == "validation"
    assert DATASET.classes(tmp_path, "1") == NAMES
    assert [sum(map(slip.met, RECORDS)) for slip in DATASET.slips] == [4]


def test_every_class_needs_a_list_and_other_files_are_ignored(tmp_path):
    _write(tmp_path)
    (tmp_path / "._brush_hair_test_split1.txt").write_text("x")
    (tmp_path / "class_test_split1.txt").write_text("a.avi 1\n")
    assert DATASET.records(tmp_path, "1") == RECORDS
    (tmp_path / "wave_test_split1.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"Looked for wave_test_split1\.txt. Found: ._br"):
        DATASET.records(tmp_path, "1")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("a.avi", "expected 'NAME.avi CODE' with code 0, 1 or 2. Received: 'a.avi'"),
        ("a.avi 3", "expected 'NAME.avi CODE' with code 0, 1 or 2. Received: 'a.avi 3'"),
        ("a.mp4 1", "expected 'NAME.avi CODE'"),
        ("../a.avi 1", "expected 'NAME.avi CODE'"),
        ("b.avi 2", r"expected a clip that is not listed before \(walk_test_split1.txt, line 1\)"),
    ],
)
def test_a_malformed_line_names_file_and_line(tmp_path, line, error):
    _write(tmp_path, walk=f"b.avi 1 \n{line} \n")
    with pytest.raises(ValueError, match=rf"walk_test_split1\.txt, line 2: {error}"):
        DATASET.records(tmp_path, "1")


def test_videos_with_odd_names_are_found(tmp_path):
    for record in RECORDS[:3]:
        path = tmp_path / "hmdb51_org" / record.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    located, missing = datasets.locate(DATASET, RECORDS, tmp_path)
    assert [record.path for record in located[:3]] == [
        f"hmdb51_org/{record.path}" for record in RECORDS[:3]
    ]
    assert missing == tuple(record.name for record in RECORDS[3:])
