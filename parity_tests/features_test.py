"""Features of both frameworks against each other, in every mode, and against windows by hand."""

import importlib
import itertools
import json
import pickle

import numpy as np
import pytest

from common import arch, video
from common.features import feature_task, items, presets
from common.features.extracting import Tracking
from common.features.extraction import MODES, Extraction
from common.features.feature_task import Options
from common.jobs import runs
from common.preprocessing import crops
from common.testing.films import Film
from convert import formats, hub
from parity_tests import randomise
from parity_tests.compare import TOLERANCE, assert_close, relative_error
from parity_tests.conftest import NEEDS

CLASSES = 5
TINY = {"resize": 36, "crop": 32, "fps": 0.0}

PUBLISHED = "rgb_scratch"
SAMPLES = ("samples/arm_wrestling.mp4", "samples/apply_eye_makeup.avi")
GIF = "samples/v_CricketShot_g04_c01_rgb.gif"


@pytest.fixture
def both():
    for needed in NEEDS.values():
        pytest.importorskip(needed)


def weights(path, architecture="inception_i3d_global", channels=3):
    net = arch.make(architecture, CLASSES, channels)
    hub.write(hub.Weights(net, randomise.arrays(net)), path)
    return str(path)


def extract(backend, source, output, tracking=None, streams=None, **settings):
    """The arrays and the sidecar of the one item that a source has."""
    make = importlib.import_module(f"i3d_{backend}.predictor").make_predictor
    fields = {"checkpoints", "architecture", "batch_size", "join", "format"}
    given = {name: settings.pop(name) for name in fields & settings.keys()}
    options = Options(extraction=Extraction(**settings), tracking=tracking, **given)
    task = feature_task.create(options, make, f"i3d_{backend}")
    (item,) = items.found(source)
    report = runs.run(task, [item], runs.Settings(output, 1, engine="threads"))
    assert report.status == 0, report.text()
    *files, sidecar = task.targets(item)
    arrays = [np.load(output / name, allow_pickle=tracking is not None) for name in files]
    return arrays, json.loads((output / sidecar).read_text())


@pytest.fixture
def film(tmp_path):
    """Forty frames that move."""
    one = Film("a.mp4", 40, (1, 0))
    (tmp_path / "videos").mkdir()
    one.write(tmp_path / "videos")
    return tmp_path / "videos/a.mp4"


@pytest.mark.usefixtures("thin", "both")
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("many", ["center", "three", "ten"])
@pytest.mark.parametrize("mode", MODES)
def test_frameworks_agree(film, tmp_path, mode, many, average):
    checkpoint = weights(tmp_path / "weights.safetensors")
    found = {}
    for backend in NEEDS:
        found[backend], _ = extract(
            backend, film, tmp_path / backend, checkpoints={"rgb": checkpoint}, mode=mode,
            window=16, stride=8, frequency=7, crops=many, average_crops=average, **TINY,
        )  # fmt: skip
    (one,), (other,) = found.values()
    count = {"segment": 4, "dense": 5, "framewise": 6}[mode]
    axis = () if average or many == "center" else ({"three": 3, "ten": 10}[many],)
    assert one.shape == (count, *axis, 64)
    assert_close(one, other, mode)
    if axis:  # crops are not all the same
        assert relative_error(one[:, 0], one[:, 1]) > 1e-3


@pytest.mark.usefixtures("thin", "both")
@pytest.mark.parametrize("endpoint", ["Mixed_4c", "Features", "Logits", "Predictions"])
def test_endpoints_agree(film, tmp_path, endpoint):
    checkpoint = weights(tmp_path / "weights.safetensors")
    found = [
        extract(
            backend, film, tmp_path / backend, checkpoints={"rgb": checkpoint}, window=16,
            endpoint=endpoint, **TINY,
        )[0][0]
        for backend in NEEDS
    ]  # fmt: skip
    assert_close(*found, endpoint)
    assert len(found[0]) == 2
    if endpoint in ("Logits", "Predictions"):
        assert found[0].shape[1] == CLASSES


