"""What tasks make of small videos: a grey texture that moves two pixels a frame to the right."""

import dataclasses
import json
import tracemalloc

import av
import cv2
import numpy as np
import pytest

from common import flow
from common.flow import encoding, stamp
from common.jobs.pictures import Pictures
from common.jobs.task import Item
from common.prepare.tasks import ArrayTask, FlowTask, FrameTask, PreviewTask
from common.preprocessing import frames
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT
from common.testing.tasks import run_one
from common.video import frame_files, layouts, preview, video_clips

HEIGHT, WIDTH, STEP = 48, 64, 2
QUICK = flow.TVL1Params(warps=1, scales=1)


def _video(path, count, rate=25):
    """Lossless; returns the frames [T, H, W, 3]."""
    noise = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH + STEP * count))
    smooth = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 3)
    canvas = cv2.normalize(smooth, None, 20, 235, cv2.NORM_MINMAX).astype(np.uint8)
    shown = [canvas[:, (left := STEP * (count - k)) : left + WIDTH] for k in range(count)]
    clip = np.repeat(np.stack(shown)[..., None], 3, -1)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "gray"
        for picture in clip:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return clip


def _run(task, item, output):
    report = run_one(task, item, output)
    assert report.status == 0, report.text()
    return report.counts


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    """An item of 20 frames at 50 a second, and the frames."""
    path = tmp_path_factory.mktemp("videos") / "fast.mkv"
    return Item("class/fast", path), _video(path, 20, rate=50)


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """An item of 12 frames at 25 a second, whose name has a dot."""
    path = tmp_path_factory.mktemp("videos") / "a.b.mkv"
    _video(path, 12)
    return Item("a.b", path)


@pytest.fixture(scope="module")
def extracted(fast, tmp_path_factory):
    """Frames that `extract_frames` makes at 25 a second with a short side of 40."""
    output = tmp_path_factory.mktemp("frames")
    _run(FrameTask(Pictures(fps=25, short_side=40)), fast[0], output)
    return Item("a", output / "class/fast")


@pytest.fixture(scope="module")
def others(fast, tmp_path_factory):
    """Frames of another program, 12 a second according to the annotation."""
    folder = tmp_path_factory.mktemp("others") / "a"
    frame_files.write_rgb(folder, "a", fast[1])
    return Item("a", folder, fps=12)


def test_pictures_of_a_video(fast):
    item, clip = fast
    span = dataclasses.replace(item, start=0.1, end=0.2)
    for taken, expected in (
        (Pictures().of(item), clip),
        (Pictures(fps=25).of(item), clip[::2]),
        (Pictures(fps=25).of(item, 3), clip[:6:2]),
        (Pictures().of(span), clip[5:10]),
        (Pictures(short_side=24).of(item), np.rint(frames.resize_short_side(clip, 24))),
    ):
        found = np.stack(list(taken))
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)


def test_pictures_of_a_folder(extracted, others):
    every = np.stack(list(Pictures(fps=25).of(extracted)))
    assert every.shape == (10, 40, 53, 3)
    assert len(list(Pictures(fps=5).of(extracted))) == 10  # a rate is for videos
    # Of 25, which `extract_frames` has noted; what is said goes before what is noted.
    for taken in (Pictures(folder_fps=12.5), Pictures(folder_fps=5, source_fps=10)):
        np.testing.assert_array_equal(list(taken.of(extracted)), every[::2])
    assert len(list(Pictures(folder_fps=6).of(others))) == 10
    unknown = dataclasses.replace(others, fps=None)
    with pytest.raises(ValueError, match=r"a: a folder of images has no times.*source_fps"):
        list(Pictures(folder_fps=12).of(unknown))


