"""Both backends compute the published I3D-ResNets and non-local nets from Caffe2 pickles."""

import functools
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest

from common import arch
from convert import changes, hub
from convert.arrays import to_canonical
from convert.dialects import DIALECTS
from convert.formats import caffe2_pkl
from parity_tests import nonlocal_net, randomise
from parity_tests.compare import assert_close, relative_error
from parity_tests.nonlocal_net import Variant

DIVISOR = 16
CLASSES = 11
WRONG = 1e-3  # smallest error of a mistake: a hundred times the tolerance

# Remainders of each stride in space and time, and several groups for the affine non-local nets.
SIZES = {
    Variant(50, "8x8"): (9, 57, 64),
    Variant(50, "32x2"): (35, 64, 57),
    Variant(50, "8x8", affine=True): (8, 70, 61),
    Variant(50, "32x2", affine=True): (32, 65, 66),
    Variant(50, "8x8", non_local=True): (11, 57, 64),
    Variant(50, "32x2", non_local=True): (33, 79, 66),
    Variant(50, "8x8", non_local=True, affine=True): (17, 57, 64),
    Variant(50, "32x2", non_local=True, affine=True): (64, 61, 70),
    Variant(50, "8x8", non_local=True, padded=True): (8, 57, 62),
    Variant(50, "32x2", padded=True): (33, 60, 57),
    Variant(101, "8x8", non_local=True): (8, 57, 64),
    Variant(101, "32x2", non_local=True, affine=True): (64, 64, 57),
}
GROUPED = [variant for variant in SIZES if variant.non_local and variant.affine]


def _shape(variant):
    return (2, *SIZES[variant], 3)


@functools.cache
def _blobs(variant):
    return nonlocal_net.random(variant, DIVISOR, CLASSES)


@functools.cache
def _expected(variant, shape):
    return nonlocal_net.forward(_blobs(variant), randomise.clips(shape), variant)


def _net(variant):
    return arch.narrow(arch.make(str(variant), CLASSES), DIVISOR)


def _arrays(native, net):
    """Converts blobs to canonical arrays, as `hub.read` does at full width."""
    entries = DIALECTS["nonlocal_net"].natives(net)
    others = native.keys() - {entry.name for entry in entries}
    assert [name for name in others if not DIALECTS["nonlocal_net"].ignores(name)] == []
    arrays = {}
    for entry in entries:
        array = native[entry.name]
        layout = next(name for name, shape in entry.shapes.items() if shape == array.shape)
        arrays[entry.canonical] = to_canonical(array, layout)
    return arrays


def _pickled(path, blobs, wrapped=True):
    """Writes a training checkpoint, with momenta and counters, as Python pickles it."""
    learned = {name: blob for name, blob in blobs.items() if not name.endswith(("_rm", "_riv"))}
    momenta = {f"{name}_momentum": np.full_like(blob, np.nan) for name, blob in learned.items()}
    tree = {**blobs, **momenta, "lr": np.full((1,), 0.00125, np.float32), "model_iter": 400_000}
    path.write_bytes(pickle.dumps({"blobs": tree} if wrapped else tree, 2))
    return path


def _as_python2_does(path, blobs):
    """Writes blobs with byte strings as data."""
    caffe2_pkl.write(path, blobs | {"lr": np.float32([0.01]), "model_iter": np.array(400_000)})
    return path


def _fully_convolutional(path, blobs):
    """Writes blobs without the wrapper, and with the linear layer as a convolution."""
    kernel = blobs["pred_w"][:, :, None, None, None]
    return _pickled(path, blobs | {"pred_w": kernel}, wrapped=False)


@functools.cache
def _endpoints(backend, variant):
    """Returns the endpoints of a backend with the weights of a pickle."""
    net, clips = _net(variant), randomise.clips(_shape(variant))
    with tempfile.TemporaryDirectory() as folder:
        arrays = _arrays(caffe2_pkl.read(_pickled(Path(folder) / "m.pkl", _blobs(variant))), net)
        logits, endpoints = backend.inference(net, arrays, clips)
    np.testing.assert_array_equal(logits, endpoints["Logits"])
    return endpoints


def _assert_agrees(endpoints, expected):
    computed = [name for name in expected if not name.endswith("/attention")]
    assert list(endpoints) == computed
    for name in computed:
        assert_close(endpoints[name], expected[name], name)


