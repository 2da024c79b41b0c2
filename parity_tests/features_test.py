"""Features of both frameworks against each other, in every mode, and against windows by hand."""

import importlib
import itertools
import json

import numpy as np
import pytest

from common import arch, command, video
from common.features.settings import MODES, Settings
from common.preprocessing import crops
from common.testing.films import Film
from convert import hub
from parity_tests import randomise
from parity_tests.compare import TOLERANCE, assert_close, relative_error
from parity_tests.conftest import NEEDS

CLASSES = 5
TINY = ("--short_side=36", "--crop_size=32", "--fps=0")

PUBLISHED = "--checkpoint=rgb_scratch"
SAMPLES = ("samples/arm_wrestling.mp4", "samples/apply_eye_makeup.avi")
GIF = "samples/v_CricketShot_g04_c01_rgb.gif"


@pytest.fixture
def both():
    for needed in NEEDS.values():
        pytest.importorskip(needed)


def weights(path, channels=3):
    """Writes random weights; the flag that names them."""
    net = arch.make("inception_i3d_global", CLASSES, channels)
    hub.write(hub.Weights(net, randomise.arrays(net)), path)
    return f"--checkpoint={path}"


def extract(backend, source, output, *flags):
    """The arrays and the sidecar of the one item that a source has."""
    main = importlib.import_module(f"i3d_{backend}.extract_features").main
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
        ("segment", ["--stride=8"], (4, 64)),
        ("segment", ["--stride=8", "--crops=ten"], (4, 10, 64)),
        ("segment", ["--endpoint=Mixed_4c"], (2, 32)),
        ("segment", ["--endpoint=Predictions"], (2, CLASSES)),
        ("dense", [], (5, 64)),
        ("dense", ["--crops=three"], (5, 3, 64)),
        ("framewise", ["--frequency=7"], (6, 64)),
        ("framewise", ["--frequency=7", "--crops=three", "--average_crops"], (6, 64)),
    ],
)
def test_frameworks_agree(film, tmp_path, mode, flags, shape):
    checkpoint = weights(tmp_path / "weights.safetensors")
    given = (checkpoint, f"--mode={mode}", "--window=16", *flags, *TINY)
    one, other = (extract(backend, film, tmp_path / backend, *given)[0][0] for backend in NEEDS)
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
        found[backend], sidecar = extract(backend, film, tmp_path / backend, *given)
        (joined,), _ = extract(backend, film, tmp_path / f"{backend}_joined", *given, "--join")
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
    (rows,), _ = extract("torch", film, tmp_path / "all", *given)
    (again,), _ = extract("torch", film, tmp_path / "three", *given, "--batch_size=3")
    assert_close(again, rows, "batches of another size")
    net = arch.make("inception_i3d_global", CLASSES)
    frames = pixels(film)
    for row, center in zip(rows, centers(pad, len(frames)), strict=True):
        window = np.clip(range(center - 4, center + 6), 0, len(frames) - 1)
        alone = pooled(on_torch, net, frames[window])
        assert_close(row, alone, f"row of frame {center}")


def centers(pad, count):
    """Of the windows of 10 frames that rows are of, by how the ends are padded."""
    if pad == "frames":
        return list(range(count))
    fitting = list(range(4, count - 5))
    return fitting if pad == "none" else [4] * 4 + fitting + [count - 6] * 5


def pixels(path, size=32, side=36):
    """Centre crops [T, size, size, 3] uint8 of a video, by the preparation's own resize."""
    from common.preprocessing import resizing

    shown = [resizing.resize_short_side(frame, side) for frame in video.read_frames(path)]
    return crops.center_crop(np.stack(shown), size)


