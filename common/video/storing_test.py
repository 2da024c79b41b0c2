import json
import zipfile

import cv2
import numpy as np
import pytest

from common.flow import encoding, stamp
from common.flow.stamp import FlowStamp
from common.video import stored, storing
from common.video.layouts import FLOW_LAYOUTS, RGB_LAYOUTS

NAMES = ["clip", "soccer/Goal_1_&_2_[x]_%05d_{id};-)", "{name}/x.npy", "ü/-Ωß !(1)"]
OURS = FlowStamp("numba", {"tau": 0.25}, fps=25, short_side=48)

IMAGES = [name for name in FLOW_LAYOUTS if name not in ("npy", "npz")]


def smooth_frames(count, height=48, width=64):
    """Slopes, other ones in each channel and frame: [count, H, W, 3] uint8."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    channels = lambda t: (2 * x + 5 * t, 3 * y + 10, 220 - x - y - 7 * t)  # noqa: E731
    return [np.stack(channels(t), -1).clip(0, 255).astype(np.uint8) for t in range(count)]


def smooth_flow(count, height=48, width=64):
    """Turning and growing, the more the later, up to about 15 px: [count, H, W, 2] float32."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    flows = [(np.stack((x - 3 * y, 3 * x + y), -1) * (t + 1)) for t in range(count)]
    return [flow.astype(np.float32) * 15 / (4 * count) for flow in flows]


def targets(root, layout, name):
    return [root / target for target in FLOW_LAYOUTS[layout].targets(name)]


@pytest.mark.parametrize("layout", RGB_LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_frames_come_back(tmp_path, layout, name):
    frames = smooth_frames(4)
    [folder] = RGB_LAYOUTS[layout].targets(name)
    assert storing.write_rgb(tmp_path / folder, name, iter(frames), layout) == 4
    clip = stored.open_rgb(tmp_path, name)
    assert (clip.layout.name, clip.numbers) == (layout, range(1, 5))
    read = clip.read(range(4)).astype(int)
    np.testing.assert_allclose(read, np.stack(frames).astype(int), rtol=0, atol=6)
    assert np.abs(read - frames).mean() < 1.5  # swapped channels are off by 50 and more


@pytest.mark.parametrize("layout", IMAGES)
@pytest.mark.parametrize("name", NAMES)
def test_flow_comes_back(tmp_path, layout, name):
    flows = smooth_flow(5)
    made = storing.write_flow(targets(tmp_path, layout, name), name, iter(flows), OURS, layout)
    assert made == 6
    clip = stored.open_flow(tmp_path, name)
    assert (clip.layout.name, clip.numbers) == (layout, range(1, 7))
    read = clip.read(range(6)) * 20
    # Half a level of rounding and one and a half of jpg.
    np.testing.assert_allclose(read, np.stack([*flows, flows[-1]]), rtol=0, atol=2 * 40 / 255)
    np.testing.assert_array_equal(read[5], read[4])
    assert clip.stamp.engine == "numba"
    assert (clip.stamp.form, clip.stamp.first_index, clip.stamp.quality) == ("jpg", 1, 95)
    stamp.check_same({"made": OURS, "read": clip.stamp})


@pytest.mark.parametrize("layout", ["npy", "npz"])
@pytest.mark.parametrize("name", NAMES)
def test_arrays_come_back_exactly(tmp_path, layout, name):
    flows = smooth_flow(5)
    flows[2][3, 4] = 20.5, -1000
    made = storing.write_flow(targets(tmp_path, layout, name), name, iter(flows), OURS, layout)
    assert made == 6
    clip = stored.open_flow(tmp_path, name)
    assert clip.layout.name == layout
    expected = np.clip(np.stack([*flows, flows[-1]]) / np.float32(20), -1, 1)
    np.testing.assert_array_equal(clip.read(range(6)), expected)
    assert expected[2, 3, 4].tolist() == [1, -1]
    assert (clip.stamp.form, clip.stamp.quality) == ("npy", None)
    stamp.check_same({"made": OURS, "read": clip.stamp})
    array = np.load(clip.layout.path(tmp_path, name))
    array = array if layout == "npy" else array["flow"]
    assert (array.shape, array.dtype) == ((1, 6, 48, 64, 2), np.float32)


@pytest.mark.parametrize("layout", FLOW_LAYOUTS)
def test_dropping_the_last(tmp_path, layout):
    flows = smooth_flow(3)
    drop = FlowStamp("numba", {}, last="drop")
    assert storing.write_flow(targets(tmp_path, layout, "c"), "c", flows, drop, layout) == 3
    clip = stored.open_flow(tmp_path, "c")
    assert (len(clip), clip.stamp.last) == (3, "drop")


@pytest.mark.parametrize("layout", FLOW_LAYOUTS)
def test_the_bound_of_the_stamp_is_obeyed(tmp_path, layout):
    pixels = np.full((16, 16, 2), (8, -14), np.float32)
    ten = FlowStamp("numba", {}, bound=10)
    storing.write_flow(targets(tmp_path, layout, "c"), "c", [pixels], ten, layout)
    read = stored.read_flow(tmp_path, "c", [0])
    np.testing.assert_allclose(read[0, 8, 8], [0.4, -0.5], rtol=0, atol=0.0021)


def test_files_by_hand(tmp_path):
    """What is on the disk, read by OpenCV alone: 1 px is level 134, -1 px is 121."""
    flow = np.full((16, 24, 2), (1, -1), np.float32)
    storing.write_flow([tmp_path / "c"], "c", [flow], OURS)
    names = sorted(path.name for path in (tmp_path / "c").iterdir())
    assert names == ["flow.json", "image_00001x.jpg", "image_00001y.jpg",
                     "image_00002x.jpg", "image_00002y.jpg"]  # fmt: skip
    for axis, level in (("x", 134), ("y", 121)):
        image = cv2.imread(str(tmp_path / "c" / f"image_00001{axis}.jpg"), cv2.IMREAD_UNCHANGED)
        assert image.shape == (16, 24)  # grey, not three channels
        assert np.unique(image).tolist() == [level]
    record = json.loads((tmp_path / "c" / "flow.json").read_text())
    assert (record["first_index"], record["last"], record["quality"]) == (1, "repeat", 95)


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for layout in FLOW_LAYOUTS:
        for run in ("a", "b"):
            places = targets(tmp_path / run / layout, layout, "c")
            storing.write_flow(places, "c", smooth_flow(2), OURS, layout)
    for path in (tmp_path / "a").rglob("*.*"):
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes()
    with zipfile.ZipFile(tmp_path / "a" / "npz" / "c_flow.npz") as archive:
        assert archive.infolist()[0].date_time[0] == 1980  # no time of day
    assert len(list((tmp_path / "b").rglob("*.json"))) == 11  # three layouts have two folders
    assert not list(tmp_path.rglob(".*"))  # no temporary file is left


def test_places_may_be_called_anything_until_they_are_renamed(tmp_path):
    """As when a whole clip is made aside: folders and files of any name."""
    flows = smooth_flow(2)
    made = [tmp_path / "one.npy.tmp", tmp_path / "two"]
    storing.write_flow(made, "c/d", flows, OURS, "npz")
    for source, target in zip(made, targets(tmp_path, "npz", "c/d"), strict=True):
        target.parent.mkdir(exist_ok=True)
        source.rename(target)
    assert len(stored.open_flow(tmp_path, "c/d", "npz")) == 3
    storing.write_flow([tmp_path / "three"], "c/d", flows, OURS, "charades")
    assert (tmp_path / "three" / "d-000003y.jpg").is_file()


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "image_00009.jpg").touch()
    with pytest.raises(FileExistsError, match="not empty"):
        storing.write_rgb(tmp_path, "c", smooth_frames(2))
    with pytest.raises(FileExistsError, match="not empty"):
        storing.write_flow([tmp_path], "c", smooth_flow(2), OURS)


