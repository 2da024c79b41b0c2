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
from common.jobs import runs
from common.jobs.pictures import Pictures
from common.jobs.task import Item
from common.prepare.tasks import ArrayTask, FlowTask, FrameTask, PreviewTask
from common.preprocessing import frames
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def fast(folder):
    """An item of 20 frames at 50 a second, and the frames."""
    clip = _video(folder / "fast.mkv", 20, rate=50)
    return Item("class/fast", folder / "fast.mkv"), clip


def _run(task, item, output):
    report = runs.run(task, [item], runs.Settings(output, workers=0))
    assert report.status == 0, report.text()
    return report.counts


@pytest.fixture(scope="module")
def extracted(fast, tmp_path_factory):
    """The folder that `extract_frames` makes with 25 frames a second and a short side of 40."""
    output = tmp_path_factory.mktemp("frames")
    _run(FrameTask(Pictures(fps=25, short_side=40)), fast[0], output)
    return output / "class/fast"


# Pictures


def test_pictures_at_a_rate_and_a_size(fast):
    item, clip = fast
    np.testing.assert_array_equal(list(Pictures().of(item)), clip)
    np.testing.assert_array_equal(list(Pictures(fps=25).of(item)), clip[::2])
    np.testing.assert_array_equal(list(Pictures(fps=25).of(item, 3)), clip[:6:2])
    span = dataclasses.replace(item, start=0.1, end=0.2)
    np.testing.assert_array_equal(list(Pictures().of(span)), clip[5:10])
    small = np.stack(list(Pictures(short_side=24).of(item)))
    assert small.dtype == np.uint8
    np.testing.assert_array_equal(small, np.rint(frames.resize_short_side(clip, 24)))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"fps": 0}, "fps must be above 0 and at most 1000. Received: 0"),
        ({"fps": -1.0}, "Received: -1.0"),
        ({"fps": 1e9}, "Received: 1000000000.0"),
        ({"fps": float("nan")}, "Received: nan"),
        ({"folder_fps": 1001}, "folder_fps must be"),
        ({"source_fps": 0}, "source_fps must be"),
        ({"short_side": 1}, "short_side must be at least 2 pixels. Received: 1"),
    ],
)
def test_pictures_that_make_no_sense(values, text):
    with pytest.raises(ValueError, match=text):
        Pictures(**values)


def test_a_folder_of_frames_is_a_source(extracted):
    item = Item("fast", extracted)
    every = np.stack(list(Pictures(fps=25).of(item)))
    assert every.shape == (10, 40, 53, 3)
    assert len(list(Pictures(fps=5).of(item))) == 10  # a rate is for videos, unless it is asked for
    half = list(Pictures(folder_fps=12.5).of(item))  # of 25, which `extract_frames` has noted
    np.testing.assert_array_equal(half, every[::2])
    slow = Pictures(folder_fps=5, source_fps=10)  # what is said goes before what is noted
    np.testing.assert_array_equal(list(slow.of(item)), every[::2])


def test_the_rate_and_the_size_that_come_out(fast, extracted, tmp_path):
    source, made = fast[0].source, Item("fast", extracted)
    assert Pictures().rate(fast[0]) is None
    assert Pictures(fps=12).rate(fast[0]) == 12
    assert Pictures(short_side=9).side(source) == 9
    assert Pictures().side(source) is None
    assert Pictures(fps=12).rate(made) == 25
    assert Pictures(fps=12, folder_fps=6).rate(made) == 6
    assert Pictures(source_fps=30).rate(made) == 30
    assert Pictures().side(extracted) == 40
    assert Pictures(short_side=20).side(extracted) == 20
    others = tmp_path / "others"
    frame_files.write_rgb(others, "others", fast[1])
    item = Item("others", others)
    assert Pictures(fps=12).rate(item) is Pictures().side(others) is None
    (others / ".done").write_text('{"command": "other", "parameters": {"pictures": {"fps": 3}}}')
    assert Pictures(fps=12).rate(item) is None
    with pytest.raises(ValueError, match=r"others: a folder of images has no times.*source_fps"):
        list(Pictures(folder_fps=12).of(item))


def test_the_rate_that_the_annotation_says(fast, extracted, tmp_path):
    frame_files.write_rgb(tmp_path / "a", "a", fast[1])
    item = Item("a", tmp_path / "a", fps=12)
    assert Pictures().rate(item) == 12
    assert Pictures(source_fps=30).rate(item) == 30
    assert Pictures().rate(Item("b", extracted, fps=12)) == 25  # what is noted goes before
    assert Pictures().rate(dataclasses.replace(fast[0], fps=12)) is None  # a video has its own
    every = list(Pictures().of(item))
    half = list(Pictures(folder_fps=6).of(item))
    np.testing.assert_array_equal(half, every[::2])
    assert _run(ArrayTask(streams=("rgb",)), item, tmp_path / "out") == {"frames": 42}  # 20 of 12
    report = runs.run(ArrayTask(streams=("rgb",)), [item], runs.Settings(tmp_path / "out", 0))
    assert report.skipped == ("a",)
    faster = dataclasses.replace(item, fps=25)
    assert _run(ArrayTask(streams=("rgb",)), faster, tmp_path / "out") == {"frames": 20}
    _run(FlowTask(), item, tmp_path / "flow")
    assert stamp.read(tmp_path / "flow/a").fps == 12


# extract_frames


