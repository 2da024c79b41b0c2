import re
import zipfile

import cv2
import numpy as np
import pytest

from common.flow import encoding
from common.flow.stamp import FlowStamp
from common.video import stored
from common.video.layouts import FLOW_LAYOUTS, RGB_LAYOUTS

ODD = "Goal_1_&_2_[x]_%05d_{id};-)"
RED, GREEN, BLUE = (200, 30, 60), (20, 180, 40), (10, 50, 220)


def jpg(path, image):
    """What another tool wrote: RGB [H, W, 3] or grey [H, W], best quality."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = image[..., ::-1] if image.ndim == 3 else image
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, 100])
    assert done
    path.write_bytes(data.tobytes())


def flat(colour, size=(24, 32)):
    return np.full((*size, 3), colour, np.uint8)


def grey(level, size=(24, 32)):
    return np.full(size, level, np.uint8)


def put_rgb(root, layout, colours, name=ODD, first=1):
    for index, colour in enumerate(colours):
        [path] = RGB_LAYOUTS[layout].paths(root, name, index, first)
        jpg(path, flat(colour))


def put_flow(root, layout, levels, name=ODD, first=1):
    """Flat flow: x has the level, y 255 less the level."""
    for index, level in enumerate(levels):
        x, y = FLOW_LAYOUTS[layout].paths(root, name, index, first)
        jpg(x, grey(level))
        jpg(y, grey(255 - level))


def level_of(flow):
    """The levels [T, 2] of flat flow in [-1, 1]."""
    assert flow.dtype == np.float32
    assert np.ptp(flow, axis=(1, 2)).max() == 0
    return encoding.to_levels(flow[:, 0, 0] * 20).tolist()


@pytest.mark.parametrize("layout", RGB_LAYOUTS)
@pytest.mark.parametrize("first", [0, 1])
def test_frames_are_rgb_and_in_order(tmp_path, layout, first):
    put_rgb(tmp_path, layout, [RED, GREEN, BLUE], first=first)
    clip = stored.open_rgb(tmp_path, ODD)
    assert (len(clip), clip.layout.name) == (3, layout)
    frames = stored.read_rgb(tmp_path, ODD, [0, 1, 2])
    assert (frames.shape, frames.dtype) == ((3, 24, 32, 3), np.uint8)
    expected = np.stack([flat(RED), flat(GREEN), flat(BLUE)]).astype(int)
    np.testing.assert_allclose(frames, expected, rtol=0, atol=2)
    np.testing.assert_array_equal(stored.read_rgb(tmp_path, ODD, [2, 0, 0]), frames[[2, 0, 0]])
    np.testing.assert_array_equal(stored.read_rgb(tmp_path, ODD, np.arange(1, 3)), frames[1:])
    np.testing.assert_array_equal(clip.read(range(3)), frames)


@pytest.mark.parametrize("layout", [name for name in FLOW_LAYOUTS if name not in ("npy", "npz")])
@pytest.mark.parametrize("first", [0, 1])
def test_flow_is_x_then_y_and_in_order(tmp_path, layout, first):
    put_flow(tmp_path, layout, [0, 100, 128, 255], first=first)
    clip = stored.open_flow(tmp_path, ODD)
    assert (len(clip), clip.layout.name, clip.stamp) == (4, layout, None)
    flow = stored.read_flow(tmp_path, ODD, [0, 1, 2, 3])
    assert flow.shape == (4, 24, 32, 2)
    assert level_of(flow) == [[0, 255], [100, 155], [128, 127], [255, 0]]
    # In [-1, 1]: p * 2 / 255 - 1.
    expected = [[-1, 1], [-55 / 255, 55 / 255], [1 / 255, -1 / 255], [1, -1]]
    np.testing.assert_allclose(flow[:, 3, 5], expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(stored.read_flow(tmp_path, ODD, [3, 1, 3]), flow[[3, 1, 3]])


def test_frames_and_flow_of_dense_flow(tmp_path):
    """One folder, from 1, as many images as flows; denseflow: from 0, one image more."""
    put_rgb(tmp_path, "img", [RED, GREEN], "a/dense_flow")
    put_flow(tmp_path, "flow_xy", [3, 200], "a/dense_flow")
    put_rgb(tmp_path, "img", [RED, GREEN, BLUE], "a/denseflow", first=0)
    put_flow(tmp_path, "flow_xy", [3, 200], "a/denseflow", first=0)
    for name, frames in (("a/dense_flow", 2), ("a/denseflow", 3)):
        assert len(stored.open_rgb(tmp_path, name)) == frames
        assert level_of(stored.read_flow(tmp_path, name, [1, 0])) == [[200, 55], [3, 252]]


def test_the_bound_is_the_stamps(tmp_path):
    put_flow(tmp_path, "image_xy", [0, 144, 255])
    FlowStamp("numba", {}, bound=32, first_index=1).write(tmp_path / ODD)
    flow = stored.read_flow(tmp_path, ODD, range(3))
    pixels = 144 * 64 / 255 - 32
    expected = [[-1, 1], [pixels / 20, -pixels / 20], [1, -1]]  # 32 px are more than 20
    np.testing.assert_allclose(flow[:, 0, 0], expected, rtol=0, atol=1e-6)


def test_a_stamp_that_does_not_fit(tmp_path):
    put_flow(tmp_path, "image_xy", [0, 1], first=0)
    FlowStamp("numba", {}, first_index=1).write(tmp_path / ODD)
    with pytest.raises(ValueError, match=r"flow\.json: says that files begin with number 1.* 0\."):
        stored.open_flow(tmp_path, ODD)
    put_flow(tmp_path, "uv", [0, 1], "c")
    FlowStamp("numba", {}, first_index=1).write(tmp_path / "u" / "c")
    with pytest.raises(ValueError, match=r"u/c and .*v/c have different stamps"):
        stored.open_flow(tmp_path, "c")


@pytest.mark.parametrize("layout", RGB_LAYOUTS)
def test_frames_that_are_fewer_than_their_number(tmp_path, layout):
    put_rgb(tmp_path, layout, [RED, GREEN, BLUE])
    path = tmp_path / ODD / "n_frames"
    path.write_text("3")
    assert len(stored.open_rgb(tmp_path, ODD)) == 3
    RGB_LAYOUTS[layout].paths(tmp_path, ODD, 2)[0].unlink()
    said = f"{re.escape(str(path))}: says 3, and there are 2. Make the clip again"
    with pytest.raises(ValueError, match=said):
        stored.open_rgb(tmp_path, ODD)
    path.unlink()
    assert len(stored.open_rgb(tmp_path, ODD)) == 2


@pytest.mark.parametrize("layout", [name for name in FLOW_LAYOUTS if name not in ("npy", "npz")])
def test_flow_that_is_less_than_its_number(tmp_path, layout):
    put_flow(tmp_path, layout, [1, 2, 3])
    folders = FLOW_LAYOUTS[layout].targets(ODD)
    for folder in folders:
        (tmp_path / folder / "n_frames").write_text("3")
    assert len(stored.open_flow(tmp_path, ODD)) == 3
    for path in FLOW_LAYOUTS[layout].paths(tmp_path, ODD, 2):
        path.unlink()
    with pytest.raises(
        ValueError, match=r"n_frames: says 3, and there are 2\. Make the clip again"
    ):
        stored.open_flow(tmp_path, ODD)


def test_the_number_may_be_that_of_the_frames_beside(tmp_path):
    """Other tools put a flow less into the folder of the frames; ours has a folder of its own."""
    put_rgb(tmp_path, "img", [RED, GREEN, BLUE])
    put_flow(tmp_path, "flow_xy", [3, 200])
    (tmp_path / ODD / "n_frames").write_text("3")
    assert len(stored.open_rgb(tmp_path, ODD)) == 3
    assert len(stored.open_flow(tmp_path, ODD)) == 2
    FlowStamp("numba", {}, first_index=1).write(tmp_path / ODD)
    with pytest.raises(ValueError, match="says 3, and there are 2"):
        stored.open_flow(tmp_path, ODD)


@pytest.mark.parametrize("indices", [[3], [-1], [0, 1, 2, 3], []])
def test_indices_outside(tmp_path, indices):
    put_rgb(tmp_path, "image", [RED, GREEN, BLUE])
    put_flow(tmp_path, "uv", [1, 2, 3])
    np.save(tmp_path / "a_flow.npy", np.zeros((1, 3, 4, 5, 2), np.float32))
    received = indices[-1] if indices else "none"
    for read, name in (
        (stored.read_rgb, ODD),
        (stored.read_flow, ODD),
        (stored.read_flow, "a"),
    ):
        with pytest.raises(ValueError, match=f"from 0 to 2. Received: {received}"):
            read(tmp_path, name, indices)


def test_an_index_is_a_whole_number(tmp_path):
    put_rgb(tmp_path, "image", [RED])
    with pytest.raises(TypeError):
        stored.read_rgb(tmp_path, ODD, [0.0])


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: data[:-2],
     lambda data: b"text", lambda data: data[:20], lambda data: data[100:]],
)  # fmt: skip
def test_a_damaged_image_is_named(tmp_path, damage):
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    [path] = RGB_LAYOUTS["image"].paths(tmp_path, ODD, 1)
    _, y = FLOW_LAYOUTS["image_xy"].paths(tmp_path, ODD, 1)
    put_rgb(tmp_path, "image", [RED, RED, RED])
    put_flow(tmp_path, "image_xy", [1, 2, 3])
    jpg(path, noise)
    jpg(y, noise[..., 0])
    for bad in (path, y):
        bad.write_bytes(damage(bad.read_bytes()))
    with pytest.raises(ValueError, match=r"image_00002\.jpg: is (a damaged|neither)"):
        stored.read_rgb(tmp_path, ODD, [0, 1])
    with pytest.raises(ValueError, match=r"image_00002y\.jpg: is (a damaged|neither)"):
        stored.read_flow(tmp_path, ODD, [0, 1])
    assert len(stored.read_rgb(tmp_path, ODD, [0, 2])) == 2


def test_bytes_after_the_end_of_a_jpg_do_no_harm(tmp_path):
    put_rgb(tmp_path, "image", [RED])
    [path] = RGB_LAYOUTS["image"].paths(tmp_path, ODD, 0)
    path.write_bytes(path.read_bytes() + bytes(100))
    np.testing.assert_allclose(stored.read_rgb(tmp_path, ODD, [0])[0, 0, 0], RED, atol=2)


def test_an_image_of_another_size_is_named(tmp_path):
    put_rgb(tmp_path, "image", [RED, GREEN, BLUE])
    jpg(RGB_LAYOUTS["image"].paths(tmp_path, ODD, 2)[0], flat(BLUE, (24, 33)))
    text = r"image_00003\.jpg: expected 32x24 pixels, as .* Received: 33x24"
    with pytest.raises(ValueError, match=text):
        stored.read_rgb(tmp_path, ODD, [0, 2])
    put_flow(tmp_path, "charades", [5])
    jpg(FLOW_LAYOUTS["charades"].paths(tmp_path, ODD, 0)[1], grey(5, (23, 32)))
    with pytest.raises(ValueError, match=r"-000001y\.jpg: expected 32x24 .* Received: 32x23"):
        stored.read_flow(tmp_path, ODD, [0])


def test_a_named_layout_is_the_one_read(tmp_path):
    put_flow(tmp_path, "image_xy", [1, 2])
    put_flow(tmp_path, "uv", [7])
    with pytest.raises(ValueError, match="in the layouts image_xy, uv"):
        stored.read_flow(tmp_path, ODD, [0])
    assert level_of(stored.read_flow(tmp_path, ODD, [0], "uv")) == [[7, 248]]
    assert level_of(stored.read_flow(tmp_path, ODD, [0], "image_xy")) == [[1, 254]]
    with pytest.raises(FileNotFoundError, match="flow_x_00001"):
        stored.read_flow(tmp_path, ODD, [0], "flow_xy")
    with pytest.raises(ValueError, match="no such layout"):
        stored.read_flow(tmp_path, ODD, [0], "png")


@pytest.fixture
def flow():
    return np.random.default_rng(0).uniform(-1, 1, (6, 4, 5, 2)).astype(np.float32)


@pytest.mark.parametrize("shape", [(6, 4, 5, 2), (1, 6, 4, 5, 2)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_others(tmp_path, flow, shape, order):
    array = np.asarray(flow.reshape(shape), order=order)
    np.save(tmp_path / "a_flow.npy", array)
    np.savez(tmp_path / "b_flow.npz", array)
    np.savez(tmp_path / "c_flow.npz", flow=array, fps=25)
    np.save(tmp_path / "d_flow.npy", array.astype(">f8"))
    for name in "abcd":
        clip = stored.open_flow(tmp_path, name)
        assert (len(clip), clip.stamp) == (6, None)
        read = clip.read([5, 0, 0])
        np.testing.assert_array_equal(read, flow[[5, 0, 0]])
        assert read.dtype == np.float32
        assert type(read) is np.ndarray


def test_only_what_is_asked_for_is_read_of_a_npy(tmp_path, flow):
    flow[4] = 7  # not in [-1, 1], and not looked at
    np.save(tmp_path / "a_flow.npy", flow[None])
    assert stored.open_flow(tmp_path, "a").read([3, 5]).shape == (2, 4, 5, 2)
    with pytest.raises(ValueError, match=r"a_flow\.npy: expected flow in \[-1, 1\].* up to 7\."):
        stored.open_flow(tmp_path, "a").read([3, 4])
    flow[4] = np.nan
    np.save(tmp_path / "a_flow.npy", flow[None])
    with pytest.raises(ValueError, match="up to nan"):
        stored.open_flow(tmp_path, "a").read([4])


def test_an_array_with_another_bound(tmp_path, flow):
    np.save(tmp_path / "a_flow.npy", flow[None])
    FlowStamp("numba", {}, bound=10, form="npy").write(tmp_path / "a_flow.npy")
    read = stored.read_flow(tmp_path, "a", range(6))
    np.testing.assert_allclose(read, flow / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("array", "text"),
    [(np.zeros((6, 4, 5, 3), np.float32), r"\[6, 4, 5, 3\] of float32"),
     (np.zeros((2, 6, 4, 5, 2), np.float32), r"\[2, 6, 4, 5, 2\]"),
     (np.zeros((6, 4, 5, 2), np.uint8), "of uint8"), (np.zeros(3), r"\[3\] of float64"),
     (np.array({"a": 1}, object), "cannot be read")],
)  # fmt: skip
@pytest.mark.parametrize("save", [np.save, np.savez])
def test_arrays_that_are_no_flow(tmp_path, array, text, save):
    suffix = "npy" if save is np.save else "npz"
    with (tmp_path / f"a_flow.{suffix}").open("wb") as file:
        save(file, array)
    with pytest.raises(ValueError, match=rf"a_flow\.{suffix}: expected .*{text}"):
        stored.open_flow(tmp_path, "a")


def test_damaged_arrays(tmp_path, flow):
    np.save(tmp_path / "whole.npy", flow)
    np.savez(tmp_path / "whole.npz", flow)
    for suffix in ("npy", "npz"):
        data = (tmp_path / f"whole.{suffix}").read_bytes()
        path = tmp_path / f"a_flow.{suffix}"
        for bad in (b"", data[:-50], data[:50], b"text", data[:-600] + b"x" + data[-599:][:1]):
            path.write_bytes(bad)
            with pytest.raises(ValueError, match=r"a_flow.*cannot be read"):
                stored.open_flow(tmp_path, "a", suffix)
    with zipfile.ZipFile(tmp_path / "a_flow.npz", "w"):
        pass
    with pytest.raises(ValueError, match=r"a_flow\.npz: .*cannot be read"):
        stored.open_flow(tmp_path, "a", "npz")
    with pytest.raises(FileNotFoundError):
        stored.open_flow(tmp_path, "nothing", "npy")


def test_deepminds_own_flow(real_data):
    path = real_data("samples/v_CricketShot_g04_c01_flow.npy")
    flow = stored.read_flow(path.parent, "v_CricketShot_g04_c01", [0, 78])
    assert flow.shape == (2, 224, 224, 2)
    np.testing.assert_array_equal(flow, np.load(path)[0, [0, 78]])