@pytest.mark.parametrize(
    ("values", "source", "expected"),
    [
        ({}, "video", (None, None, True)),
        ({"fps": 12, "short_side": 9, "square_pixels": False}, "video", (12, 9, False)),
        ({"fps": 12}, "extracted", (25, 40, True)),
        ({"fps": 12, "folder_fps": 6}, "extracted", (6, 40, True)),
        ({"source_fps": 30, "short_side": 20}, "extracted", (30, 20, True)),
        ({"fps": 25}, "others", (12, None, None)),
        ({"source_fps": 30}, "others", (30, None, None)),
    ],
)
def test_the_rate_and_the_size_that_come_out(fast, extracted, others, values, source, expected):
    item = {"video": fast[0], "extracted": extracted, "others": others}[source]
    item = item if source == "others" else dataclasses.replace(item, fps=12)  # is not asked
    assert tuple(Pictures(**values).stamp(item).values()) == expected


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        (Pictures, {"fps": 0}, "fps must be above 0 and at most 1000. Received: 0"),
        (Pictures, {"fps": -1.0}, "Received: -1.0"),
        (Pictures, {"fps": float("nan")}, "Received: nan"),
        (Pictures, {"folder_fps": 1001}, "folder_fps must be"),
        (Pictures, {"source_fps": 0}, "source_fps must be"),
        (Pictures, {"short_side": 1}, "short_side must be at least 2 pixels. Received: 1"),
        (FlowTask, {"bound": 0}, "bound must be above 0. Received: 0"),
        (FlowTask, {"bound": float("inf")}, "bound must be above 0. Received: inf"),
        (FlowTask, {"last": "keep"}, "last must be one of drop, repeat. Received: 'keep'"),
    ],
)
def test_values_that_make_no_sense(kind, values, text):
    with pytest.raises(ValueError, match=text):
        kind(**values)


def test_frames(fast, tmp_path):
    item, clip = fast
    assert _run(FrameTask(), item, tmp_path) == {"frames": 20}
    assert (tmp_path / "class/fast/n_frames").read_bytes() == b"20"
    made = frame_files.open_rgb(tmp_path, item.name).read(range(20))
    assert np.abs(made.astype(int) - clip).mean() < 1
    assert json.loads((tmp_path / "class/fast/.done").read_text())["parameters"] == {
        "layout": "image",
        "quality": 95,
        "pictures": {
            "fps": None, "folder_fps": None, "source_fps": None, "short_side": None,
            "square_pixels": True,
        },
    }  # fmt: skip


def test_flow(fast, tmp_path):
    task = FlowTask(Pictures(fps=25, short_side=48))
    assert _run(task, fast[0], tmp_path) == {"flows": 10}
    clip = frame_files.open_flow(tmp_path, "class/fast")
    assert clip.stamp == stamp.FlowStamp(
        engine="numba", parameters=dataclasses.asdict(task.params), fps=25, short_side=48,
        square_pixels=True, first_index=1, quality=95,
    )  # fmt: skip
    flow = clip.read(range(10)) * encoding.BOUND
    assert np.median(flow[..., 0]) == pytest.approx(2 * STEP, abs=0.2)
    assert abs(np.median(flow[..., 1])) < 0.2
    np.testing.assert_array_equal(flow[9], flow[8])  # the last frame has no next one


def test_flow_of_every_frame_without_the_last(fast, tmp_path):
    task = FlowTask(Pictures(), layout="uv", last="drop", bound=10)
    assert _run(task, fast[0], tmp_path) == {"flows": 19}
    clip = frame_files.open_flow(tmp_path, "class/fast")
    assert (clip.layout.name, clip.stamp.fps, clip.stamp.short_side) == ("uv", None, None)
    assert np.median(clip.read(range(19))[..., 0]) * encoding.BOUND == pytest.approx(STEP, abs=0.2)
    for part in "uv":
        assert layouts.read_n_frames(tmp_path / part / "class/fast") == 19


def test_flow_of_frames_says_how_they_were_made(extracted, tmp_path):
    task = FlowTask(Pictures(fps=5, folder_fps=12.5, short_side=24))
    assert _run(task, extracted, tmp_path) == {"flows": 5}
    made = stamp.read(tmp_path / "a")
    assert (made.fps, made.short_side, made.square_pixels) == (12.5, 24, True)


def test_the_rate_of_the_annotation(others, tmp_path):
    task = ArrayTask(streams=("rgb",))
    assert _run(task, others, tmp_path) == {"frames": 42}  # 20 of 12 a second, at 25
    assert run_one(task, others, tmp_path).skipped == ("a",)
    assert _run(task, dataclasses.replace(others, fps=25), tmp_path) == {"frames": 20}


