"""Runs before their first step, on networks with a sixteenth of their channels."""

import dataclasses

import numpy as np
import pytest

from common import arch, models
from common.annotations import annotation_files
from common.model_card import ModelCard
from common.preprocessing import contracts
from common.preprocessing.contracts import RGB_CONTRACT
from common.testing.data import CLASSES, STAMP, put
from common.training import recipes
from common.training.checkpoints import RunFolder, Snapshot, write_model
from common.training.run import Start, prepare
from common.training.settings import Settings
from convert import dialects, hub, published
from convert.formats import safetensors
from convert.published import Checkpoint
from parity_tests import randomise

pytestmark = pytest.mark.usefixtures("thin")

FINETUNE = recipes.get("finetune")
SMALL = ["sample_duration=16", "sample_rate=2", "short_side=40,48", "crop=32", "global_pool=true"]
RECIPE = recipes.changed(FINETUNE, SMALL)
PLAIN = recipes.changed(
    FINETUNE,
    ["sample_duration=4", "short_side=32,32", "crop=16", "global_pool=true",
     "architecture=r2plus1d_18", "schedule=constant", "milestones=", "rates="],
)  # fmt: skip
FLOW = recipes.changed(PLAIN, ["stream=flow"])
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
    found, other = (Start.of(dataclasses.replace(RECIPE, seed=s), 5) for s in (0, 1))
    net = arch.make("inception_i3d_global", 5)
    assert (found.net.name, found.net.num_classes) == ("inception_i3d_global", 5)
    assert (found.weights, found.notes) == (None, ("random weights",))
    _assert_equal(found.arrays, arch.initial_arrays(net, 0))
    _assert_equal(other.arrays, arch.initial_arrays(net, 1))
    line = f"{arch.count(net):,} parameters, from nothing (random weights)"
    assert found.describe(None) == f"inception_i3d_global, 5 classes, {line}"
    assert found.contract == _resized(contracts.usual("inception_i3d"))
    flow = Start.of(dataclasses.replace(RECIPE, stream="flow"), 5)
    assert (flow.contract.channels, flow.contract.channel_order) == ("flow", "xy")
    assert (flow.net.in_channels, flow.contract.crop) == (2, 32)


@pytest.mark.parametrize(
    ("architecture", "global_pool", "expected"),
    [
        ("inception_i3d", True, "inception_i3d_global"),
        ("inception_i3d", False, "inception_i3d"),
        ("inception_i3d_symmetric", True, "inception_i3d_symmetric"),  # its head does it anyway
        ("r2plus1d_18", True, "r2plus1d_18"),
    ],
)
def test_a_head_that_pools_over_the_whole_picture(architecture, global_pool, expected):
    recipe = dataclasses.replace(RECIPE, architecture=architecture, global_pool=global_pool)
    net = Start.of(recipe, 5).net
    assert (net.name, net.head.pool is None) == (expected, expected != "inception_i3d")


def test_another_number_of_classes_replaces_the_head(tmp_path):
    path = tmp_path / "seven.pt"
    arrays = _write(path)
    same = Start.of(FINETUNE, 7, path)
    _assert_equal(same.arrays, arrays)
    assert (same.net.name, same.notes) == ("inception_i3d", ())
    found = Start.of(RECIPE, 5, path)
    assert found.net.num_classes == 5
    fresh = arch.initial_arrays(arch.make("inception_i3d", 5))
    _assert_equal(found.arrays, arrays | {name: fresh[name] for name in HEAD})
    assert found.notes == ("a new classifier of 5 classes", "the weights are of inception_i3d")
    assert list(found.weights) == ["seven.pt"]
    assert "from seven.pt (a new classifier of 5 classes; the" in found.describe(path)


@pytest.mark.parametrize(
    ("stream", "channels", "message"),
    [
        ("flow", 3, r"are for another stream\. Expected flow, 2 .* Received: rgb\."),
        ("rgb", 2, r"are for another stream\. Expected rgb, 3 channels\. Received: flow\."),
        ("flow", 2, None),
    ],
)
def test_weights_of_the_other_stream_are_refused(tmp_path, stream, channels, message):
    _write(tmp_path / "w.pt", channels=channels)
    recipe = dataclasses.replace(RECIPE, stream=stream)
    if message is None:
        assert Start.of(recipe, 7, tmp_path / "w.pt").net.in_channels == channels
        return
    with pytest.raises(ValueError, match=r"w\.pt: the weights " + message):
        Start.of(recipe, 7, tmp_path / "w.pt")


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    _write(path, "r2plus1d_18", to=None)
    message = (
        r"model\.safetensors: the weights are of another network\. Expected inception_i3d_global\. "
        r"Received: r2plus1d_18\. .* --set architecture=r2plus1d_18\."
    )
    with pytest.raises(ValueError, match=message):
        Start.of(RECIPE, 7, path)


