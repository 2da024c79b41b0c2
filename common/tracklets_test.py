import json
import pickle

import numpy as np
import pytest

from common.tracklets import Tracklet, read


def _plain(found: tuple[Tracklet, ...]) -> dict[str, dict[int, list[float]]]:
    assert all(t.frames.dtype == np.int64 and t.boxes.dtype == np.float32 for t in found)
    return {
        t.individual: dict(zip(t.frames.tolist(), t.boxes.tolist(), strict=True)) for t in found
    }


def _write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_nested_dictionary(tmp_path):
    ape = {"12": [0, 1, 10.5, 20], "10": [1, 1, 9, 9], "11": [-3, 1, 9, 9]}
    path = _write(tmp_path / "a.json", {"Ape 2": ape, "1": {"0": [0, 0, 1, 1]}})
    found = read(path)
    assert [t.individual for t in found] == ["Ape 2", "1"]
    assert _plain(found) == {
        "Ape 2": {10: [1, 1, 9, 9], 11: [-3, 1, 9, 9], 12: [0, 1, 10.5, 20]},
        "1": {0: [0, 0, 1, 1]},
    }


def test_gaps_are_an_error_or_filled_on_a_straight_line(tmp_path):
    boxes = {"3": [0, 0, 10, 10], "7": [8, 4, 18, 30], "8": [9, 9, 20, 20]}
    path = _write(tmp_path / "a.json", {"x": boxes})
    with pytest.raises(ValueError, match=r"a\.json: tracklet 'x': frame 4 is missing.*interpolate"):
        read(path)
    assert _plain(read(path, interpolate=True)) == {
        "x": {
            3: [0, 0, 10, 10], 4: [2, 1, 12, 15], 5: [4, 2, 14, 20], 6: [6, 3, 16, 25],
            7: [8, 4, 18, 30], 8: [9, 9, 20, 20],
        }
    }  # fmt: skip


MOT15 = """1, 3, 794.27, 247.59, 71.245, 174.88, -1, -1, -1, -1
1, 6, 1, 1, 10, 20, 0, -1, -1, -1
2, 3, 795, 248, 71, 174, -1, -1, -1, -1

"""
MOT20 = """2,1,1363,569,103,241,1,1,0.86014
1,1,1362,568,103,241,1,1,1
1,2,-9,5,20,30,1,1,0.5
1,5,10,10,20,30,0,11,1
"""


def test_motchallenge_counts_frames_and_pixels_from_1(tmp_path):
    found = _plain(read(_write(tmp_path / "submission.txt", MOT15)))
    assert list(found) == ["3", "6"]
    assert found["3"][0] == pytest.approx([793.27, 246.59, 864.515, 421.47], rel=1e-6)
    assert found["3"][1] == [794, 247, 865, 421]
    assert found["6"] == {0: [0, 0, 10, 20]}
    found = _plain(read(tmp_path / "submission.txt", one_based=False))
    assert found["6"] == {0: [1, 1, 11, 21]}


def test_ground_truth_of_motchallenge_leaves_out_confidence_0(tmp_path):
    assert list(_plain(read(_write(tmp_path / "gt.txt", MOT15)))) == ["3"]
    found = _plain(read(_write(tmp_path / "MOT20-01.txt", MOT20.replace("\n", "\r\n"))))
    assert found == {
        "1": {0: [1361, 567, 1464, 808], 1: [1362, 568, 1465, 809]},
        "2": {0: [-10, 4, 10, 34]},
    }


