"""Where clips are found, and what is read: prepared files, arrays and videos give the same."""

import dataclasses
import pickle
from fractions import Fraction

import numpy as np
import pytest

from common import flow, video
from common.annotations import Action, Record
from common.flow import encoding, stamp
from common.flow.stamp import FlowStamp
from common.jobs import runs
from common.jobs.task import Item
from common.prepare.tasks import FlowTask
from common.preprocessing import contracts, frames
from common.preprocessing.contracts import RGB_CONTRACT
from common.testing.films import Film
from common.video import storing
from common.video.clip_reader import (
    ClipReader,
    ComputedFlow,
    Source,
    VideoClip,
    flow_stamp,
    frame_rate,
)

RECORD = Record("a/b", "videos/b.avi", "training", (0,))
STAMP = FlowStamp("opencv", {}, fps=12.5)


def pictures(count=6, size=(24, 32)):
    """Frames that jpg hardly changes, each of its own grey."""
    return np.stack([np.full((*size, 3), 40 * k, np.uint8) for k in range(count)])


def test_frames_are_bytes_and_as_stored(tmp_path):
    storing.write_rgb(tmp_path / "a/b", "a/b", pictures())
    reader = ClipReader(Source(rgb=tmp_path))
    assert reader.count(RECORD, "rgb") == 6
    found = reader.read(RECORD, [4, 0, 4], "rgb")
    assert found.dtype == np.uint8
    assert found[:, 3, 5].tolist() == [[160] * 3, [0] * 3, [160] * 3]
    with pytest.raises(ValueError, match="no folder with the flow of the data set was given"):
        reader.count(RECORD, "flow")
    with pytest.raises(FileNotFoundError, match=r"has nothing of the clip a/other. Looked for "):
        reader.count(Record("a/other", "videos/other.avi", "training"), "rgb")


def test_frames_at_the_record_s_path(tmp_path):
    """Something-Something's are where its videos would be."""
    storing.write_rgb(tmp_path / "20bn/7", "20bn/7", pictures(), "something_v1")
    reader = ClipReader(Source(rgb=tmp_path))
    record = Record("7", "20bn/7", "training", (0,))
    assert reader.read(record, [2], "rgb")[0, 0, 0].tolist() == [80] * 3


def test_flow_is_in_units_of_its_bound(tmp_path):
    moved = np.broadcast_to(np.float32([5, -10]), (3, 8, 9, 2)).copy()
    storing.write_flow([tmp_path / "a/b"], "a/b", moved, STAMP)
    reader = ClipReader(Source(flow=tmp_path))
    assert reader.count(RECORD, "flow") == 4  # the last is repeated
    found = reader.read(RECORD, [0, 3], "flow")
    assert (found.dtype, found.shape) == (np.float32, (2, 8, 9, 2))
    np.testing.assert_allclose(found[1, 2, 2], [0.25, -0.5], atol=1 / 255)
    clip = reader.open(RECORD, "flow")
    assert frame_rate(RECORD, clip) == 12.5
    assert flow_stamp(clip) == FlowStamp("opencv", {}, fps=12.5, first_index=1, quality=95)


def test_arrays_are_rounded_to_bytes(tmp_path):
    every = np.arange(256, dtype=np.float32)[:192].reshape(1, 8, 8, 3) * 2 / 255 - 1
    storing.write_npy(tmp_path / "a/b_rgb.npy", np.concatenate([every, -every]))
    reader = ClipReader(Source(rgb=tmp_path))
    found = reader.read(RECORD, [0, 1], "rgb")
    np.testing.assert_array_equal(found[0].ravel(), np.arange(192))
    np.testing.assert_array_equal(found[1].ravel(), 255 - np.arange(192))
    assert frame_rate(RECORD, reader.open(RECORD, "rgb")) == 25
    with pytest.raises(ValueError, match="has frames 0 to 1"):
        reader.read(RECORD, [2], "rgb")


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.full((1, 2, 8, 8, 3), 1.5, np.float32), r"values in \[-1, 1\]. Received: 1.5 to 1.5"),
        (np.zeros((1, 2, 8, 8, 2), np.float32), r"\[1, T, H, W, 3\]. Received: \[1, 2, 8, 8, 2\]"),
        (np.zeros((2, 2, 8, 8, 3), np.float32), r"Received: \[2, 2, 8, 8, 3\]"),
        (np.array([None]), "expected a .npy file with numbers"),
    ],
)
def test_arrays_of_another_kind(tmp_path, array, text):
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a/b_rgb.npy", array)
    with pytest.raises(ValueError, match=text):
        ClipReader(Source(rgb=tmp_path)).read(RECORD, [0], "rgb")