@pytest.mark.parametrize(
    ("variant", "numbers"),
    [(Variant(), 28_043_472), (Variant(timing="32x2", non_local=True), 35_401_936)],
    ids=str,
)
def test_the_reference_has_the_published_number_of_parameters(variant, numbers):
    shapes = nonlocal_net.shapes(variant)
    trainable = {name: s for name, s in shapes.items() if not name.endswith(("_rm", "_riv"))}
    assert sum(np.prod(shape) for shape in trainable.values()) == numbers
    assert len(shapes) == (267 + 5 * 12 if variant.non_local else 267)


@pytest.mark.parametrize("variant", SIZES, ids=str)
def test_names_and_shapes(variant):
    expected = nonlocal_net.shapes(variant)
    entries = DIALECTS["nonlocal_net"].natives(arch.make(str(variant)))
    assert {entry.name for entry in entries} == expected.keys()
    assert all(expected[entry.name] in entry.shapes.values() for entry in entries)


@pytest.mark.parametrize("variant", SIZES, ids=str)
def test_every_endpoint(backend, variant):
    _assert_agrees(_endpoints(backend, variant), _expected(variant, _shape(variant)))


@pytest.mark.parametrize("write", [_pickled, _as_python2_does, _fully_convolutional])
def test_every_way_of_writing_the_file(tmp_path, write):
    variant = Variant(non_local=True)
    net, blobs = _net(variant), _blobs(variant)
    arrays = _arrays(caffe2_pkl.read(write(tmp_path / "m.pkl", blobs)), net)
    assert len(arrays) == len(blobs)
    assert arrays.keys() == {parameter.name for parameter in arch.parameters(net)}
    stored = {entry.canonical: entry.name for entry in DIALECTS["nonlocal_net"].natives(net)}
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, blobs[stored[name]].reshape(array.shape))


@pytest.mark.parametrize(
    ("timing", "other", "non_local"),
    [("8x8", "32x2", True), ("32x2", "8x8", True), ("32x2", "8x8", False)],
)
def test_the_wrong_timing_changes_the_result(backend, timing, other, non_local):
    """Names and shapes do not distinguish the two."""
    shape = (2, 16, 57, 64, 3)
    variant = Variant(timing=timing, non_local=non_local)
    net = _net(Variant(timing=other, non_local=non_local))
    arrays = _arrays(_blobs(variant), net)
    logits, endpoints = backend.inference(net, arrays, randomise.clips(shape))
    expected = _expected(variant, shape)
    for received, name in [(endpoints["Features"], "Features"), (logits, "Logits")]:
        assert relative_error(received, expected[name]) > WRONG


@pytest.mark.parametrize("variant", GROUPED, ids=str)
def test_groups_of_the_affine_nets_differ_from_full_attention(backend, variant):
    endpoints, clips = _endpoints(backend, variant), randomise.clips(_shape(variant))
    whole = nonlocal_net.forward(_blobs(variant), clips, variant, group=8)
    assert whole["res3_1"].shape[1] == 8
    assert_close(endpoints["res3_1"], whole["res3_1"], "before the first block")
    for name in ("nonlocal_conv3_1", "nonlocal_conv3_3", "Features", "Logits"):
        assert relative_error(endpoints[name], whole[name]) > WRONG


@pytest.mark.parametrize("variant", SIZES, ids=str)
def test_no_softmax_is_flat_or_saturated(variant):
    """Otherwise queries and keys, or values, would have no effect."""
    expected = _expected(variant, _shape(variant))
    assert 1.5 / CLASSES < expected["Predictions"].max() < 0.95
    blocks = [x for name, x in expected.items() if name.endswith("/attention")]
    assert len(blocks) == (5 if variant.non_local else 0)
    for attention in blocks:
        largest = attention.max(axis=-1).mean()
        assert 1.25 / attention.shape[-1] < largest < 0.8


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("bn_b", "bn_rm"), ("bn_s", "bn_riv"), ("out_b", "bn_b")),
        *(("theta_w", "phi_w"), ("theta_b", "phi_b"), ("phi_w", "g_w"), ("phi_b", "g_b")),
    ],
)
def test_an_exchange_of_two_blobs_changes_the_result(one, other):
    variant = Variant(50, "8x8", non_local=True)
    blobs, clips = _blobs(variant), randomise.clips(_shape(variant))
    wrong = dict(blobs)
    for unit in [name.removesuffix(one) for name in blobs if name.endswith(one)]:
        if unit + other in blobs:
            wrong[unit + one], wrong[unit + other] = blobs[unit + other], blobs[unit + one]
    received = nonlocal_net.forward(wrong, clips, variant)
    expected = _expected(variant, _shape(variant))
    assert relative_error(received["Logits"], expected["Logits"]) > WRONG


