"""Frame and flow files: what other tools wrote is read, and what is written comes back."""

import json
import re
import zipfile

import cv2
import numpy as np
import pytest

from common.flow import encoding, stamp
from common.flow.stamp import FlowStamp
from common.video import frame_files
from common.video.layouts import FLOW_LAYOUTS, RGB_LAYOUTS

ODD = "Goal_1_&_2_[x]_%05d_{id};-)"
COLOURS = RED, GREEN, BLUE = (200, 30, 60), (20, 180, 40), (10, 50, 220)
IMAGES = [name for name in FLOW_LAYOUTS if name not in ("npy", "npz")]
OURS = FlowStamp("numba", {"tau": 0.25}, fps=25, short_side=48)
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 32, 3), np.uint8)
FLOW = RNG.uniform(-1, 1, (6, 4, 5, 2)).astype(np.float32)


def jpg(path, image):
    """What another tool wrote: RGB [H, W, 3] or grey [H, W], best quality."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.ascontiguousarray(image[..., ::-1] if image.ndim == 3 else image)
    path.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes())


def flat(colour, size=(24, 32)):
    return np.full((*size, 3), colour, np.uint8)


def put_rgb(root, layout, colours=COLOURS, first=1):
    for index, colour in enumerate(colours):
        jpg(RGB_LAYOUTS[layout].paths(root, ODD, index, first)[0], flat(colour))


def put_flow(root, layout, levels, first=1):
    """Flat flow: x has the level, y 255 less the level."""
    for index, level in enumerate(levels):
        for path, value in zip(
            FLOW_LAYOUTS[layout].paths(root, ODD, index, first), (level, 255 - level), strict=True
        ):
            jpg(path, flat(value)[..., 0])


def write_flow(root, layout, name, flows, made=OURS):
    targets = [root / target for target in FLOW_LAYOUTS[layout].targets(name)]
    return frame_files.write_flow(targets, name, flows, made, layout)


def smooth_flow(count, height=48, width=64):
    """Turning and growing, the more the later, up to about 15 px: [count, H, W, 2] float32."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    flows = [(np.stack((x - 3 * y, 3 * x + y), -1) * (t + 1)) for t in range(count)]
    return [flow.astype(np.float32) * 15 / (4 * count) for flow in flows]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("layout", RGB_LAYOUTS)
def test_frames_are_rgb_and_in_order(tmp_path, layout, first):
    put_rgb(tmp_path, layout, first=first)
    clip = frame_files.open_rgb(tmp_path, ODD)
    assert (len(clip), clip.layout.name) == (3, layout)
    frames = np.stack(list(clip))
    assert (frames.shape, frames.dtype) == ((3, 24, 32, 3), np.uint8)
    np.testing.assert_allclose(frames[:, 5, 5].astype(int), COLOURS, rtol=0, atol=2)
    np.testing.assert_array_equal(clip.read([2, 0, 0]), frames[[2, 0, 0]])
    assert clip.read([0, 1], short_side=12).shape == (2, 12, 16, 3)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("layout", IMAGES)
