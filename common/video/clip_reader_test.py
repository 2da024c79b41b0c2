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
from common.preprocessing import contracts, frames, resizing
from common.testing.films import Film
from common.video import frame_files
from common.video.clip_reader import ClipReader, ComputedFlow, Source, frame_rate

RECORD = Record("a/b", "videos/b.avi", "training", (0,))
STAMP = FlowStamp("opencv", {}, fps=12.5)


def prepare(root, name="a/b", count=6, layout="image"):
    """Frames that jpg hardly changes, each of its own grey."""
    pictures = np.stack([np.full((24, 32, 3), 40 * k, np.uint8) for k in range(count)])
    frame_files.write_rgb(root / name, name, pictures, layout)


def test_frames_are_bytes_and_as_stored(tmp_path):
    prepare(tmp_path)
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
    prepare(tmp_path, "20bn/7", layout="something_v1")
    record = Record("7", "20bn/7", "training", (0,))
    found = ClipReader(Source(rgb=tmp_path)).read(record, [2], "rgb")
    assert found[0, 0, 0].tolist() == [80] * 3


def test_flow_is_in_units_of_its_bound(tmp_path):
    moved = np.broadcast_to(np.float32([5, -10]), (3, 8, 9, 2)).copy()
    frame_files.write_flow([tmp_path / "a/b"], "a/b", moved, STAMP)
    clip = ClipReader(Source(flow=tmp_path)).open(RECORD, "flow")
    assert len(clip) == 4  # the last is repeated
    found = clip.read([0, 3])
    assert (found.dtype, found.shape) == (np.float32, (2, 8, 9, 2))
    np.testing.assert_allclose(found[1, 2, 2], [0.25, -0.5], atol=1 / 255)
    assert frame_rate(RECORD, clip) == 12.5
    assert clip.stamp == FlowStamp("opencv", {}, fps=12.5, first_index=1, quality=95)


def test_arrays_are_rounded_to_bytes(tmp_path):
    every = np.arange(256, dtype=np.float32)[:192].reshape(1, 8, 8, 3) * 2 / 255 - 1
    frame_files.write_npy(tmp_path / "a/b_rgb.npy", np.concatenate([every, -every]))
    clip = ClipReader(Source(rgb=tmp_path)).open(RECORD, "rgb")
    np.testing.assert_array_equal(clip.read([0, 1])[0].ravel(), np.arange(192))
    np.testing.assert_array_equal(list(clip)[1].ravel(), 255 - np.arange(192))
    assert frame_rate(RECORD, clip) == 25
    with pytest.raises(ValueError, match=r"b_rgb\.npy: expected indices from 0 to 1. Received: 2"):
        clip.read([2])


@pytest.mark.parametrize("path", ["b.avi", "b.mp4", "b.webm"])
@pytest.mark.parametrize(("fps", "span"), [(25.0, (None, None)), (30.0, (0.3, 2.1))])
def test_a_window_of_a_video_is_what_extracting_all_gives(tmp_path, monkeypatch, path, fps, span):
    Film(path, 70, (1, -1), fps=Fraction(30000, 1001)).write(tmp_path)
    record = Record("b", path, "training", (0,), start=span[0], end=span[1])
    reader = ClipReader(Source(rgb=tmp_path), contracts.InputContract(fps=fps))
    every = list(video.read_frames(tmp_path / path, fps, span[0] or 0, span[1]))
    assert reader.count(record, "rgb") == len(every)
    for window in ([0], [len(every) - 1, len(every) - 2], [3, 5, 7, 5]):
        found = reader.read(record, window, "rgb")
        np.testing.assert_array_equal(found, np.stack([every[index] for index in window]))
    clip = reader.open(record, "rgb")
    small = np.stack([resizing.resize_short_side(each, 20) for each in every[3:5]])
    np.testing.assert_array_equal(clip.read([3, 4], short_side=20), small)
    assert frame_rate(record, clip) == fps
    for outside, missing in (([len(every) - 1, len(every)], len(every)), ([-1, 0], -1)):
        with pytest.raises(ValueError, match=f"has no frame {missing} at {fps:g} a second"):
            clip.read(outside)
    monkeypatch.setattr(video.Video, "timed", None)  # it is counted once
    copy = pickle.loads(pickle.dumps(reader))  # noqa: S301
    assert reader.count(record, "rgb") == copy.count(record, "rgb") == len(every)


def test_a_video_that_is_cut_short(tmp_path):
    Film("b.avi", 60, (1, 0)).write(tmp_path)
    data = (tmp_path / "b.avi").read_bytes()
    (tmp_path / "b.avi").write_bytes(data[: len(data) // 2])
    with pytest.raises(video.VideoError, match=r"b\.avi"):
        ClipReader(Source(rgb=tmp_path)).count(Record("b", "b.avi", "training"), "rgb")


@pytest.mark.parametrize("form", ["frames", "video"])
def test_flow_is_computed_if_none_is_there(tmp_path, form):
    Film("b.avi", 5, (1, 0)).write(tmp_path)
    record = Record("b", "b.avi", "training")
    made = FlowStamp("numba", dataclasses.asdict(flow.TVL1Params()), short_side=32)
    if form == "frames":
        frame_files.write_rgb(tmp_path / "b", "b", list(video.read_frames(tmp_path / "b.avi")))
        (tmp_path / "b.avi").unlink()
    else:
        made = dataclasses.replace(made, fps=25, square_pixels=True)
    every = ClipReader(Source(rgb=tmp_path)).read(record, range(5), "rgb")
    small = [np.rint(frames.resize_short_side(each[None], 32))[0] for each in every]
    flows = list(flow.flows(map(frames.to_grey, small), engine="numba"))
    expected = encoding.to_unit(np.stack([*flows, flows[-1]]))
    contract = contracts.InputContract(short_side=32)
    clip = ClipReader(Source(flow=tmp_path), contract).open(record, "flow")
    assert isinstance(clip, ComputedFlow)
    assert len(clip) == 5
    np.testing.assert_array_equal(clip.read([4, 0, 2, 3]), expected[[4, 0, 2, 3]])
    np.testing.assert_array_equal(list(clip), expected)
    assert expected.shape[1:] == (32, 43, 2)
    assert clip.stamp == made
    stamp.check_same({"computed": clip.stamp, "extracted": made})


def test_no_flow_of_one_frame(tmp_path):
    prepare(tmp_path, count=1)
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
    prepare(tmp_path)
    record = Record("a/b", "b", "training", actions=(Action(0, 0, 1),), **fields)
    clip = ClipReader(Source(rgb=tmp_path)).open(record, "rgb")
    assert frame_rate(record, clip) == rate
    with pytest.raises(ValueError, match="the rate of its 6 frames is needed"):
        frame_rate(RECORD, clip)
