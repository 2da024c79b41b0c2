"""Tracklets in every format, and files that are damaged or mean harm."""

import collections
import json
import os
import pickle
import tracemalloc

import numpy as np
import pytest
from absl import logging

from common.features import tracklets
from common.features.tracklets import find, read

BOX = [0, 0, 1, 1]


def _plain(found):
    assert all(each.boxes.dtype == np.float32 for each in found)
    return {each.individual: dict(enumerate(each.boxes.tolist(), each.first)) for each in found}


def _write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def _pickled(path, content, protocol=4):
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


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
1,5,10,10,20,30,0,11,1
"""


def test_motchallenge_counts_frames_and_pixels_from_1(tmp_path):
    found = _plain(read(_write(tmp_path / "submission.txt", MOT15)))
    assert list(found) == ["3", "6"]
    assert found["3"][0] == pytest.approx([793.27, 246.59, 864.515, 421.47], rel=1e-6)
    assert found["3"][1] == [794, 247, 865, 421]
    assert found["6"] == {0: [0, 0, 10, 20]}
    # Ground truth leaves out confidence 0.
    assert list(_plain(read(_write(tmp_path / "gt.txt", MOT15)))) == ["3"]
    found = _plain(read(_write(tmp_path / "MOT20-01.txt", MOT20.replace("\n", "\r\n"))))
    assert found == {"1": {0: [1361, 567, 1464, 808], 1: [1362, 568, 1465, 809]}}


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_of_plain_and_of_numpys_numbers(tmp_path, protocol):
    box = np.array([-3, 1, 9, 9.5])
    content = collections.OrderedDict()
    content["Ape 2"] = {np.int64(12): (0, 1, np.float32(10.5), 20), 10: box[:4], 11: [1, 1, 9, 9]}
    content[7] = {0: np.array([0, 0, 1, 1], np.uint8)}
    content[np.int32(3)] = {np.uint16(1): box[::-1][::-1].astype(">f4")}
    found = read(_pickled(tmp_path / "a.pickle", content, protocol))
    assert _plain(found) == {
        "Ape 2": {10: [-3, 1, 9, 9.5], 11: [1, 1, 9, 9], 12: [0, 1, 10.5, 20]},
        "7": {0: [0, 0, 1, 1]},
        "3": {1: [-3, 1, 9, 9.5]},
    }


def test_the_same_tracklets_in_all_formats(tmp_path):
    """Whole pixels, for VidOR has no others: right and lower belong to its boxes."""
    content = {
        5: {f: [3 * f, 7, 3 * f + 20, 47 + f] for f in range(2, 9)},
        2: {f: [100 - f, 0, 101, 240] for f in range(4)},
    }
    text = {str(who): {str(f): box for f, box in boxes.items()} for who, boxes in content.items()}
    rows, trajectories = [], [[] for _ in range(9)]
    for who, boxes in content.items():
        for f, (le, up, ri, lo) in boxes.items():
            rows.append(f"{f + 1},{who},{le + 1},{up + 1},{ri - le},{lo - up},1,-1,-1,-1")
            box = {"xmin": le, "ymin": up, "xmax": ri - 1, "ymax": lo - 1}
            trajectories[f].append({"tid": who, "bbox": box})
    vidor = {
        "version": "VERSION 1.0",
        "subject/objects": [{"tid": who, "category": "adult"} for who in (5, 2, 9)],
        "trajectories": trajectories,
    }
    paths = (
        *(_pickled(tmp_path / f"a{suffix}", content) for suffix in (".pkl", ".PICKLE", ".p")),
        _write(tmp_path / "a.json", text),
        _write(tmp_path / "a.txt", "\n".join(rows)),
        _write(tmp_path / "vidor.json", vidor),  # 9 is listed but never seen
    )
    for path in paths:
        found = read(path)
        assert [each.individual for each in found] == ["5", "2"], path
        assert _plain(found) == {str(who): boxes for who, boxes in content.items()}, path


class _Harm:
    """Unpickles into a file that is made by a shell."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_no_function_that_a_pickle_names_is_run(tmp_path, protocol):
    executed = tmp_path / "executed"
    harm = _Harm(executed)
    places = (harm, {harm: {}}, {"x": harm}, {"x": {harm: []}}, {"x": {0: harm}})
    for content in (*places, {"x": {0: [0, 0, harm, 9]}}, {"x": {0: [0, 0, 9, 9], "y": [harm]}}):
        path = _pickled(tmp_path / "a.pkl", content, protocol)
        with pytest.raises(ValueError, match=r"a\.pkl: refused to load \w+\.system"):
            read(path)
    assert not executed.exists()
    pickle.loads(path.read_bytes())  # noqa: S301
    assert executed.exists()  # or all of this would prove nothing


