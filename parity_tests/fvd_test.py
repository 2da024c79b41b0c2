"""FVD in both frameworks: against each other, published values, and what authors' own code gave.

Expected numbers are those of I3D_DATA's expected/fvd.json.
"""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest

from common import arch, video
from common.fvd import distance, metric, statistics
from common.fvd.metric import Network
from common.fvd.recipes import RECIPES
from common.testing.predictor import make_model
from parity_tests import randomise

NET = arch.narrow(arch.inception_i3d(7), 16)
MODEL = make_model(NET, randomise.arrays(NET))
WEIGHTS = "checkpoints/rgb_scratch/model.ckpt.index"
ROOT = Path(__file__).parents[1]

# Minutes of both cores each; elsewhere `make test-slow` runs them.
LONG = pytest.mark.skipif("CI" in os.environ, reason="takes minutes, and is run by hand")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(metric, "load", lambda checkpoint, architecture=None: MODEL)


@pytest.fixture
def published(real_data):
    return json.loads(real_data("expected/fvd.json").read_text())


@pytest.fixture
def real_network(package, real_data):
    """A function from an epsilon to the network with the released weights."""
    model = metric.load(real_data(WEIGHTS))
    module = __import__(f"{package.__name__}.predictor", fromlist=["make_predictor"])
    return lambda eps: Network(module.make_predictor, model, eps, "cpu")


def clips(seed, count=6, frames=9):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, frames, 20, 24, 3), np.uint8)