def test_flow_is_x_then_y_and_in_order(tmp_path, layout, first):
    put_flow(tmp_path, layout, [0, 100, 128, 255], first)
    clip = frame_files.open_flow(tmp_path, ODD)
    assert (len(clip), clip.layout.name, clip.stamp) == (4, layout, None)
    flow = np.stack(list(clip))
    assert (flow.shape, flow.dtype) == ((4, 24, 32, 2), np.float32)
    # In [-1, 1]: p * 2 / 255 - 1.
    expected = [[-1, 1], [-55 / 255, 55 / 255], [1 / 255, -1 / 255], [1, -1]]
    np.testing.assert_allclose(flow[:, 3, 5], expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(clip.read([3, 1, 3]), flow[[3, 1, 3]])


def test_the_bound_is_the_stamps(tmp_path):
    put_flow(tmp_path, "image_xy", [0, 144, 255])
    FlowStamp("numba", {}, bound=32, first_index=1).write(tmp_path / ODD)
    flow = frame_files.open_flow(tmp_path, ODD).read(range(3))
    pixels = 144 * 64 / 255 - 32
    expected = [[-1, 1], [pixels / 20, -pixels / 20], [1, -1]]  # 32 px are more than 20
    np.testing.assert_allclose(flow[:, 0, 0], expected, rtol=0, atol=1e-6)
    np.save(tmp_path / "a_flow.npy", FLOW[None])
    FlowStamp("numba", {}, bound=10, form="npy").write(tmp_path / "a_flow.npy")
    flow = frame_files.open_flow(tmp_path, "a").read(range(6))
    np.testing.assert_allclose(flow, FLOW / 2, rtol=1e-6)


def test_stamps_and_numbers_that_do_not_fit(tmp_path):
    put_flow(tmp_path, "uv", [1, 2, 3])
    for part, first, text in (
        ("u", 1, r"u/.* and .*v/.* have different stamps"),
        ("v", 1, None),
        ("u", 0, "different stamps"),
        ("v", 0, r"flow\.json: says that files begin with number 0\. Received: 1"),
    ):
        FlowStamp("numba", {}, first_index=first).write(tmp_path / part / ODD)
        if text is None:
            assert len(frame_files.open_flow(tmp_path, ODD)) == 3
            continue
        with pytest.raises(ValueError, match=text):
            frame_files.open_flow(tmp_path, ODD)


@pytest.mark.parametrize(("stream", "layout"), [("rgb", "image"), ("flow", "uv")])
def test_clips_that_lost_their_last_files(tmp_path, stream, layout):
    layouts = RGB_LAYOUTS if stream == "rgb" else FLOW_LAYOUTS
    opened = frame_files.open_rgb if stream == "rgb" else frame_files.open_flow
    if stream == "rgb":
        put_rgb(tmp_path, layout)
    else:
        put_flow(tmp_path, layout, [1, 2, 3])
    folder = tmp_path / layouts[layout].targets(ODD)[0]
    (folder / "n_frames").write_text("3")
    assert len(opened(tmp_path, ODD)) == 3
    for path in layouts[layout].paths(tmp_path, ODD, 2):
        path.unlink()
    said = f"{re.escape(str(folder))}/n_frames: says 3, and there are 2. Make the"
    with pytest.raises(ValueError, match=said):
        opened(tmp_path, ODD)
    (folder / "n_frames").unlink()
    assert len(opened(tmp_path, ODD)) == 2


def test_the_number_may_be_that_of_the_frames_beside(tmp_path):
    """Other tools put a flow less into the folder of the frames; ours has a folder of its own."""
    put_rgb(tmp_path, "img")
    put_flow(tmp_path, "flow_xy", [3, 200])
    (tmp_path / ODD / "n_frames").write_text("3")
    assert len(frame_files.open_rgb(tmp_path, ODD)) == 3
    assert len(frame_files.open_flow(tmp_path, ODD)) == 2
    FlowStamp("numba", {}, first_index=1).write(tmp_path / ODD)
    with pytest.raises(ValueError, match="says 3, and there are 2"):
        frame_files.open_flow(tmp_path, ODD)


@pytest.mark.parametrize("indices", [[3], [-1], [0, 1, 2, 3], []])
def test_indices_outside(tmp_path, indices):
    put_rgb(tmp_path, "image")
    np.save(tmp_path / "a_flow.npy", FLOW[:3])
    expected = f"from 0 to 2. Received: {indices[-1]}" if indices else "Received: none"
    for clip in (frame_files.open_rgb(tmp_path, ODD), frame_files.open_flow(tmp_path, "a")):
        with pytest.raises(ValueError, match=expected):
            clip.read(indices)
        with pytest.raises(TypeError):
            clip.read([0.0])


def test_damaged_and_other_images_are_named(tmp_path):
    put_rgb(tmp_path, "image")
    put_flow(tmp_path, "charades", [5, 6])
    rgb, flow = frame_files.open_rgb(tmp_path, ODD), frame_files.open_flow(tmp_path, ODD)
    [image], (_, y) = rgb.layout.paths(tmp_path, ODD, 2), flow.layout.paths(tmp_path, ODD, 0)
    jpg(image, flat(BLUE, (24, 33)))
    jpg(y, NOISE[:23, :, 0])
    with pytest.raises(ValueError, match=r"00003\.jpg: expected 32x24 pixels, as .*: 33x24"):
        rgb.read([0, 2])
    with pytest.raises(ValueError, match=r"-000001y\.jpg: expected 32x24 .* Received: 32x23"):
        flow.read([0])
    for path, clip in ((image, rgb), (y, flow)):
        path.write_bytes(path.read_bytes()[:-2])
        with pytest.raises(ValueError, match=rf"{path.name[-9:]}: is a damaged image"):
            list(clip)
    assert len(rgb.read([0, 1])) == 2


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(6, 4, 5, 2), (1, 6, 4, 5, 2)])
def test_arrays_of_others(tmp_path, shape, order):
    array = np.asarray(FLOW.reshape(shape), order=order)
    np.save(tmp_path / "a_flow.npy", array)
    np.savez(tmp_path / "b_flow.npz", array)
    np.savez(tmp_path / "c_flow.npz", flow=array, fps=25)
    np.save(tmp_path / "d_flow.npy", array.astype(">f8"))
    for name in "abcd":
        clip = frame_files.open_flow(tmp_path, name)
        assert (len(clip), clip.stamp) == (6, None)
        read = clip.read([5, 0, 0])
        np.testing.assert_array_equal(read, FLOW[[5, 0, 0]])
        assert read.dtype == np.float32