def test_the_head_is_the_published_one_at_224_pixels(backend):
    variant, clips = Variant(), randomise.clips((1, 8, 224, 224, 3))
    blobs, net = _blobs(variant), _net(variant)
    _, endpoints = backend.inference(net, _arrays(blobs, net), clips)
    last = nonlocal_net.forward(blobs, clips, variant)["res5_2"]
    assert last.shape[1:4] == (4, 7, 7)
    assert_close(endpoints["Predictions"], nonlocal_net.views(blobs, last), "predictions")


@pytest.mark.parametrize("timing", ["8x8", "32x2"])
def test_affine_nets_equal_batch_norm(timing):
    variant, shape = Variant(timing=timing), (2, 32, 57, 64, 3)
    expected = _expected(variant, shape)
    folded = nonlocal_net.to_affine(_blobs(variant))
    frozen = Variant(timing=timing, affine=True)
    assert folded.keys() == nonlocal_net.shapes(frozen).keys()
    received = nonlocal_net.forward(folded, randomise.clips(shape), frozen)
    for name in expected:
        # The published eps has one more digit than the script's.
        assert_close(received[name], expected[name], name, 1e-9)
    net = _net(variant)
    target, arrays = changes.to_affine(net, _arrays(_blobs(variant), net))
    assert target.name == str(frozen)
    for entry in DIALECTS["nonlocal_net"].natives(target):
        assert_close(arrays[entry.canonical].ravel(), folded[entry.name].ravel(), entry.name, 1e-7)


def test_the_norm_of_a_non_local_block_is_folded_into_its_projection(backend):
    """With a single group the results are the same."""
    variant, shape = Variant(non_local=True), (2, 8, 57, 64, 3)
    blobs, net = _blobs(variant), _net(variant)
    target, arrays = changes.to_affine(net, _arrays(blobs, net), allow={"nonlocal_groups"})
    folded = nonlocal_net.to_affine(blobs)
    for name in [name.removesuffix("_out_w") for name in blobs if name.endswith("_out_w")]:
        scale, offset = folded.pop(f"{name}_bn_s"), folded.pop(f"{name}_bn_b")
        folded[f"{name}_out_w"] = folded[f"{name}_out_w"] * scale[:, None, None, None, None]
        folded[f"{name}_out_b"] = folded[f"{name}_out_b"] * scale + offset
    for entry in DIALECTS["nonlocal_net"].natives(target):
        assert_close(arrays[entry.canonical].ravel(), folded[entry.name].ravel(), entry.name, 1e-7)
    frozen = Variant(non_local=True, affine=True)
    _, endpoints = backend.inference(_net(frozen), arrays, randomise.clips(shape))
    _assert_agrees(endpoints, _expected(variant, shape))


@pytest.mark.slow
@pytest.mark.parametrize("non_local", [False, True])
@pytest.mark.parametrize(("timing", "frames", "wrapped"), [("8x8", 8, True), ("32x2", 32, False)])
def test_full_width(backend, tmp_path, non_local, timing, frames, wrapped):
    variant, clips = Variant(50, timing, non_local), randomise.clips((1, frames, 64, 64, 3))
    blobs = nonlocal_net.random(variant, classes=CLASSES)
    path = _pickled(tmp_path / "m.pkl", blobs, wrapped)
    weights = hub.read(path, hub.ConversionOptions(architecture=str(variant)))
    assert (weights.net.name, weights.net.num_classes) == (str(variant), CLASSES)
    assert (weights.format, weights.dialect) == ("caffe2_pkl", "nonlocal_net")
    assert {"lr", "model_iter", "pred_w_momentum"} <= set(weights.ignored)
    _, endpoints = backend.inference(weights.net, weights.arrays, clips)
    _assert_agrees(endpoints, nonlocal_net.forward(blobs, clips, variant))