IN_X = "individual 'x', frame 4: expected"
TWICE = pickle.dumps({"x": {np.int8(1): BOX, np.int8(2): BOX}}).replace(b"C\1\2", b"C\1\1")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (collections.Counter(), r"refused to load collections\.Counter"),
        (b"", ".* can be written as JSON"),
        (pickle.dumps({"x": {0: BOX}})[:20], ".* can be written as JSON"),
        ([1], "holds a list; expected a dictionary"),
        ({}, "no individual in it"),
        ({"x": {}}, "tracklet 'x' has no box"),
        ({None: {}}, "expected the name or number of an individual, got None"),
        ({True: {}}, "expected the name or number of an individual, got True"),
        ({"1": {0: BOX}, 1: {}}, "individual '1' stands twice"),
        ({"x": [BOX]}, r"individual 'x': expected a dictionary of frames, got \[\["),
        ({"x": {1.0: BOX}}, "individual 'x': expected a 0-based frame .*, got 1.0"),
        ({"x": {np.bool_(1): BOX}}, "individual 'x': expected a 0-based frame .*, got True"),
        ({"x": {10**4000: BOX}}, "individual 'x': expected a 0-based frame .* 100"),
        ({"\ud800x": {}}, r"individual '\\ud800x': its name is not valid Unicode"),
        (TWICE, "individual 'x', frame 1 stands twice"),
        ({"x": {4: [0, 0, 1]}}, rf"{IN_X} .left, .* got \[0, 0, 1\]"),
        ({"x": {4: "0019"}}, f"{IN_X} .left, .* got '0019'"),
        ({"x": {4: np.ones((1, 4))}}, rf"{IN_X} .*lower., got array\(\[\[1"),
        ({"x": {4: np.ones((2**40, 0))}}, rf"{IN_X} .*lower., got array\(\[\], sha"),
        ({"x": {4: [*np.ones((4, 1))]}}, rf"{IN_X} numbers, got \[1.0\]"),
        ({"x": {4: [0, 0, 1, "1"]}}, f"{IN_X} numbers, got '1'"),
        ({"x": {4: [0, 0, 1, np.complex64(1)]}}, f"{IN_X} numbers"),
        ({"x": {4: [0, 0, 1, float("nan")]}}, "tracklet 'x': expected left < right"),
        ({"x": {4: [5, 0, 5, 9]}}, r"tracklet 'x': expected left < right .* on frame 4, got \[5"),
        ({"x": {4: [0, 0, 9, 9], 6: [0, 0, 9, 9]}}, "tracklet 'x': frame 5 is missing"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_malformed_pickle_is_named(tmp_path, content, error):
    with pytest.raises(ValueError, match=rf"a\.pkl: {error}"):
        read(_pickled(tmp_path / "a.pkl", content))


def test_a_small_pickle_does_not_become_large(tmp_path):
    boxes = {frame: [0, 0, 9, 9] for frame in range(5000)}
    shared = {str(who): boxes for who in range(300)}  # 1.5 million boxes
    huge = np.broadcast_to(np.uint8(0), 4)
    array = pickle.dumps({"x": {0: huge}}, 2).replace(b"K\x04\x85", b"\x8a\x05\0\0\0\0\x10\x85")
    contents = (pickle.dumps(shared), array, b"\x80\x04}X\xff\xff\xff\x7fx.")
    for content, error in zip(contents, ("more", "an array of", "not a well-formed"), strict=True):
        path = _pickled(tmp_path / "a.pkl", content)
        tracemalloc.start()
        with pytest.raises(ValueError, match=rf"a\.pkl: .*{error}"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ([], "expected an object"),
        ({"x": {"-1": BOX}}, "individual 'x': expected a 0-based frame .*, got '-1'"),
        ({"x": {"1": BOX, "01": BOX}}, "individual 'x', frame 1 stands twice"),
        ({"x": {"9" * 30: BOX}}, "individual 'x': expected a 0-based frame .*, got '999"),
        ({"x": {"4": [0, 0, 1, 10**4000]}}, "individual 'x', frame 4: .* that fit a float"),
        ({"x": {"4": [0, 0, 1, 1e39]}}, "tracklet 'x': expected left < right"),
        # A file of a few kilobytes must not become gigabytes.
        (
            {str(who): {"0": BOX, "9999999": BOX} for who in range(60)},
            "interpolation would add 599,999,880 boxes",
        ),
    ],
)
@pytest.mark.filterwarnings("error")
def test_malformed_json_is_named(tmp_path, content, error):
    path = _write(tmp_path / "a.json", content)
    with pytest.raises(ValueError, match=rf"a\.json: {error}"):
        read(path, interpolate=True)
    assert tracklets._MOST_FILLED * 24 < 2**27


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("1,3,1,1,1,1,1", r"expected 9 \(ground truth since 2016\) or 10 .*, got 7"),
        ("1,3,1,1,a,1,1,-1,-1,-1", "expected finite numbers .* got '1,3,1,1,a"),
        ("0,3,1,1,1,1,1,-1,-1,-1", "expected finite numbers and a 1-based frame"),
        ("1.5,3,1,1,1,1,1,-1,-1,-1", "expected finite numbers and a 1-based frame"),
        ("2,3,1,nan,1,1,1,-1,-1,-1", "expected finite numbers and a 1-based frame"),
        ("2,-1,1,1,1,1,1,-1,-1,-1", ".* got -1. Detections, which have -1 there, must be tracked"),
        ("1,3,5,5,5,5,1,-1,-1,-1", "stands twice"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, row, error):
    path = _write(tmp_path / "a.txt", f"1,3,1,1,1,1,1,-1,-1,-1\n{row}\n")
    with pytest.raises(ValueError, match=rf"a\.txt, line 2: {error}"):
        read(path)


