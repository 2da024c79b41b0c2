"""Frame and flow files: what other tools wrote is read, and what is written comes back."""

import json
import re
import zipfile

import cv2
import numpy as np
import pytest

from common.flow import encoding
from common.flow.stamp import FlowStamp
from common.video import frame_files
from common.video.frame_files import ArrayClip
from common.video.layouts import FLOW_LAYOUTS, RGB_LAYOUTS

ODD = "Goal_1_&_2_[x]_%05d_{id};-)"
COLOURS = ((200, 30, 60), (20, 180, 40), (10, 50, 220))
IMAGES = [name for name in FLOW_LAYOUTS if name not in ("npy", "npz")]
OURS = FlowStamp("numba", {"tau": 0.25}, fps=25, short_side=48)
FLOW = np.random.default_rng(0).uniform(-1, 1, (6, 4, 5, 2)).astype(np.float32)


def put(paths, *levels):
    """What another tool wrote: images 32x24 of one level, or RGB, in best quality."""
    for path, level in zip(paths, levels, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.full((24, 32, 3), level, np.uint8)
        image = image[..., ::-1] if isinstance(level, tuple) else image[..., 0]
        quality = [cv2.IMWRITE_JPEG_QUALITY, 100]
        path.write_bytes(cv2.imencode(".jpg", np.ascontiguousarray(image), quality)[1].tobytes())


def put_rgb(root, layout, first=1):
    for index, colour in enumerate(COLOURS):
        put(RGB_LAYOUTS[layout].paths(root, ODD, index, first), colour)


def put_flow(root, layout, levels, first=1):
    """Flat flow: x has the level, y 255 less the level."""
    for index, level in enumerate(levels):
        put(FLOW_LAYOUTS[layout].paths(root, ODD, index, first), level, 255 - level)


def write_flow(root, layout, name, flows, made=OURS):
    targets = [root / target for target in FLOW_LAYOUTS[layout].targets(name)]
    return frame_files.write_flow(targets, name, flows, made, layout)


def smooth_flow(count, height=48, width=64):
    """Turning and growing, the more the later, up to about 15 px: [count, H, W, 2] float32."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    flows = [(np.stack((x - 3 * y, 3 * x + y), -1) * (t + 1)) for t in range(count)]
    return [flow.astype(np.float32) * 15 / (4 * count) for flow in flows]


@pytest.mark.parametrize("layout", RGB_LAYOUTS)
def test_frames_are_rgb_and_in_order(tmp_path, layout):
    put_rgb(tmp_path, layout, first=0)
    clip = frame_files.open_rgb(tmp_path, ODD)
    frames = np.stack(list(clip))
    assert (frames.shape, frames.dtype) == ((3, 24, 32, 3), np.uint8)
    np.testing.assert_allclose(frames[:, 5, 5].astype(int), COLOURS, rtol=0, atol=2)
    np.testing.assert_array_equal(clip.read([2, 0, 0]), frames[[2, 0, 0]])
    for wrong in ([3], [-1], [0, 1, 2, 3], []):
        with pytest.raises(ValueError, match=r"from 0 to 2. Received|Received: none"):
            clip.read(wrong)


@pytest.mark.parametrize("layout", IMAGES)
def test_flow_is_x_then_y_and_in_order(tmp_path, layout):
    put_flow(tmp_path, layout, [0, 100, 128, 255])
    clip = frame_files.open_flow(tmp_path, ODD)
    assert (len(clip), clip.stamp, clip.rate) == (4, None, None)
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


def test_stamps_that_differ(tmp_path):
    put_flow(tmp_path, "uv", [1, 2, 3])
    OURS.write(tmp_path / "u" / ODD)
    with pytest.raises(ValueError, match="have different stamps"):
        frame_files.open_flow(tmp_path, ODD)
    OURS.write(tmp_path / "v" / ODD)
    assert frame_files.open_flow(tmp_path, ODD).rate == 25


def test_clips_that_lost_their_last_files(tmp_path):
    put_rgb(tmp_path, "img")
    (tmp_path / ODD / "n_frames").write_text("4")
    with pytest.raises(ValueError, match=f"{re.escape(ODD)}/n_frames: says 4, and there are 3"):
        frame_files.open_rgb(tmp_path, ODD)
    put_flow(tmp_path, "flow_xy", [1, 2])
    assert len(frame_files.open_flow(tmp_path, ODD)) == 2  # the number is that of the frames
    OURS.write(tmp_path / ODD)
    with pytest.raises(ValueError, match="says 4, and there are 2"):
        frame_files.open_flow(tmp_path, ODD)


def test_images_of_several_sizes(tmp_path):
    put_flow(tmp_path, "charades", [5, 6])
    _, y = FLOW_LAYOUTS["charades"].paths(tmp_path, ODD, 1)
    y.write_bytes(cv2.imencode(".jpg", np.zeros((23, 32), np.uint8))[1].tobytes())
    with pytest.raises(ValueError, match=r"-000002y\.jpg: expected 32x24 .* Received: 32x23"):
        frame_files.open_flow(tmp_path, ODD).read([0, 1])


@pytest.mark.parametrize("shape", [(6, 4, 5, 2), (1, 6, 4, 5, 2)])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_of_others(tmp_path, suffix, shape):
    path = tmp_path / f"a_flow.{suffix}"
    array = np.asfortranarray(FLOW.reshape(shape), np.float64)
    if suffix == "npy":
        np.save(path, array)
    else:
        np.savez(path, other=FLOW, flow=array)
    clip = frame_files.open_flow(tmp_path, "a")
    assert (len(clip), clip.path) == (6, path)
    np.testing.assert_array_equal(clip.read([5, 0]), FLOW[[5, 0]])


def test_rgb_arrays_are_rounded_to_bytes(tmp_path):
    every = np.arange(192, dtype=np.float32).reshape(1, 8, 8, 3) * 2 / 255 - 1
    frame_files.write_npy(tmp_path / "a.npy", np.concatenate([every, -every]))
    clip = ArrayClip(tmp_path / "a.npy", 3)
    np.testing.assert_array_equal(clip.read([0])[0].ravel(), np.arange(192))
    np.testing.assert_array_equal(list(clip)[1].ravel(), 255 - np.arange(192))
    assert clip.rate == 25


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (FLOW[..., :1], r"\[1, T, H, W, 2\] of .*\[6, 4, 5, 1\]"),
        ((FLOW * 100).astype(np.int64), "int64"),
        (np.array([None]), "Python objects"),
        (FLOW * 3, r"values in \[-1, 1\]\. Received: -"),
        (FLOW * np.nan, "Received: nan"),
    ],
)
def test_wrong_arrays(tmp_path, array, text):
    np.save(tmp_path / "a_flow.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=rf"a_flow\.npy: expected .*{text}"):
        frame_files.open_flow(tmp_path, "a").read([0])


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_damaged_arrays(tmp_path, suffix):
    path = tmp_path / f"a_flow.{suffix}"
    np.save(path, FLOW) if suffix == "npy" else np.savez_compressed(path, flow=FLOW)
    content = path.read_bytes()
    for bad in (b"", b"text", content[:-20], content[:60]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=rf"a_flow\.{suffix}: expected"):
            frame_files.open_flow(tmp_path, "a").read([0])


@pytest.mark.parametrize("layout", RGB_LAYOUTS)
def test_written_frames_come_back(tmp_path, layout):
    y, x = np.mgrid[0:48, 0:64]
    frames = [np.stack([x * 3, y * 4, x + y + 9 * k], -1).astype(np.uint8) for k in range(3)]
    [folder] = RGB_LAYOUTS[layout].targets(ODD)
    assert frame_files.write_rgb(tmp_path / folder, ODD, iter(frames), layout) == 3
    found = frame_files.open_rgb(tmp_path, ODD).read(range(3)).astype(int)
    assert np.abs(found - frames).mean() < 2
    with pytest.raises(ValueError, match="at least one frame"):
        frame_files.write_rgb(tmp_path / "e", ODD, [])


@pytest.mark.parametrize("layout", FLOW_LAYOUTS)
def test_written_flow_comes_back(tmp_path, layout):
    flows, is_array = smooth_flow(3), layout in ("npy", "npz")
    assert write_flow(tmp_path / "a", layout, ODD, iter(flows)) == 4  # the last is repeated
    clip = frame_files.open_flow(tmp_path / "a", ODD)
    expected = encoding.to_unit(np.stack([*flows, flows[-1]]))
    # jpg of quality 95 on smooth flow: a level or two.
    np.testing.assert_allclose(clip.read(range(4)), expected, atol=0 if is_array else 4 / 255)
    stamp = json.loads(clip.stamp.text())
    assert stamp["form"] == ("npy" if is_array else "jpg")
    assert stamp["first_index"] == (0 if is_array else 1)
    assert (stamp["quality"], stamp["fps"]) == (None if is_array else 95, 25)
    assert write_flow(tmp_path / "b", layout, ODD, flows) == 4
    trees = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "a", tmp_path / "b")
    ]
    assert trees[0] == trees[1]  # the same bytes
    if layout == "npz":
        [path] = (tmp_path / "a").rglob("*.npz")
        with zipfile.ZipFile(path) as archive:
            assert archive.infolist()[0].date_time[0] == 1980  # no time of day
    dropped = FlowStamp("numba", {}, last="drop")
    assert write_flow(tmp_path / "c", layout, "c", flows, dropped) == 3


def test_what_cannot_be_written(tmp_path):
    bad = [*smooth_flow(1), np.full((48, 64, 2), np.nan, np.float32)]
    for layout in ("image_xy", "npy"):
        with pytest.raises(ValueError, match="6144 of 6144 values are NaN"):
            write_flow(tmp_path / layout, layout, "c", bad)
        with pytest.raises(ValueError, match="flow at least two"):
            write_flow(tmp_path / "e", layout, "c", [])
    assert not list((tmp_path / "npy").rglob("*"))  # neither an array nor a part of one