def test_names_that_fit_several_networks_are_those_of_the_recipe(tmp_path):
    path = tmp_path / "model.safetensors"
    arrays = randomise.arrays(arch.make("i3d_resnet50_8x8", 7))
    safetensors.write(path, arrays)  # and not which it is
    for architecture in ("i3d_resnet50_8x8", "i3d_resnet50_8x8_padded"):
        recipe = dataclasses.replace(RECIPE, architecture=architecture)
        found = Start.of(recipe, 7, path)
        assert (found.net.name, found.notes) == (architecture, ())
        _assert_equal(found.arrays, arrays)
    message = (
        r"model\.safetensors: the weights are of another network\. Expected inception_i3d\. "
        r"Received: one of .*, i3d_resnet50_8x8_padded\. .* --set architecture=NAME"
    )
    with pytest.raises(ValueError, match=message):
        Start.of(RECIPE, 7, path)


def test_trained_scales_of_batch_norm_are_kept(tmp_path):
    arrays = _write(tmp_path / "scaled.pt", scaled=True)
    found = Start.of(RECIPE, 7, tmp_path / "scaled.pt")
    scales = [name for name in found.arrays if name.endswith("norm.weight")]
    assert len(scales) == 57  # every unit of InceptionI3D but the classifier
    _assert_equal(found.arrays, arrays)
    assert [p.name for p in arch.parameters(found.net)] == list(found.arrays)
    assert found.net.name == "inception_i3d_global"


def test_weights_bring_their_contract(tmp_path, monkeypatch):
    """Those that were trained here, and published ones; but the recipe says sizes and lengths."""
    net = arch.make("inception_i3d", 3)
    contract = dataclasses.replace(RGB_CONTRACT, fps=12.5, frames=99, mean=(1.0,), std=(2.0,))
    card = ModelCard("rgb", ("a", "b", "c"), contract, "i3d_torch")
    snapshot = Snapshot(3, net.name, 3, 3, randomise.arrays(net), recipes.to_json(RECIPE), {})
    path = write_model(tmp_path, snapshot, card)
    assert Start.of(RECIPE, 3, path).contract == _resized(contract)

    arrays = _write(tmp_path / "model.ckpt", to="kinetics_i3d")
    row = Checkpoint("rgb_made_up", "rgb", 7, "", contract, (), "")
    monkeypatch.setitem(published.CHECKPOINTS, row.name, row)
    monkeypatch.setattr(published, "fetch", {row.name: tmp_path / "model.ckpt"}.get)
    found = Start.of(RECIPE, 7, "rgb_made_up")
    assert found.contract == _resized(contract)
    _assert_equal(found.arrays, arrays)
    assert "from rgb_made_up (the weights" in found.describe("rgb_made_up")


def test_a_snapshot_gives_its_weights_alone(tmp_path):
    net = arch.make("inception_i3d_global", 7)
    arrays = randomise.arrays(net)
    average = {f"average/{HEAD[0]}": arrays[HEAD[0]] + 1}
    RunFolder(tmp_path).write(Snapshot(3, net.name, 7, 3, arrays | average, {}))
    found = Start.of(RECIPE, 7, tmp_path / "snapshots/step_000003.safetensors")
    _assert_equal(found.arrays, arrays)
    assert found.notes == ("a snapshot's own weights, not their average",)


@pytest.fixture
def options(tmp_path):
    path, source = put(tmp_path)
    folders = {"rgb": source.rgb, "flow": source.flow, "output": tmp_path / "run"}
    return Settings(annotations=path, workers=0, **folders)


def _change(options, records=None, **changes):
    """Writes the annotations anew."""
    found = annotation_files.read(options.annotations)
    kept = tuple(each for each in found.records if records in (None, each.subset))
    options.annotations.unlink()
    annotation_files.write(options.annotations, dataclasses.replace(found, records=kept, **changes))