@pytest.mark.parametrize("task", [FlowTask(layout="npy"), FlowTask(layout="npz"), ArrayTask()])
def test_names_as_long_as_they_may_be(fast, tmp_path, task):
    item = Item("x" * (255 - len("_flow.json")), fast[0].source)
    _run(dataclasses.replace(task, params=QUICK), item, tmp_path)


def test_arrays_are_what_a_network_is_fed(slow, tmp_path):
    task = ArrayTask()
    assert _run(task, slow, tmp_path) == {"frames": 12}
    for stream, contract in (("rgb", RGB_CONTRACT), ("flow", FLOW_CONTRACT)):
        array = np.load(tmp_path / f"a.b_{stream}.npy")
        expected = video_clips.clip_from_video(slow.source, contract, flow_engine="numba")
        assert array.dtype == np.float32
        assert array.shape == (1, 12, 224, 224, 3 if stream == "rgb" else 2)
        np.testing.assert_array_equal(array, expected)
        given = video_clips.clip_from_video(tmp_path / f"a.b_{stream}.npy", contract)
        np.testing.assert_array_equal(given, expected)
    assert stamp.read(tmp_path / "a.b_flow.npy") == stamp.FlowStamp(
        engine="numba", parameters=dataclasses.asdict(task.params), fps=25, short_side=256,
        square_pixels=True, form="npy",
    )  # fmt: skip


def test_one_stream_of_a_span(fast, tmp_path):
    item, clip = fast
    span = dataclasses.replace(item, start=0.1, end=0.3)
    assert _run(ArrayTask(streams=("rgb",)), span, tmp_path) == {"frames": 5}
    names = sorted(path.name for path in (tmp_path / "class").iterdir())
    assert names == [".fast_rgb.npy.done", "fast_rgb.npy"]
    shown = list(video_clips.rgb_of_frames(clip[5:15:2], RGB_CONTRACT))
    np.testing.assert_array_equal(np.load(tmp_path / "class/fast_rgb.npy")[0], shown)
    few = ArrayTask(streams=("rgb",), max_frames=3)
    assert _run(few, item, tmp_path / "few") == {"frames": 3}


def test_the_engine_of_flow_is_no_matter_of_rgb():
    rgb, flow = ArrayTask(streams=("rgb",)), ArrayTask(streams=("flow",))
    assert dataclasses.replace(rgb, engine="torch").parameters() == rgb.parameters()
    assert dataclasses.replace(flow, engine="torch").parameters() != flow.parameters()
    assert ArrayTask().parameters() == flow.parameters()
    assert {"engine", "params", "streams"} & rgb.parameters().keys() == set()


def test_arrays_are_streamed(tmp_path):
    _video(tmp_path / "long.mkv", 80)
    target = tmp_path / "long_rgb.npy"
    tracemalloc.start()
    try:
        ArrayTask(streams=("rgb",)).make(Item("long", tmp_path / "long.mkv"), [target])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert target.stat().st_size > 48e6
    assert peak < 16e6


def test_previews(slow, tmp_path):
    assert _run(PreviewTask(max_frames=10), slow, tmp_path) == {"frames": 10}
    clips = [
        video_clips.clip_from_video(slow.source, contract, 10, flow_engine="numba")[0]
        for contract in (RGB_CONTRACT, FLOW_CONTRACT)
    ]
    rgb, flow = (preview.to_pictures(clip) for clip in clips)
    for name, expected in (("rgb", rgb), ("flow", flow)):
        with av.open(str(tmp_path / f"a.b_{name}.gif")) as file:
            shown = np.stack([each.to_ndarray(format="rgb24") for each in file.decode(video=0)])
        assert shown.shape == (10, 224, 224, 3)
        assert np.abs(shown.astype(int) - expected).mean() < 4  # a palette has 256 colours
    # To the right by 2 pixels of 48, which are 10.7 of 256: more than red can show.
    assert np.median(flow[..., 0]) == 255
    assert np.median(flow[..., 1]) == pytest.approx(127.5, abs=3)
    sheet = cv2.cvtColor(cv2.imread(str(tmp_path / "a.b_sheet.png")), cv2.COLOR_BGR2RGB)
    moments = np.linspace(0, 9, 8).round().astype(int)
    rows = [np.concatenate(list(part[moments]), axis=1) for part in (rgb, flow)]
    np.testing.assert_array_equal(sheet, np.concatenate(rows))
