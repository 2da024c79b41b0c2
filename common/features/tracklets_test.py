"""Tracklets in every format, squares around boxes, and files that are damaged or mean harm."""

import collections
import json
import os
import pickle
import tracemalloc

import numpy as np
import pytest

from common.features.tracklets import Tracklet, cut, find, read, squares
from common.preprocessing import frames

BOX = [0, 0, 1, 1]


def _plain(found):
    assert all(each.boxes.dtype == np.float32 for each in found)
    return {each.individual: dict(enumerate(each.boxes.tolist(), each.first)) for each in found}


def _write(path, content, protocol=4):
    if path.suffix.lower() in (".json", ".txt"):
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    else:
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


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
        *(_write(tmp_path / f"a{suffix}", content) for suffix in (".pkl", ".PICKLE", ".p")),
        _write(tmp_path / "a.json", text),
        _write(tmp_path / "a.txt", "\r\n".join(rows)),
        _write(tmp_path / "vidor.json", vidor),  # 9 is listed but never seen
    )
    for path in paths:
        found = read(path)
        assert [each.individual for each in found] == ["5", "2"], path
        assert _plain(found) == {str(who): boxes for who, boxes in content.items()}, path


def test_motchallenge_ground_truth_leaves_out_confidence_0(tmp_path):
    lines = "1, 3, 794.25, 247.5, 71.25, 174.5, 1, -1, -1, -1\n\n1,6,1,1,10,20,0,-1,-1,-1\n"
    everyone = {"3": {0: [793.25, 246.5, 864.5, 421]}, "6": {0: [0, 0, 10, 20]}}
    assert _plain(read(_write(tmp_path / "submission.txt", lines))) == everyone
    assert list(_plain(read(_write(tmp_path / "gt.txt", lines)))) == ["3"]
    lines = "2,1,1363,569,103,241,1,1,0.8\n1,5,10,10,20,30,0,11,1\n"  # since 2016
    assert _plain(read(_write(tmp_path / "MOT20.txt", lines))) == {"1": {1: [1362, 568, 1465, 809]}}


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_of_plain_and_of_numpys_numbers(tmp_path, protocol):
    box = np.array([-3, 1, 9, 9.5])
    content = collections.OrderedDict()
    content["Ape 2"] = {np.int64(12): (0, 1, np.float32(10.5), 20), 10: box[:4], 11: [1, 1, 9, 9]}
    content[7] = {0: np.array([0, 0, 1, 1], np.uint8)}
    content[np.int32(3)] = {np.uint16(1): box[::-1][::-1].astype(">f4")}
    assert _plain(read(_write(tmp_path / "a.pickle", content, protocol))) == {
        "Ape 2": {10: [-3, 1, 9, 9.5], 11: [1, 1, 9, 9], 12: [0, 1, 10.5, 20]},
        "7": {0: [0, 0, 1, 1]},
        "3": {1: [-3, 1, 9, 9.5]},
    }


