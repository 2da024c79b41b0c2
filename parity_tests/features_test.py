"""Features of both frameworks against each other, in every mode, and against windows by hand."""

import importlib
import itertools
import json

import numpy as np
import pytest

from common import arch, command, video
from common.features.settings import Settings
from common.preprocessing import crops
from common.preprocessing.frames import resize_picture_short_side
from common.testing.films import Film
from convert import hub
from parity_tests import randomise
from parity_tests.compare import assert_close, relative_error
from parity_tests.conftest import NEEDS

CLASSES = 5
TINY = ("--short_side=36", "--crop_size=32", "--fps=0")


@pytest.fixture
def both():
    for needed in NEEDS.values():
        pytest.importorskip(needed)


def weights(path, channels=3):
    """Writes random weights; the flag that names them."""
    net = arch.make("inception_i3d_global", CLASSES, channels)
    hub.write(hub.Weights(net, randomise.arrays(net)), path)
    return f"--checkpoint={path}"


def i3d(name):
    return importlib.import_module(f"i3d_{name}")


def extract(package, source, output, *flags):
    """The arrays and the sidecar of the one item that a source has."""
    main = importlib.import_module(f"{package.__name__}.extract_features").main
    given = [f"--input={source}", f"--output={output}", *flags]
    assert command.call(main, Settings, given) == 0
    paths = sorted(output.glob("*.npy"), reverse=True)  # RGB before flow
    (sidecar,) = output.glob("*.json")
    tracked = any("tracking_folder" in flag for flag in flags)
    return [np.load(path, allow_pickle=tracked) for path in paths], json.loads(sidecar.read_text())


@pytest.fixture
def film(tmp_path):
    """Forty frames that move."""
    one = Film("a.mp4", 40, (1, 0))
    (tmp_path / "videos").mkdir()
    one.write(tmp_path / "videos")
    return tmp_path / "videos/a.mp4"


@pytest.mark.usefixtures("thin", "both")
@pytest.mark.parametrize(
    ("mode", "flags", "shape"),
    [
        ("segment", ["--stride=8", "--crops=ten"], (4, 10, 64)),
        ("segment", ["--endpoint=Mixed_4c"], (2, 32)),
        ("segment", ["--endpoint=Predictions"], (2, CLASSES)),
        ("dense", ["--crops=three"], (5, 3, 64)),
        ("framewise", ["--frequency=7", "--crops=three", "--average_crops"], (6, 64)),
    ],
)
def test_frameworks_agree(film, tmp_path, mode, flags, shape):
    checkpoint = weights(tmp_path / "weights.safetensors")
    given = (checkpoint, f"--mode={mode}", "--window=16", *flags, *TINY)
    one, other = (extract(i3d(each), film, tmp_path / each, *given)[0][0] for each in NEEDS)
    assert one.shape == shape
    assert_close(one, other, mode)
    if len(shape) == 3:  # crops are not all the same
        assert relative_error(one[:, 0], one[:, 1]) > 1e-3


@pytest.mark.usefixtures("thin", "both")
def test_two_streams_agree_and_join(film, tmp_path):
    given = ["--streams=rgb,flow", "--mode=framewise", "--window=9", "--frequency=10", *TINY]
    for stream, channels in (("rgb", 3), ("flow", 2)):
        path = weights(tmp_path / f"{stream}.safetensors", channels).partition("=")[2]
        given.append(f"--{stream}_checkpoint={path}")
    found = {}
    for backend in NEEDS:
        found[backend], sidecar = extract(i3d(backend), film, tmp_path / backend, *given)
        (joined,), _ = extract(i3d(backend), film, tmp_path / f"{backend}_joined", *given, "--join")
        np.testing.assert_array_equal(joined, np.concatenate(found[backend], axis=1))
        assert sidecar["flow"]["engine"] == "numba"
        assert sidecar["flow"]["parameters"]["warps"] == 5
    for one, other in zip(*found.values(), strict=True):
        assert one.shape == (4, 64)
        assert_close(one, other, "streams")
    assert relative_error(*found["torch"]) > 0.1


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize("pad", ["frames", "rows", "none"])
def test_framewise_rows_are_windows_alone(film, tmp_path, on_torch, pad):
    """However many windows a batch has, and whatever else is in it."""
    checkpoint = weights(tmp_path / "weights.safetensors")
    given = (checkpoint, "--mode=framewise", "--window=10", f"--pad={pad}", *TINY)
    (rows,), _ = extract(i3d("torch"), film, tmp_path / "all", *given)
    (again,), _ = extract(i3d("torch"), film, tmp_path / "three", *given, "--batch_size=3")
    assert_close(again, rows, "batches of another size")
    net = arch.make("inception_i3d_global", CLASSES)
    fed = pixels(film).astype(np.float32) / np.float32(127.5) - 1
    fitting = list(range(4, len(fed) - 5))
    centers = {
        "frames": range(len(fed)),
        "rows": [4] * 4 + fitting + [len(fed) - 6] * 5,
        "none": fitting,
    }[pad]
    windows = np.clip(np.array(centers)[:, None] + range(-4, 6), 0, len(fed) - 1)
    for row, window in zip(rows, windows, strict=True):
        _, endpoints = on_torch.inference(net, randomise.arrays(net), fed[window][None])
        assert_close(row, endpoints["Features"].mean(axis=(0, 1, 2, 3)), f"row of {window}")


