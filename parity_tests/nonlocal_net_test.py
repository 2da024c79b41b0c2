"""Both backends compute the published I3D-ResNets and non-local nets from Caffe2 pickles."""

import functools
import pickle

import numpy as np
import pytest

from common import arch
from convert import hub
from convert.arrays import from_canonical
from convert.dialects import DIALECTS
from parity_tests import nonlocal_net, randomise
from parity_tests.compare import assert_all_close, assert_close, relative_error
from parity_tests.nonlocal_net import Variant

DIVISOR = 16
CLASSES = 11
WRONG = 1e-3  # smallest error of a mistake: a hundred times the tolerance

# Remainders of each stride in space and time, and several groups for the affine non-local nets.
SIZES = {
    Variant(50, "8x8"): (9, 57, 64),
    Variant(50, "32x2", affine=True): (32, 65, 66),
    Variant(50, "32x2", non_local=True): (33, 79, 66),
    Variant(50, "8x8", non_local=True, affine=True): (17, 57, 64),
    Variant(50, "32x2", padded=True): (33, 60, 57),
    Variant(101, "8x8", non_local=True): (8, 57, 64),
}
ATTENDING = Variant(50, "32x2", non_local=True)
GROUPED = Variant(50, "8x8", non_local=True, affine=True)


@functools.cache
def _arrays(net):
    """Random arrays with which no softmax is flat."""
    arrays = randomise.arrays(net)
    return {n: 3 * a if ".theta." in n and "conv3" in n else a for n, a in arrays.items()}


@functools.cache
def _blobs(net):
    """The same as Caffe2 names and lays them out."""
    natives = DIALECTS["nonlocal_net"].natives(net)
    return {
        n.name: from_canonical(_arrays(net)[n.canonical], next(iter(n.shapes))) for n in natives
    }


def _net(variant):
    return arch.narrow(arch.make(str(variant), CLASSES), DIVISOR)


def _clips(variant):
    return randomise.clips((2, *SIZES[variant], 3))


@functools.cache
def _expected(variant):
    return nonlocal_net.forward(_blobs(_net(variant)), _clips(variant), variant)


def _assert_agrees(endpoints, expected):
    assert list(endpoints) == list(expected)
    assert_all_close(endpoints, expected)


@pytest.mark.parametrize("variant", SIZES, ids=str)
def test_every_endpoint(backend, variant):
    net = _net(variant)
    _, endpoints = backend.inference(net, _arrays(net), _clips(variant))
    _assert_agrees(endpoints, _expected(variant))


def test_the_wrong_timing_changes_the_result(backend):
    """Names and shapes do not distinguish the two."""
    net = _net(ATTENDING)
    wrong = arch.narrow(arch.make(net.name.replace("32x2", "8x8"), CLASSES), DIVISOR)
    logits, _ = backend.inference(wrong, _arrays(net), _clips(ATTENDING))
    assert relative_error(logits, _expected(ATTENDING)["Logits"]) > WRONG


def test_groups_of_the_affine_nets_differ_from_full_attention():
    grouped = _expected(GROUPED)
    whole = nonlocal_net.forward(_blobs(_net(GROUPED)), _clips(GROUPED), GROUPED, group=8)
    assert_close(grouped["res3_1"], whole["res3_1"], "before the first block")
    for name in ("nonlocal_conv3_1", "nonlocal_conv3_3"):
        assert relative_error(grouped[name], whole[name]) > WRONG


@pytest.mark.parametrize(
    ("one", "other"),
    [("bn_b", "bn_rm"), ("bn_s", "bn_riv"), ("theta_w", "phi_w"), ("phi_b", "g_b")],
)
def test_an_exchange_of_two_blobs_changes_the_result(one, other):
    blobs = _blobs(_net(ATTENDING))
    wrong = dict(blobs)
    for unit in [name.removesuffix(one) for name in blobs if name.endswith(one)]:
        if unit + other in blobs:
            wrong[unit + one], wrong[unit + other] = blobs[unit + other], blobs[unit + one]
    received = nonlocal_net.forward(wrong, _clips(ATTENDING), ATTENDING)
    assert relative_error(received["Logits"], _expected(ATTENDING)["Logits"]) > WRONG


@pytest.mark.slow
@pytest.mark.parametrize(("non_local", "wrapped"), [(True, True), (False, False)])
def test_a_pickled_training_checkpoint_at_full_width(backend, tmp_path, non_local, wrapped):
    """With momenta and counters; unwrapped with the linear layer as a convolution."""
    variant, clips = Variant(50, "8x8", non_local), randomise.clips((1, 8, 64, 64, 3))
    blobs = _blobs(arch.make(str(variant), CLASSES))
    learned = {name: blob for name, blob in blobs.items() if not name.endswith(("_rm", "_riv"))}
    momenta = {f"{name}_momentum": np.full_like(blob, np.nan) for name, blob in learned.items()}
    tree = {**blobs, **momenta, "lr": np.full((1,), 0.00125, np.float32), "model_iter": 400_000}
    if not wrapped:
        tree["pred_w"] = blobs["pred_w"][:, :, None, None, None]
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps({"blobs": tree} if wrapped else tree, 2))
    weights = hub.read(path, hub.ConversionOptions(architecture=str(variant)))
    assert (weights.net.name, weights.net.num_classes) == (str(variant), CLASSES)
    assert (weights.format, weights.dialect) == ("caffe2_pkl", "nonlocal_net")
    assert {"lr", "model_iter", "pred_w_momentum"} <= set(weights.ignored)
    _, endpoints = backend.inference(weights.net, weights.arrays, clips)
    _assert_agrees(endpoints, nonlocal_net.forward(blobs, clips, variant))