def pooled(on, net, clip, endpoint="Features"):
    """What a network makes of a clip of bytes, averaged over all but channels."""
    fed = clip.astype(np.float32)[None] / np.float32(127.5) - 1
    _, endpoints = on.inference(net, randomise.arrays(net), fed)
    return endpoints[endpoint].mean(axis=(0, 1, 2, 3))


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize("backend", list(NEEDS))
@pytest.mark.parametrize(("frames", "chunk"), [(300, 160), (257, 131), (402, 200)])
def test_chunks_equal_the_whole(tmp_path, backend, frames, chunk):
    """Dense features in chunks are those in one piece; of a network whose head has a window."""
    pytest.importorskip(NEEDS[backend])
    # Random noise, so that each frame counts; small, and as large as the head demands.
    clip = np.random.default_rng(frames).integers(0, 256, (1, frames, 25, 25, 3))
    np.save(tmp_path / "clip.npy", (clip / 127.5 - 1).astype(np.float32))
    given = (weights(tmp_path / "weights.safetensors"), "--mode=dense", "--crop_size=25")
    (whole,), described = extract(
        backend, tmp_path / "clip.npy", tmp_path / "whole", *given, f"--chunk={frames}"
    )
    (parts,), in_parts = extract(
        backend, tmp_path / "clip.npy", tmp_path / "parts", *given, f"--chunk={chunk}"
    )
    assert len(whole) == -(-frames // 8)
    assert_close(parts, whole, "chunks")
    assert in_parts["arrays"] == described["arrays"]
    assert min(relative_error(a, b) for a, b in itertools.pairwise(whole)) > 1e-4


def shapes(root):
    """A video with two shapes as people stand, that move; and where they are, [T] boxes each."""
    height, width, count = 96, 160, 24
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 90, (height, width, 3), np.uint8)
    people = {name: rng.integers(90, 256, (40, 16, 3), np.uint8) for name in ("anna", "bert")}
    places = {
        "anna": {k: (10 + 3 * k, 30) for k in range(count)},
        "bert": {k: (140 - 4 * k, 8 + k) for k in range(4, 20)},
    }
    shown = np.repeat(ground[None], count, axis=0)
    for name, where in places.items():
        for frame, (left, upper) in where.items():
            shown[frame, upper : upper + 40, left : left + 16] = people[name]
    write_frames(root / "street", shown)
    return shown, {
        name: {frame: [left, upper, left + 16, upper + 40] for frame, (left, upper) in at.items()}
        for name, at in places.items()
    }


def write_frames(folder, frames):
    """A folder of images, which lose nothing."""
    cv2 = pytest.importorskip("cv2")
    folder.mkdir()
    for number, frame in enumerate(frames, 1):
        assert cv2.imwrite(str(folder / f"{number:05}.png"), frame[..., ::-1])


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize("backend", list(NEEDS))
def test_tracklets_are_videos_cut_by_hand(tmp_path, backend):
    """Bit for bit. `tracklets_test` shows that all formats of tracklets are the same boxes."""
    pytest.importorskip(NEEDS[backend])
    shown, tracks = shapes(tmp_path)
    (tmp_path / "tracks").mkdir()
    (tmp_path / "tracks/street.json").write_text(json.dumps(tracks))
    checkpoint = weights(tmp_path / "weights.safetensors")
    given = (checkpoint, "--mode=framewise", "--window=9", "--pad=none", "--crop_size=32")
    folder = f"--tracking_folder={tmp_path / 'tracks'}"
    (array,), described = extract(backend, tmp_path / "street", tmp_path / "out", *given, folder)
    found = array.item()
    for who, at in tracks.items():
        # A square of 40 around each box: 12 more on both sides, shifted into the picture.
        cut = [
            shown[k, upper:lower, (x := min(max(left - 12, 0), 120)) : x + 40]
            for k, (left, upper, _, lower) in at.items()
        ]
        write_frames(tmp_path / who, cut)
        (alone,), _ = extract(
            backend, tmp_path / who, tmp_path / f"{who}_out", *given, "--frame_size=32,32",
            "--fps=0",
        )  # fmt: skip
        assert alone.shape == (len(at) - 8, 64)
        np.testing.assert_array_equal(found[who], alone)
        first = next(iter(at))
        assert described["arrays"]["rgb"][who]["first"] == list(range(first, first + len(alone)))
    assert relative_error(found["anna"][:8], alone[:8]) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("backend", list(NEEDS))
def test_the_cricket_gif_against_float64(backend, real_data, tmp_path):
    pytest.importorskip(NEEDS[backend])
    given = (PUBLISHED, "--mode=dense", "--fps=0", "--short_side=0")
    (rows,), _ = extract(backend, real_data(GIF), tmp_path, *given)
    expected = np.load(real_data("expected/rgb_scratch_cricket_gif_features_f64.npy"))
    assert_close(rows, expected, "cricket")


@pytest.mark.slow
@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("file", SAMPLES)
@pytest.mark.parametrize("mode", MODES)
def test_real_videos_agree(file, mode, real_data, tmp_path):
    real_data("checkpoints/rgb_scratch/model.ckpt.index")
    own = {"dense": ["--chunk=176"], "framewise": ["--frequency=60"], "segment": []}[mode]
    given = (PUBLISHED, f"--mode={mode}", "--window=32", *own)
    one, other = (
        extract(backend, real_data(file), tmp_path / backend, *given)[0][0] for backend in NEEDS
    )
    assert_close(one, other, f"{file} {mode}")
    assert TOLERANCE == 1e-5