def golden(seed, shift):
    """The videos of which the authors' own code computed the expected values."""
    r, n, t, h, w = np.random.RandomState(seed), 40, 16, 48, 64
    base = r.rand(n, 1, h // 8, w // 8, 3).repeat(8, 2).repeat(8, 3)[:, 0]
    moved = [np.roll(base, (i * (1 + seed % 3), i * 2), (1, 2)) for i in range(t)]
    noisy = np.stack(moved, 1) * 200 + r.rand(n, t, h, w, 3) * 30 + shift
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


@pytest.mark.usefixtures("small")
def test_the_metric_is_the_same_in_both_frameworks():
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    pytest.importorskip("sonnet", reason="needs the extra 'tf'")
    import i3d_tf
    import i3d_torch

    values, kernels = [], []
    for module, convert in ((i3d_tf, np.asarray), (i3d_torch, torch.from_numpy)):
        own = module.FVD("tats", keep_features=True, device="cpu", batch_size=3)
        for seed in range(3):
            own.update(convert(clips(seed)), real=True)
            own.update(convert(clips(9 + seed) // 2), real=False)
        values.append(own.compute())
        kernels.append(own.compute_kernel())
    assert values[0] == pytest.approx(values[1], rel=1e-5) and values[0] > 0.01
    assert kernels[0] == pytest.approx(kernels[1], rel=1e-5)


@pytest.mark.usefixtures("small")
def test_a_metric_is_merged_reset_saved_and_loaded(package, tmp_path):
    whole, first, second = (package.FVD(device="cpu", batch_size=4) for _ in range(3))
    for own in (whole, first):
        own.update(clips(1)[:5], real=True)
        own.update(clips(2), real=False)
    for own in (whole, second):
        own.update(clips(1)[5:], real=True)
    first.merge(second)
    value = whole.compute()
    assert first.compute() == value  # a clip's features do not depend on its place in a batch
    whole.sides["real"].write(tmp_path / "real.safetensors")
    whole.reset()
    with pytest.raises(ValueError, match="at least 2 clips"):
        whole.compute()
    whole.load(tmp_path / "real.safetensors", real=True)
    whole.update(clips(2), real=False)
    assert whole.compute() == value
    for wrong, said in (
        (clips(1) / 255, "expected uint8 RGB"),
        (clips(1)[..., 0], r"expected videos \[B, T, H, W, 3\]"),
        (clips(1)[:, :8], "at least 9 frames"),
        (clips(1, frames=10), "frames 9 and 10"),
    ):
        with pytest.raises(ValueError, match=said):
            whole.update(wrong, real=False)
    assert whole.compute() == value


RANK = """
import sys
import numpy as np
from common.fvd import metric
from parity_tests import fvd_test
metric.load = lambda checkpoint, architecture=None: fvd_test.MODEL
import i3d_torch, torch.distributed as distributed
rank = int(sys.argv[2])
distributed.init_process_group("gloo", f"file://{sys.argv[1]}/init", rank=rank, world_size=2)
own = i3d_torch.FVD(device="cpu", keep_features=True, batch_size=3)
own.update(fvd_test.clips(1)[rank::2], real=True)
if rank == 0:
    own.update(fvd_test.clips(2), real=False)
print(own.compute().hex(), own.compute_kernel().hex())
"""


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_two_ranks_are_one(tmp_path):
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    import i3d_torch

    own = i3d_torch.FVD(device="cpu", keep_features=True, batch_size=3)
    own.update(clips(1), real=True)
    own.update(clips(2), real=False)
    expected = f"{own.compute().hex()} {own.compute_kernel().hex()}\n"
    line = [sys.executable, "-c", RANK, str(tmp_path)]
    ranks = [
        subprocess.Popen([*line, str(rank)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for rank in range(2)
    ]
    assert [rank.communicate(timeout=300)[0] for rank in ranks] == [expected] * 2


def _value(network, recipe, one, other):
    sides = []
    for videos in (one, other):
        side = statistics.Statistics({})
        for start in range(0, len(videos), 4):
            side.add(network.features([recipe.prepare(v) for v in videos[start : start + 4]]))
        sides.append(side)
    return distance.frechet(*sides, recipe)


def constant(frames):
    return (np.full((1, frames, 64, 64, 3), level, np.uint8) for level in (0, 255))


def _of_constant(network, frames):
    """The sets of the original's example, of equal videos: the covariances are 0."""
    recipe = dataclasses.replace(RECIPES["google"], ddof=0)
    return _value(network, recipe, *constant(frames))


@pytest.mark.slow
def test_zeros_and_ones(real_network, published):
    expected = published["published_zeros_against_ones_64x64"]["frames_30_tensorflow1"]
    assert _of_constant(real_network(1e-3), 30) == pytest.approx(expected, abs=5e-4)


@LONG
@pytest.mark.slow
def test_zeros_and_ones_of_ten_to_thirty_frames(real_network, published):
    found = published["published_zeros_against_ones_64x64"]["torchscript_frames_10_to_30"]
    network = real_network(1e-3)
    for frames, expected in enumerate(found, 10):
        assert _of_constant(network, frames) == pytest.approx(expected, rel=5e-3), frames


@LONG
@pytest.mark.slow
def test_a_random_pair(real_network, published):
    """128 clips each, fed unscaled: drawn one by one they are those of one large array."""
    network, sides = real_network(1e-3), []
    for seed in (1, 2):
        rng, side = np.random.RandomState(seed), statistics.Statistics({})
        for _ in range(32):
            drawn = [rng.rand(16, 224, 224, 3).astype(np.float32) for _ in range(4)]
            side.add(network.features(drawn))
        sides.append(side)
    expected = published["published_random_128_16x224x224_unscaled"]["tensorflow"]
    found = distance.frechet(*sides, RECIPES["google"])
    assert found == pytest.approx(expected, abs=1e-4)


GOLDENS = {
    "tats": RECIPES["tats"],
    "videogpt": RECIPES["videogpt"],
    "google": RECIPES["google"],
    "fastvideo_without_1e-6": dataclasses.replace(RECIPES["fastvideo"], ridge=0),
}


@pytest.mark.slow
def test_logits_are_those_of_the_authors_code(real_network, published):
    a, b = golden(7, 0), golden(8, 20)
    hashes = {name: hashlib.sha256(x.tobytes()).hexdigest() for name, x in (("A", a), ("B", b))}
    assert hashes == published["sha256"]
    networks = {eps: real_network(eps) for eps in (1e-3, 1e-5)}
    for name, recipe in GOLDENS.items():
        assert published[name]["eps"] == recipe.eps
        for clip, key in ((a[0], "logits_A0"), (b[39], "logits_B39")):
            [found] = networks[recipe.eps].features([recipe.prepare(clip)])
            np.testing.assert_allclose(found[:5], published[name][key], atol=1e-4)


@LONG
@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDENS)
def test_values_are_those_of_the_authors_code(name, real_data, published):
    values = []
    for package, needed in (("i3d_torch", "torch"), ("i3d_tf", "sonnet")):
        pytest.importorskip(needed)
        module = __import__(f"{package}.predictor", fromlist=["make_predictor"])
        recipe, model = GOLDENS[name], metric.load(real_data(WEIGHTS))
        network = Network(module.make_predictor, model, recipe.eps, "cpu")
        values.append(_value(network, recipe, golden(7, 0), golden(8, 20)))
    print(name, values)
    assert values[0] == pytest.approx(published[name]["value"], rel=1e-4)
    assert values[0] == pytest.approx(values[1], rel=1e-6)


@LONG
@pytest.mark.slow
def test_it_rises_with_blur_in_every_recipe(real_data):
    """Clips of real videos in two halves, one of them blurred more and more."""
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    from i3d_torch.predictor import make_predictor

    model = metric.load(real_data(WEIGHTS))
    networks = {eps: Network(make_predictor, model, eps, "cpu") for eps in (1e-3, 1e-5)}
    path = real_data("samples/arm_wrestling.mp4")
    frames = np.stack([*video.read_frames(path, 25, max_frames=180)])
    parts = frames.reshape(-1, 9, *frames.shape[1:])
    real, other = parts[::2], parts[1::2]
    for recipe in RECIPES.values():
        values = []
        for sigma in (0, 2, 4, 8):
            fake = [[cv2.GaussianBlur(x, (0, 0), sigma) if sigma else x for x in c] for c in other]
            values.append(_value(networks[recipe.eps], recipe, real, np.array(fake)))
        print(recipe.name, values)
        assert values == sorted(values) and values[-1] > 2 * values[0], recipe.name


@pytest.mark.judged
def test_of_the_package_cdfvd(monkeypatch):
    """Its own function on the same features; `pip install --no-deps cd-fvd einops` brings it."""
    for name in ("utils.data_utils", "third_party.VideoMAEv2.utils"):  # these need torchvision
        monkeypatch.setitem(sys.modules, f"cdfvd.{name}", mock.MagicMock())
    module = pytest.importorskip("cdfvd.fvd", reason="needs the package cd-fvd")
    rng, sides, theirs = np.random.default_rng(1), [], []
    for shift in (0, 0.3):
        rows = (rng.normal(size=(300, 40)) @ rng.normal(size=(40, 40)) + shift).astype(np.float32)
        side, their = statistics.Statistics({}), module.FeatureStats(capture_mean_cov=True)
        side.add(rows)
        their.append(rows)
        sides.append(side)
        theirs.append(their)
    expected = module.cdfvd.compute_fvd_from_stats(None, theirs[1], theirs[0])
    assert distance.frechet(*sides, RECIPES["cdfvd"]) == pytest.approx(expected, rel=1e-8)