@pytest.mark.parametrize("path", ["b.avi", "b.mp4", "b.webm"])
@pytest.mark.parametrize(("fps", "span"), [(25.0, (None, None)), (30.0, (0.3, 2.1)), (7.5, (0, 1))])
def test_a_window_of_a_video_is_what_extracting_all_gives(tmp_path, path, fps, span):
    Film(path, 70, (1, -1), fps=Fraction(30000, 1001)).write(tmp_path)
    contract = contracts.InputContract(fps=fps)
    record = Record("b", path, "training", (0,), start=span[0], end=span[1])
    reader = ClipReader(Source(rgb=tmp_path), contract)
    every = list(video.read_frames(tmp_path / path, fps, span[0] or 0, span[1]))
    assert reader.count(record, "rgb") == len(every)
    for window in ([0], [len(every) - 1, len(every) - 2], [3, 5, 7, 5]):
        found = reader.read(record, window, "rgb")
        np.testing.assert_array_equal(found, np.stack([every[index] for index in window]))
    clip = reader.open(record, "rgb")
    assert frame_rate(record, clip) == fps
    with pytest.raises(ValueError, match=f"has no frame {len(every)} at {fps:g} a second"):
        clip.read([len(every) - 1, len(every)])


def test_a_window_of_a_real_video(real_data):
    path = real_data("samples/apply_eye_makeup.avi")
    every = list(video.read_frames(path, 25, 1, 3))
    record = Record("b", path.name, "training", (0,), start=1.0, end=3.0)
    reader = ClipReader(Source(rgb=path.parent))
    assert reader.count(record, "rgb") == len(every) == 50
    found = reader.read(record, range(40, 50, 3), "rgb")
    np.testing.assert_array_equal(found, np.stack(every[40:50:3]))


def test_a_beginning_that_no_short_fraction_is(tmp_path):
    """1/99991 s and 3/25 s more has too large a denominator: it is read from the beginning."""
    Film("b.mp4", 30, (1, 0)).write(tmp_path)
    start = Fraction(1, 99991)
    every = list(video.read_frames(tmp_path / "b.mp4", 25, start))
    clip = VideoClip(tmp_path / "b.mp4", start, None, 25, {})
    np.testing.assert_array_equal(clip.read([4, 3]), np.stack([every[4], every[3]]))


def test_a_video_is_counted_once(tmp_path, monkeypatch):
    Film("b.avi", 9, (1, 0)).write(tmp_path)
    reader = ClipReader(Source(rgb=tmp_path))
    record = Record("b", "b.avi", "training", (0,))
    assert reader.count(record, "rgb") == 9
    monkeypatch.setattr(video, "read_frames", None)
    assert reader.count(record, "rgb") == pickle.loads(pickle.dumps(reader)).count(record, "rgb")  # noqa: S301


