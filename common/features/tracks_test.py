import json

import numpy as np
import pytest
from absl import logging

from common.features import tracks
from common.features.tracklets import Tracklet


@pytest.fixture
def path(tmp_path):
    """Individuals on frames 2 to 9, 0 to 2, and 5."""
    content = {
        "long": {f: [f, 0, f + 10, 20] for f in range(2, 10)},
        "short": {f: [0, 0, 10, 20] for f in range(3)},
        "one": {5: [-5, 0, 1, 20]},
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    return path


def _names(found):
    return [tracklet.individual for tracklet in found]


def test_a_file_has_the_name_up_to_its_first_dot(tmp_path):
    wanted = tmp_path / "v1.2" / "0000" / "24_tracks.pkl"
    wanted.parent.mkdir(parents=True)
    wanted.touch()
    for name in ("v1.2/0000/24.mp4", "v1.2/0000/24.cut.v2.mp4", "v1.2/0000/24"):
        assert tracks.find(tmp_path, "_tracks.pkl", name) == wanted
    assert tracks.find(wanted.parent, "_tracks.pkl", "24.avi") == wanted
    with pytest.raises(FileNotFoundError) as caught:
        tracks.find(str(tmp_path), ".json", "v1.2/0000/24.cut.mp4")
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'v1.2/0000/24.json'}: there is no such file")
    assert "'v1.2/0000/24.cut.mp4'" in text and "'.json'" in text
    with pytest.raises(FileNotFoundError):  # a folder is none
        tracks.find(tmp_path, "", "v1/x.mp4")


def test_short_tracklets_are_left_out_and_counted(path, monkeypatch):
    logged = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: logged.append(text % args))
    found = tracks.of(path, 10, 20, 30)
    assert _names(found) == ["long", "short", "one"] and not logged
    assert found[0].frames.tolist() == list(range(2, 10))
    assert _names(tracks.of(path, 10, 20, 30, min_frames=3)) == ["long", "short"]
    assert _names(tracks.of(path, 10, 20, 30, min_frames=4)) == ["long"]
    assert logged == [
        f"{path}: 1 of 3 tracklets have fewer than 3 frames and are left out: one.",
        f"{path}: 2 of 3 tracklets have fewer than 4 frames and are left out: one, short.",
    ]
    with pytest.raises(ValueError, match=r"a\.json: 3 of 3 .* fewer than 9 frames, and none is"):
        tracks.of(path, 10, 20, 30, min_frames=9)


def test_frames_that_the_video_has_not(path):
    expected = r"a\.json: tracklet 'long' is on frame 9 \(0-based\), and the video has 9 frames"
    with pytest.raises(ValueError, match=expected):
        tracks.of(path, 9, 20, 30)
    found = tracks.of(path, None, 20, 30)
    assert _names(found) == ["long", "short", "one"]
    tracks.check_frames(found, 10, path)
    with pytest.raises(ValueError, match=expected):
        tracks.check_frames(found, 9, path)


def test_boxes_outside_the_picture_are_named_by_frame(path):
    """Of 12 pixels in width "long" leaves the picture on frame 12, had it one; 8 wide, on 8."""
    assert len(tracks.of(path, 10, 20, 12)) == 3
    expected = r"a\.json: tracklet 'long', frame 8: expected a box .* 20x8 .*\[8\.0, 0\.0, 18\.0"
    with pytest.raises(ValueError, match=expected):
        tracks.of(path, 10, 20, 8)


def test_gaps_and_pixels_from_1(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1,3,1,1,10,20,1,-1,-1,-1\n3,3,5,1,10,20,1,-1,-1,-1\n")
    with pytest.raises(ValueError, match="frame 1 is missing"):
        tracks.of(path, 3, 20, 30)
    (found,) = tracks.of(path, 3, 20, 30, interpolate=True)
    assert found.boxes.tolist() == [[0, 0, 10, 20], [2, 0, 12, 20], [4, 0, 14, 20]]
    (found,) = tracks.of(path, 3, 20, 30, interpolate=True, one_based=False)
    assert found.boxes[0].tolist() == [1, 1, 11, 21]
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        tracks.of(tmp_path / "b.txt", 3, 20, 30)


def test_boxes_in_pictures_of_another_size():
    box = np.float32([[10, 20, 30.5, 60], [-8, 0, 16, 1]])
    found = tracks.resized(Tracklet("x", np.array([3, 4]), box), (320, 240), (160, 480))
    assert found.boxes.tolist() == [[5, 40, 15.25, 120], [-4, 0, 8, 2]]
    assert found.boxes.dtype == np.float32
    assert found.individual == "x" and found.frames.tolist() == [3, 4]
    with pytest.raises(ValueError, match=r"from 1 pixel on, got \(320, 0\) and \(160, 480\)"):
        tracks.resized(found, (320, 0), (160, 480))