@pytest.mark.usefixtures("thin", "both")
def test_two_streams_agree_and_join(film, tmp_path):
    nets = {
        stream: weights(tmp_path / f"{stream}.safetensors", channels=channels)
        for stream, channels in (("rgb", 3), ("flow", 2))
    }
    found = {}
    for backend in NEEDS:
        found[backend], sidecar = extract(
            backend, film, tmp_path / backend, checkpoints=nets, mode="framewise", window=9,
            frequency=10, **TINY,
        )  # fmt: skip
        (joined,), _ = extract(
            backend, film, tmp_path / f"{backend}_joined", checkpoints=nets, mode="framewise",
            window=9, frequency=10, join=True, **TINY,
        )  # fmt: skip
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
    settings = {"checkpoints": {"rgb": checkpoint}, "mode": "framewise", "window": 10, "pad": pad}
    (rows,), _ = extract("torch", film, tmp_path / "all", **settings, **TINY)
    (again,), _ = extract("torch", film, tmp_path / "three", **settings, batch_size=3, **TINY)
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
    """Dense features in parts are those in one piece; of a network whose head has a window."""
    pytest.importorskip(NEEDS[backend])
    # Random noise, so that each frame counts; small, and as large as the head demands.
    clip = np.random.default_rng(frames).integers(0, 256, (1, frames, 25, 25, 3))
    np.save(tmp_path / "clip.npy", (clip / 127.5 - 1).astype(np.float32))
    checkpoint = weights(tmp_path / "weights.safetensors")
    settings = {"checkpoints": {"rgb": checkpoint}, "mode": "dense", "crop": 25}
    (whole,), described = extract(
        backend, tmp_path / "clip.npy", tmp_path / "whole", chunk=frames, **settings
    )
    (parts,), in_parts = extract(
        backend, tmp_path / "clip.npy", tmp_path / "parts", chunk=chunk, **settings
    )
    assert len(whole) == -(-frames // 8)
    assert_close(parts, whole, "chunks")
    assert in_parts["arrays"] == described["arrays"]
    assert min(relative_error(a, b) for a, b in itertools.pairwise(whole)) > 1e-4


@pytest.mark.slow
@pytest.mark.usefixtures("thin", "both")
def test_every_format_gives_the_same_rows(film, tmp_path):
    """Weights in whichever form people own them: the same bits, so the same rows."""
    net = arch.make("inception_i3d", CLASSES)
    settings = {"architecture": net.name, "window": 9, "stride": 31, **TINY, "resize": 193}
    expected = {}
    writable = {name: module for name, module in formats.FORMATS.items() if module.SUFFIXES}
    assert len(writable) > 6
    for name, module in writable.items():
        path = tmp_path / f"weights_{name}{module.SUFFIXES[0]}"
        hub.write(hub.Weights(net, randomise.arrays(net)), path, container=name)
        for backend in NEEDS:
            (rows,), _ = extract(
                backend, film, tmp_path / f"{backend}_{name}", checkpoints={"rgb": str(path)},
                **{**settings, "crop": 193},
            )  # fmt: skip
            np.testing.assert_array_equal(rows, expected.setdefault(backend, rows), err_msg=name)
    assert_close(*expected.values(), "formats")


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


def write_tracks(folder, tracks, form):
    """The same tracklets in one of four forms; where those have numbers, anna is 1 and bert 2."""
    folder.mkdir()
    numbers = {name: k for k, name in enumerate(tracks, 1)}
    if form == ".json":
        text = {who: {str(k): box for k, box in at.items()} for who, at in tracks.items()}
        (folder / "street.json").write_text(json.dumps(text))
    elif form == ".pkl":
        (folder / "street.pkl").write_bytes(pickle.dumps(tracks))
    elif form == ".txt":
        rows = [
            f"{k + 1},{numbers[who]},{a + 1},{b + 1},{c - a},{d - b},1,-1,-1,-1\n"
            for who, at in tracks.items()
            for k, (a, b, c, d) in at.items()
        ]
        (folder / "street.txt").write_text("".join(rows))
    else:
        trajectories = [
            [
                {
                    "tid": numbers[who],
                    "bbox": {"xmin": a, "ymin": b, "xmax": c - 1, "ymax": d - 1},
                    "generated": 0,
                    "tracker": "none",
                }
                for who, at in tracks.items()
                if k in at
                for a, b, c, d in [at[k]]
            ]
            for k in range(24)
        ]
        content = {
            "version": "VERSION 1.0", "video_id": "street", "video_hash": "0",
            "video_path": "0/street.mp4", "frame_count": 24, "fps": 25.0, "width": 160,
            "height": 96, "trajectories": trajectories, "relation_instances": [],
            "subject/objects": [{"tid": k, "category": "adult"} for k in numbers.values()],
        }  # fmt: skip
        (folder / "street_vidor.json").write_text(json.dumps(content))


@pytest.mark.usefixtures("thin", "both")
@pytest.mark.parametrize("form", [".json", ".pkl", ".txt", "_vidor.json"])
def test_tracklets_are_videos_cut_by_hand(tmp_path, form):
    shown, tracks = shapes(tmp_path)
    write_tracks(tmp_path / "tracks", tracks, form)
    checkpoint = weights(tmp_path / "weights.safetensors")
    settings = {"checkpoints": {"rgb": checkpoint}, "mode": "framewise", "window": 9, "pad": "none"}
    for backend in NEEDS:
        ((array,), described) = extract(
            backend, tmp_path / "street", tmp_path / backend,
            Tracking(tmp_path / "tracks", form), crop=32, fps=0.0, **settings,
        )  # fmt: skip
        found = array.item()
        names = {"anna": "1", "bert": "2"} if form in (".txt", "_vidor.json") else {}
        for who, at in tracks.items():
            name = names.get(who, who)
            # A square of 40 around each box: 12 more on both sides, shifted into the picture.
            cut = [
                shown[k, upper:lower, (x := min(max(left - 12, 0), 120)) : x + 40]
                for k, (left, upper, _, lower) in at.items()
            ]
            write_frames(tmp_path / f"{backend}_{who}_cut", cut)
            ((alone,), _) = extract(
                backend, tmp_path / f"{backend}_{who}_cut", tmp_path / f"{backend}_{who}",
                size=(32, 32),
                crop=32, fps=0.0, **settings,
            )  # fmt: skip
            assert alone.shape == (len(at) - 8, 64)
            np.testing.assert_array_equal(found[name], alone)
            first = next(iter(at))
            assert described["arrays"]["rgb"][name]["first"] == list(
                range(first, first + len(at) - 8)
            )
        assert relative_error(found[next(iter(found))][:8], alone[:8]) > 1e-2


@pytest.mark.parametrize("name", presets.PRESETS)
def test_presets_are_settings(name):
    preset = presets.get(name)
    assert Extraction(**preset.settings).mode in MODES
    assert preset.aims
    assert preset.differs


@pytest.mark.slow
@pytest.mark.parametrize("backend", list(NEEDS))
def test_the_cricket_gif_against_float64(backend, real_data, tmp_path):
    pytest.importorskip(NEEDS[backend])
    real_data(GIF)
    (rows,), _ = extract(
        backend, real_data(GIF), tmp_path, checkpoints={"rgb": PUBLISHED}, mode="dense", fps=0.0,
        resize=0,
    )  # fmt: skip
    expected = np.load(real_data("expected/rgb_scratch_cricket_gif_features_f64.npy"))
    assert_close(rows, expected, "cricket")


@pytest.mark.slow
@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("file", SAMPLES)
@pytest.mark.parametrize("mode", MODES)
def test_real_videos_agree(file, mode, real_data, tmp_path):
    real_data("checkpoints/rgb_scratch/model.ckpt.index")
    found = [
        extract(
            backend, real_data(file), tmp_path / backend, checkpoints={"rgb": PUBLISHED},
            mode=mode, window=32, frequency=60, chunk=176,
        )[0][0]
        for backend in NEEDS
    ]  # fmt: skip
    assert_close(*found, f"{file} {mode}")
    assert TOLERANCE == 1e-5