@pytest.mark.parametrize(
    ("value", "text"), [(7, r"7 to 7. Clip pixels to \+-20 and divide"), (np.nan, "nan to nan")]
)
def test_only_what_is_asked_for_is_read_of_a_npy(tmp_path, value, text):
    wrong = FLOW.copy()
    wrong[4] = value
    np.save(tmp_path / "a_flow.npy", wrong[None])
    clip = frame_files.open_flow(tmp_path, "a")
    assert clip.read([3, 5]).shape == (2, 4, 5, 2)
    with pytest.raises(ValueError, match=rf"a_flow\.npy: expected values in \[-1, 1\].* {text}"):
        clip.read([3, 4])


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_that_are_no_flow(tmp_path, suffix):
    path = tmp_path / f"a_flow.{suffix}"
    save = {"npy": np.save, "npz": np.savez}[suffix]
    save(path, FLOW)
    data = path.read_bytes()
    for array, text in (
        (np.zeros((6, 4, 5, 3), np.float32), r"\[6, 4, 5, 3\] of float32"),
        (np.zeros((2, 6, 4, 5, 2), np.float32), r"\[2, 6, 4, 5, 2\]"),
        (np.zeros((6, 4, 5, 2), np.uint8), "of uint8"),
        (np.zeros(3), r"\[3\] of float64"),
        (np.array({"a": 1}, object), "cannot be read"),
    ):
        save(path, array)
        with pytest.raises(ValueError, match=rf"a_flow\.{suffix}: expected .*{text}"):
            frame_files.open_flow(tmp_path, "a")
    for bad in (b"", data[:-50], data[:50], b"text", data[:-600] + b"x" + data[-599:][:1]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"a_flow.*cannot be read"):
            frame_files.open_flow(tmp_path, "a")


def test_a_small_archive_of_gigabytes_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a_flow.npz", np.zeros((1, 9, 200, 200, 2), np.float32))
    assert len(frame_files.open_flow(tmp_path, "a")) == 9
    monkeypatch.setattr(frame_files, "_MOST_INFLATED", 2**20)
    with pytest.raises(ValueError, match=r"a_flow\.npz: .*would inflate to 2,880,128 bytes"):
        frame_files.open_flow(tmp_path, "a")


def test_deepminds_own_flow(real_data):
    path = real_data("samples/v_CricketShot_g04_c01_flow.npy")
    flow = frame_files.open_flow(path.parent, "v_CricketShot_g04_c01").read([0, 78])
    np.testing.assert_array_equal(flow, np.load(path)[0, [0, 78]])


@pytest.mark.parametrize("layout", RGB_LAYOUTS)
def test_written_frames_come_back(tmp_path, layout):
    y, x = np.mgrid[0:48, 0:64].astype(float)  # slopes, other ones in each channel and frame
    slopes = [np.stack((2 * x + 5 * t, 3 * y + 10, 220 - x - y - 7 * t), -1) for t in range(4)]
    frames = np.clip(slopes, 0, 255).astype(np.uint8)
    [folder] = RGB_LAYOUTS[layout].targets(ODD)
    assert frame_files.write_rgb(tmp_path / folder, ODD, iter(frames), layout) == 4
    clip = frame_files.open_rgb(tmp_path, ODD)
    assert (clip.layout.name, clip.numbers) == (layout, range(1, 5))
    read = clip.read(range(4)).astype(int)
    np.testing.assert_allclose(read, frames.astype(int), rtol=0, atol=6)
    assert np.abs(read - frames).mean() < 1.5  # swapped channels are off by 50 and more