@pytest.mark.parametrize(
    ("second", "text"),
    [(np.zeros((48, 65, 2), np.float32), r"\[48, 65, 2\] of float32"),
     (np.zeros((48, 64, 2)), "float64"), (np.zeros((48, 64, 3), np.float32), r"64, 3\]"),
     (np.zeros((48, 64), np.float32), r"\[48, 64\]")],
)  # fmt: skip
def test_flow_of_another_shape_or_type(tmp_path, second, text):
    for layout in ("image_xy", "npy"):
        places = targets(tmp_path / layout, layout, "c")
        match = rf"image 1: expected \[H, W, 2\] of float32.*Received: .*{text}"
        with pytest.raises(ValueError, match=match):
            storing.write_flow(places, "c", [*smooth_flow(1), second], OURS, layout)
    assert not list((tmp_path / "npy").rglob("*"))  # neither an array nor a part of one


def test_frames_of_another_shape_or_type(tmp_path):
    for k, frame in enumerate([np.zeros((48, 64, 3)), np.zeros((48, 64, 4), np.uint8)]):
        with pytest.raises(ValueError, match=r"image 0: expected \[H, W, 3\] of uint8"):
            storing.write_rgb(tmp_path / str(k), "c", [frame])


@pytest.mark.parametrize("layout", FLOW_LAYOUTS)
def test_nothing_to_write(tmp_path, layout):
    with pytest.raises(ValueError, match="flow at least two"):
        storing.write_flow(targets(tmp_path, layout, "c"), "c", [], OURS, layout)
    with pytest.raises(ValueError, match="at least one frame"):
        storing.write_rgb(tmp_path / "rgb", "c", iter(()))


@pytest.mark.parametrize("layout", ["image_xy", "npy"])
def test_flow_that_is_not_finite(tmp_path, layout):
    flows = smooth_flow(2)
    flows[1][0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 6144 values are NaN"):
        storing.write_flow(targets(tmp_path, layout, "c"), "c", flows, OURS, layout)


def test_targets_have_to_be_the_layouts(tmp_path):
    with pytest.raises(ValueError, match=r"layout uv has 2 targets\. Received: 1"):
        storing.write_flow([tmp_path / "c"], "c", smooth_flow(1), OURS, "uv")


def test_a_npy_is_written_flow_by_flow(tmp_path):
    """The array is on the disk as it comes, and the header, written last, counts them."""
    sizes = []

    def flows():
        for flow in smooth_flow(40, 100, 100):
            [temporary] = list(tmp_path.glob(".c_flow.npy.*.tmp")) or [None]
            sizes.append(temporary.stat().st_size if temporary else 0)
            yield flow

    storing.write_flow(targets(tmp_path, "npy", "c"), "c", flows(), OURS, "npy")
    one = 100 * 100 * 2 * 4
    assert all(size >= (k - 3) * one for k, size in enumerate(sizes))  # a buffer's worth late
    assert (tmp_path / "c_flow.npy").stat().st_size == 128 + 41 * one
    last = np.load(tmp_path / "c_flow.npy", mmap_mode="r")[0, 40]
    np.testing.assert_array_equal(last, encoding.to_unit(smooth_flow(40, 100, 100)[-1]))
