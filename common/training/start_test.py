"""The first weights of a run, on networks with a sixteenth of their channels."""

import dataclasses

import numpy as np
import pytest

from common import arch, models
from common.model_card import ModelCard
from common.preprocessing import contracts
from common.preprocessing.contracts import RGB_CONTRACT
from common.training import checkpoints, recipes
from common.training.checkpoints import Snapshot
from common.training.start import start
from convert import hub, published
from convert.formats import safetensors
from convert.published import Checkpoint
from parity_tests import randomise

pytestmark = pytest.mark.usefixtures("thin")

SMALL = ["sample_duration=16", "sample_rate=2", "short_side=40,48", "crop=32", "global_pool=true"]
RECIPE = recipes.changed(recipes.RECIPES["finetune"], SMALL)
HEAD = ("Logits.Conv3d_0c_1x1.conv.weight", "Logits.Conv3d_0c_1x1.conv.bias")


def _write(path, architecture="inception_i3d", classes=7, channels=3, scaled=False, to="piergiaj"):
    """Random weights in a file; returns them by canonical name."""
    net = arch.make(architecture, classes, channels)
    net = arch.scaled(net) if scaled else net
    arrays = randomise.arrays(net)
    hub.write(hub.Weights(net, arrays), path, to)
    return arrays


def _assert_equal(actual, expected):
    assert set(actual) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


def _resized(contract):
    return dataclasses.replace(contract, frames=16, stride=2, short_side=40, crop=32)


def test_random_weights_are_those_of_the_seed():
    found, other = (start(dataclasses.replace(RECIPE, seed=seed), 7) for seed in (0, 1))
    net = arch.make("inception_i3d_global", 7)
    assert (found.net.name, found.net.num_classes) == ("inception_i3d_global", 7)
    assert found.name == "random weights"
    _assert_equal(found.arrays, arch.initial_arrays(net, 0))
    _assert_equal(other.arrays, arch.initial_arrays(net, 1))
    assert found.contract == _resized(contracts.usual("inception_i3d"))
    flow = start(dataclasses.replace(RECIPE, stream="flow"), 7)
    assert (flow.net.in_channels, flow.contract.channels, flow.contract.crop) == (2, "flow", 32)


@pytest.mark.parametrize(
    ("architecture", "global_pool", "expected"),
    [
        ("inception_i3d", False, "inception_i3d"),
        ("inception_i3d_symmetric", True, "inception_i3d_symmetric"),  # its head does it anyway
        ("r2plus1d_18", True, "r2plus1d_18"),
    ],
)
def test_a_head_that_pools_over_the_whole_picture(architecture, global_pool, expected):
    recipe = dataclasses.replace(RECIPE, architecture=architecture, global_pool=global_pool)
    net = start(recipe, 7).net
    assert (net.name, net.head.pool is None) == (expected, expected != "inception_i3d")


def test_another_number_of_classes_replaces_the_head(tmp_path):
    arrays = _write(tmp_path / "seven.pt")
    same = start(RECIPE, 7, tmp_path / "seven.pt")
    _assert_equal(same.arrays, arrays)
    assert (same.net.name, same.notes) == ("inception_i3d_global", ())
    found = start(RECIPE, 5, tmp_path / "seven.pt")
    assert found.net.num_classes == 5
    fresh = arch.initial_arrays(arch.make("inception_i3d", 5))
    _assert_equal(found.arrays, arrays | {name: fresh[name] for name in HEAD})
    assert found.notes == ("a new classifier of 5 classes",)


def test_weights_of_another_network_are_refused(tmp_path):
    _write(tmp_path / "model.safetensors", "r2plus1d_18", to=None)
    message = (
        r"model\.safetensors: the weights are of another network\. Expected inception_i3d_global\. "
        r"Received: r2plus1d_18\. .* --set architecture=r2plus1d_18\."
    )
    with pytest.raises(ValueError, match=message):
        start(RECIPE, 7, tmp_path / "model.safetensors")


def test_names_that_fit_several_networks_are_those_of_the_recipe(tmp_path):
    path = tmp_path / "model.safetensors"
    arrays = randomise.arrays(arch.make("i3d_resnet50_8x8", 7))
    safetensors.write(path, arrays)  # and not which it is
    for architecture in ("i3d_resnet50_8x8", "i3d_resnet50_8x8_padded"):
        found = start(dataclasses.replace(RECIPE, architecture=architecture), 7, path)
        assert (found.net.name, found.notes) == (architecture, ())
        _assert_equal(found.arrays, arrays)


def test_trained_scales_of_batch_norm_are_kept(tmp_path):
    arrays = _write(tmp_path / "scaled.pt", scaled=True)
    found = start(RECIPE, 7, tmp_path / "scaled.pt")
    scales = [name for name in found.arrays if name.endswith("norm.weight")]
    assert len(scales) == 57  # every unit of InceptionI3D but the classifier
    _assert_equal(found.arrays, arrays)
    assert [p.name for p in arch.parameters(found.net)] == list(found.arrays)
    assert found.net.name == "inception_i3d_global"


def test_weights_bring_their_contract(tmp_path, monkeypatch):
    """Those that were trained here, and published ones; but the recipe says sizes and lengths."""
    contract = dataclasses.replace(RGB_CONTRACT, fps=12.5, frames=99, mean=(1.0,), std=(2.0,))
    net = arch.make("inception_i3d", 7)
    card = ModelCard("rgb", tuple("abcdefg"), contract, "i3d_torch")
    path = checkpoints.write_model(tmp_path, Snapshot(3, net.name, randomise.arrays(net), {}), card)
    assert start(RECIPE, 7, path).contract == _resized(contract)

    arrays = _write(tmp_path / "model.ckpt", to="kinetics_i3d")
    row = Checkpoint("rgb_made_up", "rgb", 7, "", contract, (), "inception_i3d")
    monkeypatch.setitem(published.CHECKPOINTS, row.name, row)
    monkeypatch.setattr(published, "fetch", lambda *_: [tmp_path / "model.ckpt.index"] * 2)
    found = start(RECIPE, 7, "rgb_made_up")
    assert (found.contract, found.name) == (_resized(contract), "rgb_made_up")
    _assert_equal(found.arrays, arrays)


def test_dialects_have_the_suffix_that_their_owners_use():
    expected = {
        "piergiaj": ".pt", "pyslowfast": ".pt", "kinetics_i3d_600": ".ckpt", "flax": ".pickle",
        "linen": ".pickle", "pyslowfast_caffe2": ".pkl", "mindspore_finetuned": ".ms.ckpt",
        "sonnet": ".tf2.ckpt",
    }  # fmt: skip
    assert {name: models._suffix(name) for name in expected} == expected
