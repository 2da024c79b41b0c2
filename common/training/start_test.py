"""What a run begins with, on networks with a sixteenth of their channels."""

import dataclasses

import numpy as np
import pytest

from common import arch, model_card
from common.model_card import ModelCard
from common.preprocessing import contracts
from common.preprocessing.contracts import RGB_CONTRACT
from common.training import exporting, recipes, start
from common.training.snapshot import Snapshot
from common.training.snapshots import RunFolder
from convert import hub, published
from convert.formats import safetensors
from convert.published import Checkpoint
from parity_tests import randomise

pytestmark = pytest.mark.usefixtures("thin")

FINETUNE = recipes.get("finetune")
SMALL = ["sample_duration=16", "sample_rate=2", "short_side=40,48", "crop=32", "global_pool=true"]
RECIPE = recipes.changed(FINETUNE, SMALL)
HEAD = ("Logits.Conv3d_0c_1x1.conv.weight", "Logits.Conv3d_0c_1x1.conv.bias")


def _write(path, architecture="inception_i3d", classes=7, channels=3, scaled=False, to=None):
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


def test_random_weights_are_those_of_the_seed():
    found = start.from_recipe(RECIPE, 5)
    net = arch.make("inception_i3d_global", 5)
    assert (found.net.name, found.net.num_classes) == ("inception_i3d_global", 5)
    assert (found.weights, found.notes) == (None, ("random weights",))
    _assert_equal(found.arrays, arch.initial_arrays(net, RECIPE.seed))
    other = start.from_recipe(dataclasses.replace(RECIPE, seed=1), 5)
    _assert_equal(other.arrays, arch.initial_arrays(net, 1))
    assert (found.arrays[HEAD[0]] != other.arrays[HEAD[0]]).mean() > 0.9
    line = f"{arch.count(net):,} parameters, from nothing (random weights)"
    assert start.describe(found, None) == f"inception_i3d_global, 5 classes, {line}"


def test_clips_are_as_the_recipe_takes_them():
    contract = start.from_recipe(RECIPE, 5).contract
    usual = contracts.usual("inception_i3d")
    assert contract == dataclasses.replace(usual, frames=16, stride=2, short_side=40, crop=32)
    flow = start.from_recipe(dataclasses.replace(RECIPE, stream="flow"), 5)
    assert (flow.contract.channels, flow.contract.channel_order) == ("flow", "xy")
    assert (flow.net.in_channels, flow.contract.crop) == (2, 32)


def test_the_network_has_the_settings_of_the_recipe():
    recipe = dataclasses.replace(RECIPE, dropout=0.25, batch_norm_momentum=0.125)
    net = start.from_recipe(recipe, 5).net
    assert net.head.dropout == 0.25
    momenta = {conv.norm.momentum for _, conv in arch.convolutions(net) if conv.norm}
    assert momenta == {0.125}


@pytest.mark.parametrize(
    ("architecture", "global_pool", "expected"),
    [
        ("inception_i3d", True, "inception_i3d_global"),
        ("inception_i3d", False, "inception_i3d"),
        ("inception_i3d_global", True, "inception_i3d_global"),
        ("inception_i3d_symmetric", True, "inception_i3d_symmetric"),  # its head does it anyway
        ("r2plus1d_18", True, "r2plus1d_18"),
        ("i3d_resnet50_8x8", True, "i3d_resnet50_8x8"),
    ],
)
def test_a_head_that_pools_over_the_whole_picture(architecture, global_pool, expected):
    recipe = dataclasses.replace(RECIPE, architecture=architecture, global_pool=global_pool)
    net = start.from_recipe(recipe, 5).net
    assert (net.name, net.head.pool is None) == (expected, expected != "inception_i3d")


def test_another_number_of_classes_replaces_the_head(tmp_path):
    arrays = _write(tmp_path / "seven.pt", to="piergiaj")
    found = start.from_recipe(RECIPE, 5, tmp_path / "seven.pt")
    assert found.net.num_classes == 5
    body = {name: array for name, array in arrays.items() if name not in HEAD}
    _assert_equal({name: found.arrays[name] for name in found.arrays if name not in HEAD}, body)
    fresh = arch.initial_arrays(arch.make("inception_i3d", 5))
    _assert_equal({name: found.arrays[name] for name in HEAD}, {name: fresh[name] for name in HEAD})
    assert found.notes == (
        "a new classifier of 5 classes", "the weights are of inception_i3d"
    )  # fmt: skip
    assert list(found.weights) == ["seven.pt"]
    assert "from seven.pt (a new classifier of 5 classes; the" in start.describe(
        found, tmp_path / "seven.pt"
    )


def test_a_new_head_is_that_of_the_seed(tmp_path):
    _write(tmp_path / "model.safetensors")
    heads = [
        start.from_recipe(
            dataclasses.replace(RECIPE, seed=seed), 5, tmp_path / "model.safetensors"
        ).arrays[HEAD[0]]
        for seed in (3, 3, 4)
    ]
    np.testing.assert_array_equal(heads[0], heads[1])
    assert (heads[0] != heads[2]).mean() > 0.9


def test_as_many_classes_keep_the_head(tmp_path):
    arrays = _write(tmp_path / "seven.pt", to="piergiaj")
    recipe = dataclasses.replace(FINETUNE, num_classes=None)
    found = start.from_recipe(recipe, 7, tmp_path / "seven.pt")
    _assert_equal(found.arrays, arrays)
    assert (found.net.name, found.notes) == ("inception_i3d", ())