def pixels(path, size=32, side=36):
    """Centre crops [T, size, size, 3] uint8 of a video, by the preparation's own resize."""
    shown = [resize_picture_short_side(frame, side) for frame in video.read_frames(path)]
    return crops.center_crop(np.stack(shown), size)


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize(("frames", "chunk"), [(257, 131), (300, 160)])
def test_chunks_equal_the_whole(package, tmp_path, frames, chunk):
    """Dense features in chunks are those in one piece; of a network whose head has a window."""
    # Random noise, so that each frame counts; small, and as large as the head demands.
    clip = np.random.default_rng(frames).integers(0, 256, (1, frames, 25, 25, 3))
    np.save(tmp_path / "clip.npy", (clip / 127.5 - 1).astype(np.float32))
    given = (weights(tmp_path / "weights.safetensors"), "--mode=dense", "--crop_size=25")
    (whole, described), (parts, in_parts) = (
        extract(package, tmp_path / "clip.npy", tmp_path / str(n), *given, f"--chunk={n}")
        for n in (frames, chunk)
    )
    assert len(whole[0]) == -(-frames // 8)
    assert_close(parts[0], whole[0], "chunks")
    assert in_parts["arrays"] == described["arrays"]
    assert min(relative_error(a, b) for a, b in itertools.pairwise(whole[0])) > 1e-4


def write_frames(folder, frames):
    """A folder of images, which lose nothing."""
    cv2 = pytest.importorskip("cv2")
    folder.mkdir()
    for number, frame in enumerate(frames, 1):
        assert cv2.imwrite(str(folder / f"{number:05}.png"), frame[..., ::-1])


@pytest.mark.usefixtures("thin")
def test_tracklets_are_videos_cut_by_hand(tmp_path, on_torch):
    """Bit for bit. `tracklets_test` shows that all formats of tracklets are the same boxes."""
    shown = np.random.default_rng(0).integers(0, 256, (24, 96, 160, 3), np.uint8)
    write_frames(tmp_path / "street", shown)
    places = {
        "anna": {k: (10 + 3 * k, 30) for k in range(24)},
        "bert": {k: (140 - 4 * k, 8 + k) for k in range(4, 20)},
    }
    tracks = {
        name: {k: [left, top, left + 16, top + 40] for k, (left, top) in at.items()}
        for name, at in places.items()
    }
    (tmp_path / "tracks").mkdir()
    (tmp_path / "tracks/street.json").write_text(json.dumps(tracks))
    checkpoint = weights(tmp_path / "weights.safetensors")
    given = (checkpoint, "--mode=framewise", "--window=9", "--pad=none", "--crop_size=32")
    folder = f"--tracking_folder={tmp_path / 'tracks'}"
    (array,), described = extract(
        i3d("torch"), tmp_path / "street", tmp_path / "out", *given, folder
    )
    for who, at in places.items():
        # A square of 40 around each box: 12 more on both sides, shifted into the picture.
        cut = [
            shown[k, top : top + 40, (x := min(max(left - 12, 0), 120)) : x + 40]
            for k, (left, top) in at.items()
        ]
        write_frames(tmp_path / who, cut)
        flags = (*given, "--frame_size=32,32", "--fps=0")
        (alone,), _ = extract(i3d("torch"), tmp_path / who, tmp_path / f"{who}_out", *flags)
        assert alone.shape == (len(at) - 8, 64)
        np.testing.assert_array_equal(array.item()[who], alone)
        first = next(iter(at))
        assert described["arrays"]["rgb"][who]["first"] == list(range(first, first + len(alone)))