def test_what_a_run_needs(options):
    run = prepare(FLOW, options)
    assert run.recipe == dataclasses.replace(FLOW, num_classes=3)
    assert (run.classes, len(run.data), len(run.validation.job.records)) == (CLASSES, 6, 3)
    assert (run.start.net.num_classes, run.start.net.in_channels) == (3, 2)
    made = dataclasses.asdict(dataclasses.replace(STAMP, form="npy"))
    assert (run.initial.step, run.initial.arrays, run.initial.in_channels) == (0, {}, 2)
    assert run.initial.data.keys() == {"annotations", "clips", "weights", "flow"}
    assert (run.initial.data["clips"], run.initial.data["flow"]) == (6, made)
    card = run.card("i3d_tf")
    assert (card.stream, card.backend, card.flow) == ("flow", "i3d_tf", made)
    assert card.contract == run.start.contract
    assert prepare(PLAIN, options).initial.data["flow"] is None
    assert not options.output.exists()


def test_classes(options):
    """Those without a name are numbers; a number of classes that nobody says is an error."""
    run = prepare(recipes.changed(PLAIN, ["num_classes=5"]), options)
    assert run.classes == (*CLASSES, "class 3", "class 4")
    with pytest.raises(ValueError, match="expected labels below 2"):
        prepare(recipes.changed(PLAIN, ["num_classes=2"]), options)
    _change(options, classes=())
    with pytest.raises(ValueError, match=r"how many classes there are\. Give --num_classes\."):
        prepare(PLAIN, options)


def test_a_plateau_needs_validation_records(options):
    plateau = recipes.changed(PLAIN, ["schedule=plateau"])
    assert prepare(plateau, options).validation is not None
    _change(options, "training")
    assert prepare(PLAIN, options).validation is None
    with pytest.raises(ValueError, match=r"plateau depends on .* the rate would never fall\. Add"):
        prepare(plateau, options)


def test_flow_of_validation_is_made_like_that_of_training(options):
    for path in options.flow.rglob("validation_*_flow.npy"):
        dataclasses.replace(STAMP, form="jpg", quality=90).write(path)
    prepare(FLOW, options)  # how it is stored may differ
    for path in options.flow.rglob("validation_*_flow.npy"):
        dataclasses.replace(STAMP, form="npy", engine="opencv").write(path)
    with pytest.raises(ValueError, match="engine is 'numba' in training, 'opencv' in validation"):
        prepare(FLOW, options)
    prepare(PLAIN, options)  # which has none


@pytest.mark.parametrize(
    ("dialect", "message"),
    [
        ("esperanto", "no such dialect. Expected one of .*kinetics_i3d.* Received: 'esperanto'"),
        ("vmz", "the dialect vmz has no names for inception_i3d, only for r2plus1d"),
        ("kinetics_i3d", r"^--export=kinetics_i3d: this cannot be .* exactly: .* scale.* `python"),
    ],
)
def test_what_cannot_be_exported_is_refused(options, tmp_path, dialect, message):
    _write(tmp_path / "scaled.pt", classes=3, scaled=True)
    checkpoint = str(tmp_path / "scaled.pt")
    options = dataclasses.replace(options, checkpoint=checkpoint, export=("piergiaj", dialect))
    with pytest.raises(ValueError, match=message):
        prepare(RECIPE, options)
    assert not options.output.exists()


def test_exported_weights_are_read_as_their_owners_name_them(tmp_path):
    net = arch.make("inception_i3d_global", 7)
    expected = randomise.arrays(net)
    names = {
        "kinetics_i3d": "model_kinetics_i3d.ckpt", "hassony2": "model_hassony2.pt",
        "sonnet": "model_sonnet.tf2.ckpt", "flax": "model_flax.pickle",
    }  # fmt: skip
    for dialect, name in names.items():
        for _ in range(2):  # a run that ends again writes again
            path = models.export(net, expected, tmp_path, dialect)
        assert path.name == name
        found = hub.read(path, hub.ConversionOptions(architecture="inception_i3d"))
        assert (found.dialect, found.net.name) == (dialect, "inception_i3d")
        _assert_equal(found.arrays, expected)


def test_every_dialect_has_the_suffix_that_its_owners_use():
    suffixes = {
        ".pt": "canonical piergiaj hassony2 resnet3d caoliangjie_i3d pyslowfast pytorchvideo "
        "mmaction2 torchvision caoliangjie_r2plus1d",
        ".ckpt": "kinetics_i3d kinetics_i3d_600",
        ".pickle": "flax linen",
        ".pkl": "nonlocal_net pyslowfast_caffe2 vmz caffe2",
        ".ms.ckpt": "mindspore mindspore_finetuned",
        ".tf2.ckpt": "sonnet",
    }
    expected = {name: suffix for suffix, names in suffixes.items() for name in names.split()}
    written = {dialect.name for dialect in dialects.DIALECTS.values() if dialect.writable}
    assert {name: models._suffix(name) for name in written} == expected