def test_vidor(tmp_path):
    def box(tid: int, left: int) -> dict[str, object]:
        return {"tid": tid, "bbox": {"xmin": left, "ymin": 0, "xmax": left + 9, "ymax": 479}}

    content = {
        "version": "VERSION 1.0",
        "subject/objects": [{"tid": t, "category": "adult"} for t in (2, 0, 5)],
        "trajectories": [[box(0, 4)], [box(0, 5), box(2, 630)], [box(2, 630)], [], [box(0, 8)]],
    }
    path = _write(tmp_path / "1.json", content)
    with pytest.raises(ValueError, match=r"1\.json: tracklet '0': frame 2 is missing"):
        read(path)
    assert _plain(read(path, interpolate=True)) == {
        "2": {1: [630, 0, 640, 480], 2: [630, 0, 640, 480]},
        "0": {f: [left, 0, left + 10, 480] for f, left in enumerate([4, 5, 6, 7, 8])},
    }


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({}, "no individual in it"),
        ([], "expected an object"),
        ({"x": {}}, "the individual 'x' has no box"),
        ({"x": [[0, 0, 1, 1]]}, 'individual "x": expected an object'),
        ({"x": {"-1": [0, 0, 1, 1]}}, 'individual "x": expected a 0-based frame, got "-1"'),
        ({"x": {"1.0": [0, 0, 1, 1]}}, 'individual "x": expected a 0-based frame'),
        ({"x": {"1": [0, 0, 1, 1], "01": [0, 0, 1, 1]}}, 'individual "x": frame 1 stands twice'),
        ({"x": {"4": [0, 0, 1]}}, 'individual "x", frame 4: expected .left, .* got 3 values'),
        ({"x": {"4": [0, 0, 1, "1"]}}, 'individual "x", frame 4: expected a finite number'),
        ({"x": {"4": [5, 0, 5, 9]}}, r"tracklet 'x': expected left < right .* on frame 4, got \[5"),
        ({"x": {"4": [0, 9, 5, 8]}}, "tracklet 'x': expected left < right and upper < lower"),
        ({"x": {"4": [0, 0, 1, 1e39]}}, "tracklet 'x': expected left < right"),
        ({"x": {"9" * 30: [0, 0, 1, 1]}}, "the individual 'x' has a frame 999"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_malformed_json_is_named(tmp_path, content, error):
    path = _write(tmp_path / "a.json", content)
    with pytest.raises(ValueError, match=rf"a\.json: {error}"):
        read(path, interpolate=True)


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("1,3,1,1,1,1,1", r"expected 9 \(ground truth since 2016\) or 10 .*, got 7"),
        ("1 3 1 1 1 1 1 -1 -1 -1", "expected 9 .* got 1"),
        ("1,3,1,1,a,1,1,-1,-1,-1", "expected numbers, got '1,3,1,1,a"),
        ("0,3,1,1,1,1,1,-1,-1,-1", "expected finite numbers and a 1-based frame"),
        ("1.5,3,1,1,1,1,1,-1,-1,-1", "expected finite numbers and a 1-based frame"),
        ("2,3,1,nan,1,1,1,-1,-1,-1", "expected finite numbers and a 1-based frame"),
        ("2,-1,1,1,1,1,1,-1,-1,-1", ".* got -1. Detections, which have -1 there, must be tracked"),
        ("1,3,5,5,5,5,1,-1,-1,-1", "frame 1 of individual 3 stands twice"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, row, error):
    path = _write(tmp_path / "a.txt", f"1,3,1,1,1,1,1,-1,-1,-1\n{row}\n")
    with pytest.raises(ValueError, match=rf"a\.txt, line 2: {error}"):
        read(path)


def test_boxes_without_area_and_files_without_rows(tmp_path):
    with pytest.raises(ValueError, match=r"a\.txt: tracklet '3': .* on frame 0, got \[0"):
        read(_write(tmp_path / "a.txt", "1,3,1,1,0,9,1,-1,-1,-1"))
    with pytest.raises(ValueError, match=r"gt\.txt: no individual in it"):
        read(_write(tmp_path / "gt.txt", "1,3,1,1,1,1,0,1,1"))
    with pytest.raises(ValueError, match=r"a\.txt, line 3: expected 9"):
        read(_write(tmp_path / "a.txt", "\n\nx"))


def test_other_files(tmp_path):
    for name in ("a.json", "a.txt"):
        with pytest.raises(FileNotFoundError, match="there is no such file"):
            read(tmp_path / name)
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"x": {0: [0, 0, 1, 1]}}))
    with pytest.raises(ValueError, match=r"a\.pkl: expected tracklets as \.json.*Pickles can run"):
        read(path)


def test_a_tracklet_checks_itself():
    boxes = np.array([[0, 0, 1, 1], [0, 0, 2, 2]], np.float32)
    assert Tracklet("x", np.array([3, 4]), boxes).boxes is boxes
    with pytest.raises(ValueError, match="frame 4 is missing or out of order"):
        Tracklet("x", np.array([3, 5]), boxes)
    with pytest.raises(ValueError, match="frame 4 is missing or out of order"):
        Tracklet("x", np.array([3, 2]), boxes)
    with pytest.raises(ValueError, match="frames count from 0, got -1"):
        Tracklet("x", np.array([-1, 0]), boxes)
    for frames, some in (([3], boxes), ([], boxes[:0]), ([3, 4], boxes[:, :3])):
        with pytest.raises(ValueError, match=r"expected \[N\] frames and \[N, 4\] boxes"):
            Tracklet("x", np.array(frames, np.int64), some)