class _Harm:
    """Unpickles into a file that is made by a shell."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_no_function_that_a_pickle_names_is_run(tmp_path):
    executed = tmp_path / "executed"
    harm = _Harm(executed)
    for content in (harm, {harm: {}}, {"x": harm}, {"x": {0: [0, 0, harm, 9]}}):
        path = _write(tmp_path / "a.pkl", content)
        with pytest.raises(ValueError, match=r"a\.pkl: refused to load \w+\.system"):
            read(path)
    assert not executed.exists()
    pickle.loads(path.read_bytes())  # noqa: S301
    assert executed.exists()  # or all of this would prove nothing


def test_small_pickles_stay_small(tmp_path):
    """One dictionary that many share, and an array of 2**40 empty rows."""
    boxes = {frame: BOX for frame in range(1000)}
    for content in (dict.fromkeys(range(100_000), boxes), {"x": {0: np.ones((2**40, 0))}}):
        path = _write(tmp_path / "a.pkl", content)
        tracemalloc.start()
        with pytest.raises(ValueError, match=r"a\.pkl: expected .*more boxes than bytes|array\("):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.npy", b"", r"expected tracklets as \.json, \.txt, \.pkl"),
        ("a.pkl", pickle.dumps({"x": {0: BOX}})[:20], ".* JSON can hold the same"),
        ("a.json", {}, "expected individuals, and boxes of each"),
        ("a.pkl", {"1": {0: BOX}, 1: {0: BOX}}, ".*the name 1, or it stands twice"),
        ("a.pkl", {"x": {1.0: BOX}}, ".* invalid literal"),
        ("a.json", {"x": {"-1": BOX}}, ".* frame -1"),
        ("a.json", {"x": {"1": BOX, "01": BOX}}, ".* frame 1, or it stands twice"),
        ("a.json", {"x": {"4": [0, 0, 1]}}, r".* \[0, 0, 1\] on frame 4"),
        ("a.json", {"x": {"4": [0, 0, 1, 10**4000]}}, "expected .individual"),
        ("a.json", {"x": {"4": [0, 0, 1, 1e39]}}, "tracklet 'x': expected left < right"),
        ("a.json", {"x": {"4": [5, 0, 5, 9]}}, r".* upper < lower on frame 4. Received \[5"),
        ("a.json", {"x": {"4": BOX, "6": BOX}}, "tracklet 'x': frame 5 is missing. --interpolate"),
        ("a.txt", "2,-1,1,1,1,1,1,-1,-1,-1\n", "^.*which must be tracked first"),
        ("a.txt", "1,3,1,nan,1,1,1,-1,-1,-1\n", "^.*, line 1: expected"),
        ("a.txt", 2 * "1,3,5,5,5,5,1,-1,-1,-1\n", "^.*, line 2: .* once for each frame"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_what_is_wrong_is_named(tmp_path, name, content, error):
    with pytest.raises(ValueError, match=rf"{error}" if error[0] == "^" else rf"{name}: {error}"):
        read(_write(tmp_path / name, content))


def test_gaps_and_short_tracklets(tmp_path):
    boxes = {"3": [0, 0, 10, 10], "7": [8, 4, 18, 30], "8": [9, 9, 20, 20]}
    path = _write(tmp_path / "a.json", {"x": boxes, "short": {"1": BOX}})
    assert _plain(read(path, interpolate=True, min_frames=2)) == {
        "x": {
            3: [0, 0, 10, 10], 4: [2, 1, 12, 15], 5: [4, 2, 14, 20], 6: [6, 3, 16, 25],
            7: [8, 4, 18, 30], 8: [9, 9, 20, 20],
        }
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"fewer than 9 frames are left out: short, x\. None"):
        read(path, interpolate=True, min_frames=9)
    # A file of a few kilobytes must not become gigabytes.
    far = {str(who): {"0": BOX, "9999999": BOX} for who in range(60)}
    with pytest.raises(ValueError, match="interpolation would add 599,999,880 boxes"):
        read(_write(tmp_path / "far.json", far), interpolate=True)
    with pytest.raises(FileNotFoundError, match=r"b\.json: there is no such file"):
        read(tmp_path / "b.json")


def test_the_file_of_a_video():
    for name in ("v1.2/0000/24.mp4", "v1.2/0000/24.cut.v2.mp4", "v1.2/0000/24"):
        assert find("t", "_tracks.pkl", name).as_posix() == "t/v1.2/0000/24_tracks.pkl"


def _squares(boxes, size=(240, 320), **options):
    return squares(Tracklet("x", 40, np.array(boxes, np.float32)), (240, 320), size, **options)


@pytest.mark.parametrize(
    ("boxes", "options", "expected"),
    [
        # 40x60 becomes 60x60: 10 more on its left and right.
        ([[100, 50, 140, 110]], {}, [[90, 50, 150, 110]]),
        ([[100, 50, 107, 60]], {}, [[99, 50, 109, 60]]),  # the odd pixel is on the right
        ([[5, 5, 5.1, 5.2]], {}, [[5, 5, 6, 6]]),
        # Shifted into the picture.
        ([[-30, -20, 10, 20], [310, 230, 350, 260]], {}, [[0, 0, 40, 40], [280, 200, 320, 240]]),
        # Shrunk to the shorter side.
        ([[50, 0, 310, 240]], {}, [[60, 0, 300, 240]]),  # 260 wide, centred at 180
        ([[-1e30, -1, 1e30, 1]], {}, [[0, 0, 240, 240]]),  # at 0
        # A quarter of 40 on the left and right, and of 60 above and below: 60x90.
        ([[100, 50, 140, 110]], {"margin": 0.25}, [[75, 35, 165, 125]]),
        # All boxes together are 90x50.
        (
            [[100, 50, 140, 90], [150, 60, 190, 100], [120, 55, 130, 60]],
            {"policy": "union", "margin": 0.1},
            [[91, 21, 199, 129]] * 3,
        ),
        ([[100, 50, 140, 110]], {"size": (120, 320)}, [[100, 20, 140, 60]]),  # half as high
    ],
)
def test_squares_by_hand(boxes, options, expected):
    assert _squares(boxes, **options).tolist() == expected


def test_boxes_outside_the_picture_are_named():
    for outside in ([-20, 0, 0, 9], [320, 0, 330, 9], [0, -9, 9, 0], [0, 240, 9, 250]):
        with pytest.raises(ValueError, match=r"'x', frame 41: expected a box .* 240x320 .*\["):
            _squares([[319, 239, 400, 400], outside])


def test_cutting_is_cropping_and_resizing():
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    for size in (5, 20, 33):
        expected = np.rint(frames.resize(picture[None, 3:23, 30:50], size, size)[0])
        found = cut(picture, np.array([30, 3, 50, 23]), size)
        np.testing.assert_array_equal(found, expected.astype(np.uint8), strict=True)
        assert not np.shares_memory(found, picture)
    flow = np.broadcast_to(np.float32([0.25, -0.75]), (30, 40, 2))  # vectors scale with the sides
    twice = cut(flow, np.array([10, 10, 20, 20]), 20)
    np.testing.assert_array_equal(twice, np.broadcast_to(np.float32([0.5, -1]), (20, 20, 2)))