def test_frames(fast, tmp_path):
    item, clip = fast
    assert _run(FrameTask(), item, tmp_path) == {"frames": 20}
    made = tmp_path / "class/fast"
    names = [f"image_{k:05d}.jpg" for k in range(1, 21)]
    assert sorted(path.name for path in made.iterdir()) == sorted([".done", *names, "n_frames"])
    assert (made / "n_frames").read_bytes() == b"20"
    stored_clip = frame_files.open_rgb(tmp_path, item.name).read(range(20))
    assert np.abs(stored_clip.astype(int) - clip).mean() < 1
    assert json.loads((made / ".done").read_text())["parameters"] == {
        "layout": "image",
        "quality": 95,
        "pictures": {
            "fps": None, "folder_fps": None, "source_fps": None, "short_side": None,
            "square_pixels": True,
        },
    }  # fmt: skip


# extract_flow


def test_flow(fast, tmp_path):
    item, _ = fast
    task = FlowTask(Pictures(fps=25, short_side=48))
    assert _run(task, item, tmp_path) == {"flows": 10}
    clip = frame_files.open_flow(tmp_path, item.name)
    assert (clip.layout.name, len(clip)) == ("image_xy", 10)
    assert layouts.read_n_frames(tmp_path / item.name) == 10
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


@pytest.mark.parametrize(
    ("taken", "rate", "side", "count"),
    [
        (Pictures(fps=25, short_side=24), 25, 24, 10),
        (Pictures(fps=25), 25, 40, 10),
        (Pictures(fps=5), 25, 40, 10),
        (Pictures(folder_fps=12.5), 12.5, 40, 5),
    ],
)
def test_flow_of_frames_says_how_they_were_made(extracted, tmp_path, taken, rate, side, count):
    assert _run(FlowTask(taken), Item("a", extracted), tmp_path) == {"flows": count}
    made = stamp.read(tmp_path / "a")
    assert (made.fps, made.short_side) == (rate, side)


@pytest.mark.parametrize("task", [FlowTask(layout="npy"), FlowTask(layout="npz"), ArrayTask()])
def test_names_as_long_as_they_may_be(fast, tmp_path, task):
    name = "x" * (255 - len("_flow.json"))
    _run(dataclasses.replace(task, params=QUICK), Item(name, fast[0].source), tmp_path)
    report = runs.run(
        dataclasses.replace(task, params=QUICK), [Item(name, fast[0].source)],
        runs.Settings(tmp_path, workers=0),
    )  # fmt: skip
    assert report.skipped == (name,)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"bound": 0}, "bound must be above 0. Received: 0"),
        ({"bound": float("inf")}, "bound must be above 0. Received: inf"),
        ({"last": "keep"}, "last must be one of drop, repeat. Received: 'keep'"),
    ],
)
def test_flow_that_makes_no_sense(values, text):
    with pytest.raises(ValueError, match=text):
        FlowTask(**values)


# to_numpy


def test_arrays_are_what_a_network_is_fed(folder, tmp_path):
    _video(folder / "a.b.mkv", 12)
    task = ArrayTask()
    assert _run(task, Item("a.b", folder / "a.b.mkv"), tmp_path) == {"frames": 12}
    for stream, contract in (("rgb", RGB_CONTRACT), ("flow", FLOW_CONTRACT)):
        array = np.load(tmp_path / f"a.b_{stream}.npy")
        expected = video_clips.clip_from_video(folder / "a.b.mkv", contract, flow_engine="numba")
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
    task = ArrayTask(streams=("rgb",))
    targets = [tmp_path / "long_rgb.npy"]
    tracemalloc.start()
    try:
        task.make(Item("long", tmp_path / "long.mkv"), targets)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert targets[0].stat().st_size > 48e6
    assert peak < 16e6


# preview


def _gif(path):
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def test_previews(folder, tmp_path):
    _video(folder / "p.mkv", 12)
    assert _run(PreviewTask(max_frames=10), Item("p", folder / "p.mkv"), tmp_path) == {"frames": 10}
    clips = [
        video_clips.clip_from_video(folder / "p.mkv", contract, 10, flow_engine="numba")[0]
        for contract in (RGB_CONTRACT, FLOW_CONTRACT)
    ]
    rgb, flow = (preview.to_pictures(clip) for clip in clips)
    for name, expected in (("rgb", rgb), ("flow", flow)):
        shown = _gif(tmp_path / f"p_{name}.gif")
        assert shown.shape == (10, 224, 224, 3)
        assert np.abs(shown.astype(int) - expected).mean() < 4  # a palette has 256 colours
    # To the right by 2 pixels of 48, which are 10.7 of 256: more than red can show.
    assert np.median(flow[..., 0]) == 255
    assert np.median(flow[..., 1]) == pytest.approx(127.5, abs=3)
    sheet = cv2.cvtColor(cv2.imread(str(tmp_path / "p_sheet.png")), cv2.COLOR_BGR2RGB)
    moments = np.linspace(0, 9, 8).round().astype(int)
    rows = [np.concatenate(list(part[moments]), axis=1) for part in (rgb, flow)]
    np.testing.assert_array_equal(sheet, np.concatenate(rows))


@pytest.mark.parametrize("task", [PreviewTask(), ArrayTask(), FlowTask()])
def test_one_frame_is_no_motion(folder, tmp_path, task):
    _video(folder / "one.mkv", 1)
    settings = runs.Settings(tmp_path, workers=0)
    report = runs.run(task, [Item("one", folder / "one.mkv")], settings)
    assert (report.failed, report.status) == (("one",), 1)
    assert "flow needs at least two frames. Received: 1" in report.reasons["one"]
    assert [path.name for path in tmp_path.iterdir()] == ["failed.jsonl"]