@pytest.mark.parametrize("layout", FLOW_LAYOUTS)
@pytest.mark.parametrize("name", ["soccer/" + ODD, "{name}/x.npy", "ü/-Ωß !(1)"])
def test_written_flow_comes_back(tmp_path, layout, name):
    flows = smooth_flow(5)
    flows[2][3, 4] = 20.5, -1000
    assert write_flow(tmp_path, layout, name, iter(flows)) == 6
    clip = frame_files.open_flow(tmp_path, name)
    assert (clip.layout.name, len(clip), clip.stamp.engine) == (layout, 6, "numba")
    stamp.check_same({"made": OURS, "read": clip.stamp})
    expected = np.clip(np.stack([*flows, flows[-1]]) / np.float32(20), -1, 1)
    read = clip.read(range(6))
    np.testing.assert_array_equal(read[5], read[4])
    if layout in IMAGES:
        assert clip.numbers == range(1, 7)
        assert (clip.stamp.form, clip.stamp.first_index, clip.stamp.quality) == ("jpg", 1, 95)
        # Half a level of rounding and one and a half of jpg.
        smooth = [0, 1, 3, 4, 5]
        np.testing.assert_allclose(read[smooth], expected[smooth], rtol=0, atol=2 * 2 / 255)
    else:
        assert (clip.stamp.form, clip.stamp.quality) == ("npy", None)
        np.testing.assert_array_equal(read, expected)
        array = np.load(clip.layout.paths(tmp_path, name)[0])
        array = array if layout == "npy" else array["flow"]
        assert (array.shape, array.dtype) == ((1, 6, 48, 64, 2), np.float32)
    # Bound and `last` of the stamp are obeyed.
    pixels = np.full((16, 16, 2), (8, -14), np.float32)
    drop = FlowStamp("numba", {}, bound=10, last="drop")
    assert write_flow(tmp_path / "b", layout, name, [pixels], drop) == 1
    clip = frame_files.open_flow(tmp_path / "b", name)
    assert (len(clip), clip.stamp.last) == (1, "drop")
    np.testing.assert_allclose(clip.read([0])[0, 8, 8], [0.4, -0.5], rtol=0, atol=0.0021)


def test_files_by_hand(tmp_path):
    """What is on the disk, read by OpenCV alone: 1 px is level 134, -1 px is 121."""
    flow = np.full((16, 24, 2), (1, -1), np.float32)
    write_flow(tmp_path, "image_xy", "c", [flow])
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
            write_flow(tmp_path / run / layout, layout, "c", smooth_flow(2))
    for path in (tmp_path / "a").rglob("*.*"):
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes()
    with zipfile.ZipFile(tmp_path / "a" / "npz" / "c_flow.npz") as archive:
        assert archive.infolist()[0].date_time[0] == 1980  # no time of day
    assert len(list((tmp_path / "b").rglob("*.json"))) == 11  # three layouts have two folders
    assert not list(tmp_path.rglob(".*"))  # no temporary file is left


@pytest.mark.parametrize(
    ("second", "text"),
    [(np.zeros((48, 65, 2), np.float32), r"\[48, 65, 2\] of float32"),
     (np.zeros((48, 64, 2)), "float64"), (np.zeros((48, 64, 3), np.float32), r"64, 3\]"),
     (np.zeros((48, 64), np.float32), r"\[48, 64\]"),
     (np.full((48, 64, 2), np.nan, np.float32), "6144 of 6144 values are NaN")],
)  # fmt: skip
def test_what_cannot_be_written(tmp_path, second, text):
    for layout in ("image_xy", "npy"):
        with pytest.raises(ValueError, match=text):
            write_flow(tmp_path / layout, layout, "c", [*smooth_flow(1), second])
        with pytest.raises(ValueError, match="flow at least two"):
            write_flow(tmp_path / "e", layout, "c", [])
    assert not list((tmp_path / "npy").rglob("*"))  # neither an array nor a part of one
    with pytest.raises(ValueError, match=r"image 0: expected \[H, W, 3\] of uint8"):
        frame_files.write_rgb(tmp_path / "rgb", "c", [second])


def test_a_npy_is_written_flow_by_flow(tmp_path):
    """The array is on the disk as it comes, and the header, written last, counts them."""
    sizes = []

    def flows():
        for flow in smooth_flow(40, 100, 100):
            [temporary] = list(tmp_path.glob(".*.tmp")) or [None]
            sizes.append(temporary.stat().st_size if temporary else 0)
            yield flow

    write_flow(tmp_path, "npy", "c", flows())
    one = 100 * 100 * 2 * 4
    assert all(size >= (k - 3) * one for k, size in enumerate(sizes))  # a buffer's worth late
    assert (tmp_path / "c_flow.npy").stat().st_size == 128 + 41 * one
    last = np.load(tmp_path / "c_flow.npy", mmap_mode="r")[0, 40]
    np.testing.assert_array_equal(last, encoding.to_unit(smooth_flow(40, 100, 100)[-1]))