def test_files(tmp_path):
    for name in ("a.json", "a.txt", "a.pkl"):
        with pytest.raises(FileNotFoundError, match="there is no such file"):
            read(tmp_path / name)
    with pytest.raises(ValueError, match=r"a\.npy: expected tracklets as \.json, .*\.pkl"):
        read(tmp_path / "a.npy")
    wanted = tmp_path / "v1.2/0000/24_tracks.pkl"  # the name up to the first dot
    for name in ("v1.2/0000/24.mp4", "v1.2/0000/24.cut.v2.mp4", "v1.2/0000/24"):
        assert find(tmp_path, "_tracks.pkl", name) == wanted


def test_short_tracklets_are_left_out_and_logged(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: logged.append(text % args))
    content = {"long": range(2, 10), "short": range(3), "one": [5]}
    path = _write(tmp_path / "a.json", {who: {f: BOX for f in at} for who, at in content.items()})
    assert [each.individual for each in read(path)] == ["long", "short", "one"] and not logged
    assert [each.individual for each in read(path, min_frames=4)] == ["long"]
    assert logged == [
        f"{path}: 2 of 3 tracklets have fewer than 4 frames and are left out: one, short."
    ]
    with pytest.raises(ValueError, match=r"a\.json: 3 of 3 .* fewer than 9 frames, and none is"):
        read(path, min_frames=9)