def test_weights_of_the_other_stream_are_refused(tmp_path):
    _write(tmp_path / "rgb.pt", to="piergiaj")
    recipe = dataclasses.replace(RECIPE, stream="flow")
    message = r"rgb\.pt: the weights are for another stream\. Expected flow, 2 .* Received: rgb\."
    with pytest.raises(ValueError, match=message):
        start.from_recipe(recipe, 7, tmp_path / "rgb.pt")
    _write(tmp_path / "flow.pt", channels=2, to="piergiaj")
    with pytest.raises(ValueError, match=r"Expected rgb, 3 channels\. Received: flow\."):
        start.from_recipe(RECIPE, 7, tmp_path / "flow.pt")
    assert start.from_recipe(recipe, 7, tmp_path / "flow.pt").net.in_channels == 2


@pytest.mark.parametrize("architecture", ["r2plus1d_18", "i3d_resnet50_8x8"])
def test_weights_of_another_network_are_refused(tmp_path, architecture):
    _write(tmp_path / "other.safetensors", architecture)
    message = (
        r"other\.safetensors: the weights are of another network\. Expected inception_i3d_global\. "
        rf"Received: {architecture}\. .* --set architecture={architecture}\."
    )
    with pytest.raises(ValueError, match=message):
        start.from_recipe(RECIPE, 7, tmp_path / "other.safetensors")


def test_names_that_fit_several_networks_are_those_of_the_recipe(tmp_path):
    path = tmp_path / "model.safetensors"
    arrays = randomise.arrays(arch.make("i3d_resnet50_8x8", 7))
    safetensors.write(path, arrays)  # and not which it is
    for architecture in ("i3d_resnet50_8x8", "i3d_resnet50_8x8_padded"):
        recipe = dataclasses.replace(RECIPE, architecture=architecture)
        found = start.from_recipe(recipe, 7, path)
        assert (found.net.name, found.notes) == (architecture, ())
        _assert_equal(found.arrays, arrays)
    message = (
        r"model\.safetensors: the weights are of another network\. Expected inception_i3d\. "
        r"Received: one of .*, i3d_resnet50_8x8_padded\. .* --set architecture=NAME"
    )
    with pytest.raises(ValueError, match=message):
        start.from_recipe(RECIPE, 7, path)


def test_trained_scales_of_batch_norm_are_kept(tmp_path):
    arrays = _write(tmp_path / "scaled.pt", scaled=True, to="piergiaj")
    found = start.from_recipe(RECIPE, 7, tmp_path / "scaled.pt")
    scales = [name for name in found.arrays if name.endswith("norm.weight")]
    assert len(scales) == 57  # every unit of InceptionI3D but the classifier
    _assert_equal(found.arrays, arrays)
    assert [p.name for p in arch.parameters(found.net)] == list(found.arrays)
    assert found.net.name == "inception_i3d_global"


def test_weights_that_were_trained_here_bring_their_contract(tmp_path):
    net = arch.make("inception_i3d", 3)
    arrays = randomise.arrays(net)
    contract = dataclasses.replace(RGB_CONTRACT, fps=12.5, frames=99, mean=(1.0,), std=(2.0,))
    card = ModelCard("rgb", ("a", "b", "c"), contract, "i3d_torch")
    snapshot = Snapshot(3, net.name, 3, 3, arrays, recipes.to_json(RECIPE), {})
    path = exporting.finish(tmp_path, snapshot, card)
    found = start.from_recipe(RECIPE, 3, path)
    assert found.contract == dataclasses.replace(
        contract, frames=16, stride=2, short_side=40, crop=32
    )
    assert found.weights == {"model.safetensors": f"sha256 {model_card.read(path).weights}"}
    _assert_equal(found.arrays, arrays)


def test_a_snapshot_gives_its_weights_alone(tmp_path):
    net = arch.make("inception_i3d_global", 7)
    arrays = randomise.arrays(net)
    average = {f"average/{HEAD[0]}": arrays[HEAD[0]] + 1}
    RunFolder(tmp_path).write(Snapshot(3, net.name, 7, 3, arrays | average, {}))
    found = start.from_recipe(RECIPE, 7, tmp_path / "snapshots/step_000003.safetensors")
    _assert_equal(found.arrays, arrays)
    assert found.notes == ("a snapshot's own weights, not their average",)


def test_published_weights_bring_theirs(tmp_path, monkeypatch):
    arrays = _write(tmp_path / "model.ckpt", to="kinetics_i3d")
    contract = dataclasses.replace(RGB_CONTRACT, fps=15.0)
    row = Checkpoint("rgb_made_up", "rgb", 7, "", contract, (), "")
    monkeypatch.setitem(published.CHECKPOINTS, row.name, row)
    monkeypatch.setattr(published, "fetch", {row.name: tmp_path / "model.ckpt"}.get)
    found = start.from_recipe(RECIPE, 7, "rgb_made_up")
    assert found.contract == dataclasses.replace(
        contract, frames=16, stride=2, short_side=40, crop=32
    )
    _assert_equal(found.arrays, arrays)
    assert "from rgb_made_up (the weights" in start.describe(found, "rgb_made_up")


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        start.from_recipe(RECIPE, 7, tmp_path / "gone.pt")
