"""Where clips are found, and what is read: prepared files, arrays and videos give the same."""

import dataclasses
import pickle
from fractions import Fraction

import numpy as np
import pytest

from common import flow, video
from common.annotations import Action, Record
from common.flow import encoding
from common.flow.stamp import FlowStamp
from common.preprocessing import contracts, frames
from common.preprocessing.frames import resize_picture_short_side
from common.testing.films import Film
from common.video import frame_files
from common.video.clip_reader import ClipReader, ComputedFlow, Source, frame_rate

RECORD = Record("a/b", "videos/b.avi", "training", (0,))


def prepare(root, name="a/b", count=6, layout="image"):
    """Frames that jpg hardly changes, each of its own grey."""
    pictures = np.stack([np.full((24, 32, 3), 40 * k, np.uint8) for k in range(count)])
    frame_files.write_rgb(root / name, name, pictures, layout)


def test_prepared_frames(tmp_path):
    prepare(tmp_path)
    reader = ClipReader(Source(rgb=tmp_path))
    assert len(reader.open(RECORD, "rgb")) == 6
    found = reader.read(RECORD, [4, 0, 4], "rgb")
    assert found[:, 3, 5].tolist() == [[160] * 3, [0] * 3, [160] * 3]
    with pytest.raises(ValueError, match="no folder with the flow of the data set was given"):
        reader.open(RECORD, "flow")
    for stream in ("rgb", "flow"):
        with pytest.raises(FileNotFoundError, match=r"nothing of the clip a/other. Looked for "):
            ClipReader(Source(tmp_path, tmp_path)).open(Record("a/other", "b.avi", ""), stream)
    # Something-Something's are where its videos would be.
    prepare(tmp_path, "20bn/7", layout="something_v1")
    assert reader.read(Record("7", "20bn/7", ""), [2], "rgb")[0, 0, 0].tolist() == [80] * 3


def test_flow_and_arrays(tmp_path):
    moved = np.broadcast_to(np.float32([5, -10]), (3, 8, 9, 2)).copy()
    frame_files.write_flow([tmp_path / "a/b"], "a/b", moved, FlowStamp("opencv", {}, fps=12.5))
    clip = ClipReader(Source(flow=tmp_path)).open(RECORD, "flow")
    assert len(clip) == 4  # the last is repeated
    np.testing.assert_allclose(clip.read([0, 3])[1, 2, 2], [0.25, -0.5], atol=1 / 255)
    assert frame_rate(RECORD, clip) == 12.5
    frame_files.write_npy(tmp_path / "a/b_rgb.npy", np.zeros((3, 8, 8, 3), np.float32))
    clip = ClipReader(Source(rgb=tmp_path)).open(RECORD, "rgb")
    assert (len(clip), frame_rate(RECORD, clip)) == (3, 25)


@pytest.mark.parametrize("path", ["b.avi", "b.mp4"])
@pytest.mark.parametrize(("fps", "span"), [(25.0, (None, None)), (30.0, (0.3, 2.1))])
def test_a_window_of_a_video_is_what_extracting_all_gives(tmp_path, path, fps, span):
    Film(path, 70, (1, -1), fps=Fraction(30000, 1001)).write(tmp_path)
    record = Record("b", path, "training", (0,), start=span[0], end=span[1])
    reader = ClipReader(Source(rgb=tmp_path), contracts.InputContract(fps=fps))
    every = list(video.read_frames(tmp_path / path, fps, span[0] or 0, span[1]))
    assert len(pickle.loads(pickle.dumps(reader)).open(record, "rgb")) == len(every)  # noqa: S301
    for window in ([len(every) - 1, len(every) - 2], [3, 5, 7, 5]):
        found = reader.read(record, window, "rgb")
        np.testing.assert_array_equal(found, np.stack([every[index] for index in window]))
    assert frame_rate(record, reader.open(record, "rgb")) == fps


@pytest.mark.parametrize("form", ["frames", "video"])
def test_flow_is_computed_if_none_is_there(tmp_path, form):
    Film("b.avi", 4, (1, 0)).write(tmp_path)
    record = Record("b", "b.avi", "training")
    made = FlowStamp("numba", dataclasses.asdict(flow.TVL1Params()), short_side=24)
    if form == "frames":
        frame_files.write_rgb(tmp_path / "b", "b", video.read_frames(tmp_path / "b.avi"))
    else:
        made = dataclasses.replace(made, fps=25, square_pixels=True)
    every = ClipReader(Source(rgb=tmp_path)).read(record, range(4), "rgb")
    greys = (frames.to_grey(resize_picture_short_side(each, 24)) for each in every)
    flows = list(flow.flows(greys, engine="numba"))
    expected = encoding.to_unit(np.stack([*flows, flows[-1]]))
    contract = contracts.InputContract(short_side=24)
    clip = ClipReader(Source(flow=tmp_path), contract).open(record, "flow")
    assert isinstance(clip, ComputedFlow)
    np.testing.assert_array_equal(clip.read([3, 0, 2]), expected[[3, 0, 2]])
    np.testing.assert_array_equal(list(clip), expected)
    assert clip.stamp == made


def test_no_flow_of_one_frame(tmp_path):
    prepare(tmp_path, count=1)
    with pytest.raises(ValueError, match=r"at least two frames\. Received: 1"):
        ClipReader(Source(flow=tmp_path)).read(RECORD, [0], "flow")


@pytest.mark.parametrize(
    ("fields", "rate"),
    [
        ({"fps": 12.0, "frames": 6}, 12.0),
        ({"unit": "frames", "frames": 6}, None),
        ({"unit": "frames", "frames": 7, "fps": 30.0, "duration": 0.25}, 24.0),
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
