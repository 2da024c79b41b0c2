import collections
import json
import os
import pickle
import tracemalloc

import numpy as np
import pytest
from absl import logging

from common.features import tracklets
from common.features.tracklets import Tracklet, find, read


def _plain(found: tuple[Tracklet, ...]) -> dict[str, dict[int, list[float]]]:
    assert all(t.boxes.dtype == np.float32 for t in found)
    return {t.individual: dict(enumerate(t.boxes.tolist(), t.first)) for t in found}


def _write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
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
1,2,-9,5,20,30,1,1,0.5
1,5,10,10,20,30,0,11,1
"""


def test_motchallenge_counts_frames_and_pixels_from_1(tmp_path):
    found = _plain(read(_write(tmp_path / "submission.txt", MOT15)))
    assert list(found) == ["3", "6"]
    assert found["3"][0] == pytest.approx([793.27, 246.59, 864.515, 421.47], rel=1e-6)
    assert found["3"][1] == [794, 247, 865, 421]
    assert found["6"] == {0: [0, 0, 10, 20]}


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


def _pickled(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_of_plain_and_of_numpys_numbers(tmp_path, protocol):
    box = np.array([-3, 1, 9, 9.5])
    content = collections.OrderedDict()
    content["Ape 2"] = {np.int64(12): (0, 1, np.float32(10.5), 20), 10: box[:4], 11: [1, 1, 9, 9]}
    content[7] = {0: np.array([0, 0, 1, 1], np.uint8)}
    content[np.int32(3)] = {np.uint16(1): box[::-1][::-1].astype(">f4")}
    found = read(_pickled(tmp_path / "a.pickle", content, protocol))
    assert [t.individual for t in found] == ["Ape 2", "7", "3"]
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
    rows = [
        f"{f + 1},{who},{le + 1},{up + 1},{ri - le},{lo - up},1,-1,-1,-1"
        for who, boxes in content.items()
        for f, (le, up, ri, lo) in boxes.items()
    ]
    trajectories = [
        [
            {"tid": who, "bbox": dict(zip(("xmin", "ymin"), boxes[f], strict=False))
             | {"xmax": boxes[f][2] - 1, "ymax": boxes[f][3] - 1}}
            for who, boxes in content.items()
            if f in boxes
        ]
        for f in range(9)
    ]  # fmt: skip
    vidor = {
        "version": "VERSION 1.0",
        "subject/objects": [{"tid": who, "category": "adult"} for who in content],
        "trajectories": trajectories,
    }
    paths = (
        *(_pickled(tmp_path / f"a{suffix}", content) for suffix in (".pkl", ".PICKLE", ".p")),
        _write(tmp_path / "a.json", text),
        _write(tmp_path / "a.txt", "\n".join(rows)),
        _write(tmp_path / "vidor.json", vidor),
    )
    for path in paths:
        found = read(path)
        assert [t.individual for t in found] == ["5", "2"], path
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


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (collections.Counter(), r"refused to load collections\.Counter"),
        ([1], "holds a list; expected a dictionary"),
        ({}, "no individual in it"),
        ({"x": {}}, "tracklet 'x' has no box"),
        ({None: {}}, "expected the name or number of an individual, got a NoneType"),
        ({True: {}}, "expected the name or number of an individual, got true"),
        ({b"x": {}}, "expected the name or number of an individual, got a bytes"),
        ({1.5: {}}, "expected the name or number of an individual, got 1.5"),
        ({"1": {0: [0, 0, 1, 1]}, 1: {}}, 'individual "1" stands twice'),
        ({"x": [[0, 0, 1, 1]]}, 'individual "x": expected a dictionary of frames, got 1 values'),
        ({"x": {-1: [0, 0, 1, 1]}}, 'individual "x": expected a 0-based frame .*, got -1'),
        ({"x": {1.0: [0, 0, 1, 1]}}, 'individual "x": expected a 0-based frame .*, got 1.0'),
        (
            {"x": {np.bool_(1): [0, 0, 1, 1]}},
            'individual "x": expected a 0-based frame .*, got true',
        ),
        (
            {"x": {10**30: [0, 0, 1, 1]}},
            'individual "x": expected a 0-based frame .* a huge number',
        ),
        ({"\ud800x": {}}, r'individual "\\ud800x": its name is not valid Unicode'),
        ({"x": {4: [0, 0, 1]}}, 'individual "x", frame 4: expected .left, .* got 3 values'),
        ({"x": {4: "0019"}}, 'individual "x", frame 4: expected .left, .* got "0019"'),
        ({"x": {4: np.ones((1, 4))}}, r'individual "x", frame 4: .*lower., got an array \[1, 4\]'),
        ({"x": {4: np.ones((2**40, 0))}}, r'individual "x", frame 4: .* got an array \[1099'),
        ({"x": {4: [*np.ones((4, 1))]}}, 'individual "x", frame 4: expected numbers, got 1 values'),
        ({"x": {4: [0, 0, 1, "1"]}}, 'individual "x", frame 4: expected numbers, got "1"'),
        ({"x": {4: [0, 0, 1, True]}}, 'individual "x", frame 4: expected numbers, got true'),
        ({"x": {4: [0, 0, 1, np.complex64(1)]}}, 'individual "x", frame 4: expected numbers'),
        ({"x": {4: [0, 0, 1, float("nan")]}}, "tracklet 'x': expected left < right"),
        ({"x": {4: [0, 0, 1, np.float32("inf")]}}, "tracklet 'x': expected left < right"),
        ({"x": {4: [5, 0, 5, 9]}}, r"tracklet 'x': expected left < right .* on frame 4, got \[5"),
        ({"x": {4: [0, 0, 9, 9], 6: [0, 0, 9, 9]}}, "tracklet 'x': frame 5 is missing"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_malformed_pickle_is_named(tmp_path, content, error):
    with pytest.raises(ValueError, match=rf"a\.pkl: {error}"):
        read(_pickled(tmp_path / "a.pkl", content))


def test_damaged_pickles(tmp_path):
    box = [0, 0, 1, 1]
    whole = pickle.dumps({"x": {0: box}})
    path = tmp_path / "a.p"
    for content in (b"", b"{}", whole[:-1], whole[:20], whole + b"."):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.p: .* can be written as JSON"):
            read(path)
    twice = pickle.dumps({"x": {np.int8(1): box, np.int8(2): box}}).replace(b"C\1\2", b"C\1\1")
    path.write_bytes(twice)
    with pytest.raises(ValueError, match=r'a\.p: individual "x", frame 1 stands twice'):
        read(path)


def test_a_small_pickle_does_not_become_large(tmp_path):
    boxes = {frame: [0, 0, 9, 9] for frame in range(5000)}
    shared = {str(who): boxes for who in range(300)}  # 1.5 million boxes
    huge = np.broadcast_to(np.uint8(0), 4)
    array = pickle.dumps({"x": {0: huge}}, 2).replace(b"K\x04\x85", b"\x8a\x05\0\0\0\0\x10\x85")
    contents = (pickle.dumps(shared), array, b"\x80\x04}X\xff\xff\xff\x7fx.")
    for content, error in zip(contents, ("more", "an array of", "not a well-formed"), strict=True):
        path = tmp_path / "a.pkl"
        path.write_bytes(content)
        tracemalloc.start()
        with pytest.raises(ValueError, match=rf"a\.pkl: .*{error}"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ([], "expected an object"),
        ({"x": [[0, 0, 1, 1]]}, 'individual "x": expected a dictionary of frames, got 1 values'),
        ({"x": {"-1": [0, 0, 1, 1]}}, 'individual "x": expected a 0-based frame .*, got "-1"'),
        ({"x": {"1": [0, 0, 1, 1], "01": [0, 0, 1, 1]}}, 'individual "x", frame 1 stands twice'),
        ({"x": {"9" * 30: [0, 0, 1, 1]}}, 'individual "x": expected a 0-based frame .*, got "999'),
        ({"x": {"4": [0, 0, 1, 10**4000]}}, 'individual "x", frame 4: .* that fit a float'),
        ({"x": {"4": [0, 0, 1, 1e39]}}, "tracklet 'x': expected left < right"),
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
    for name in ("a.json", "a.txt", "a.pkl"):
        with pytest.raises(FileNotFoundError, match="there is no such file"):
            read(tmp_path / name)
    with pytest.raises(ValueError, match=r"a\.npy: expected tracklets as \.json, .*\.pkl"):
        read(tmp_path / "a.npy")


def test_a_file_has_the_name_up_to_the_first_dot(tmp_path):
    wanted = tmp_path / "v1.2/0000/24_tracks.pkl"
    for name in ("v1.2/0000/24.mp4", "v1.2/0000/24.cut.v2.mp4", "v1.2/0000/24"):
        assert find(tmp_path, "_tracks.pkl", name) == wanted


def test_short_tracklets_are_left_out_and_logged(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: logged.append(text % args))
    box = [0, 0, 10, 20]
    content = {"long": range(2, 10), "short": range(3), "one": [5]}
    path = _write(tmp_path / "a.json", {who: {f: box for f in at} for who, at in content.items()})
    assert [t.individual for t in read(path)] == ["long", "short", "one"] and not logged
    assert [t.individual for t in read(path, min_frames=4)] == ["long"]
    assert logged == [
        f"{path}: 2 of 3 tracklets have fewer than 4 frames and are left out: one, short."
    ]
    with pytest.raises(ValueError, match=r"a\.json: 3 of 3 .* fewer than 9 frames, and none is"):
        read(path, min_frames=9)


def test_interpolation_is_bounded(tmp_path):
    """A file of a few kilobytes must not become gigabytes."""
    far = {"0": [0, 0, 1, 1], "9999999": [0, 0, 1, 1]}
    path = _write(tmp_path / "a.json", {str(who): far for who in range(60)})
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"a\.json: interpolation would add 599,999,880 boxes"):
        read(path, interpolate=True)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    assert tracklets._MOST_FILLED * 24 < 2**27