def test_a_video_that_is_cut_short(tmp_path):
    Film("b.avi", 60, (1, 0)).write(tmp_path)
    data = (tmp_path / "b.avi").read_bytes()
    (tmp_path / "b.avi").write_bytes(data[: len(data) // 2])
    with pytest.raises(video.VideoError, match=r"b\.avi"):
        ClipReader(Source(rgb=tmp_path)).count(Record("b", "b.avi", "training"), "rgb")


@pytest.mark.parametrize("form", ["frames", "video"])
def test_flow_is_computed_where_none_is(tmp_path, form):
    contract = contracts.InputContract(short_side=32)
    film = Film("b.avi", 5, (1, 0))
    film.write(tmp_path)
    every = list(video.read_frames(tmp_path / "b.avi"))
    if form == "frames":
        (tmp_path / "b.avi").unlink()
        storing.write_rgb(tmp_path / "b", "b", every)
        every = ClipReader(Source(rgb=tmp_path)).read(
            Record("b", "b.avi", "training"), range(5), "rgb"
        )
    record = Record("b", "b.avi", "training")
    reader = ClipReader(Source(flow=tmp_path), contract)
    small = [np.rint(frames.resize_short_side(each[None], 32))[0] for each in every]
    expected = list(flow.flows(map(frames.to_grey, small), engine="numba"))
    assert reader.count(record, "flow") == 5
    found = reader.read(record, [4, 0, 2, 3], "flow")
    expected = np.stack([expected[k] for k in (3, 0, 2, 3)])
    np.testing.assert_array_equal(found, encoding.to_unit(expected))
    assert found.shape[1:] == (32, 43, 2)
    clip = reader.open(record, "flow")
    assert isinstance(clip, ComputedFlow)
    made = flow_stamp(clip)
    assert (made.engine, made.short_side, made.parameters["warps"]) == ("numba", 32, 5)
    assert (made.fps, made.square_pixels) == ((25, True) if form == "video" else (None, None))


def test_computed_flow_of_a_video_has_the_stamp_of_extracted(tmp_path):
    Film("b.avi", 3, (1, 0)).write(tmp_path)
    settings = runs.Settings(tmp_path / "flow", workers=0)
    assert runs.run(FlowTask(), [Item("b", tmp_path / "b.avi")], settings).status == 0
    record = Record("b", "b.avi", "training")
    extracted = flow_stamp(ClipReader(Source(flow=tmp_path / "flow")).open(record, "flow"))
    clip = ClipReader(Source(flow=tmp_path), contracts.FLOW_CONTRACT).open(record, "flow")
    assert isinstance(clip, ComputedFlow)
    stored = {name: getattr(extracted, name) for name in ("form", "first_index", "quality")}
    assert dataclasses.replace(flow_stamp(clip), **stored) == extracted
    stamp.check_same({"computed": flow_stamp(clip), "extracted": extracted})


def test_no_flow_of_one_frame(tmp_path):
    storing.write_rgb(tmp_path / "a/b", "a/b", pictures(1))
    with pytest.raises(ValueError, match="has 1 frames, too few for flow 0"):
        ClipReader(Source(flow=tmp_path)).read(RECORD, [0], "flow")


@pytest.mark.parametrize(
    ("fields", "rate"),
    [
        ({"fps": 12.0, "frames": 6}, 12.0),
        ({"unit": "frames", "frames": 6}, None),
        ({"unit": "frames", "frames": 7, "fps": 30.0, "duration": 0.25}, 24.0),
        ({"frames": 6, "duration": 0.1}, 60.0),
        ({"duration": 0.7}, 6 / 0.7),
    ],
)
def test_the_rate_of_frames_that_do_not_say_theirs(tmp_path, fields, rate):
    storing.write_rgb(tmp_path / "a/b", "a/b", pictures())
    record = Record("a/b", "b", "training", actions=(Action(0, 0, 1),), **fields)
    clip = ClipReader(Source(rgb=tmp_path)).open(record, "rgb")
    assert frame_rate(record, clip) == rate


def test_no_way_to_know_a_rate(tmp_path):
    storing.write_rgb(tmp_path / "a/b", "a/b", pictures())
    clip = ClipReader(Source(rgb=tmp_path), RGB_CONTRACT).open(RECORD, "rgb")
    with pytest.raises(ValueError, match="the rate of its 6 frames is needed"):
        frame_rate(RECORD, clip)
