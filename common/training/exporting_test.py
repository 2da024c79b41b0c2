"""Weights of a run in other tools' names, on networks with a sixteenth of their channels."""

import dataclasses

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from common.model_card import ModelCard
from common.training import exporting, recipes, start
from common.training.snapshot import Snapshot
from convert import dialects, hub
from parity_tests import randomise

pytestmark = pytest.mark.usefixtures("thin")

RECIPE = recipes.changed(recipes.get("finetune"), ["global_pool=true", "crop=32"])
DIALECTS = ("kinetics_i3d", "hassony2", "sonnet", "flax")


def _begin(recipe=RECIPE, scaled=False):
    begin = start.from_recipe(recipe, 7)
    net = arch.scaled(begin.net) if scaled else begin.net
    return dataclasses.replace(begin, net=net, arrays=arch.initial_arrays(net))


def _end(folder, begin):
    """Weights at the end of a run, written as it does."""
    snapshot = Snapshot(3, begin.net.name, 7, 3, randomise.arrays(begin.net), {}, {})
    card = ModelCard("rgb", tuple("abcdefg"), begin.contract, "i3d_tf")
    return exporting.finish(folder, snapshot, card)


def test_others_read_the_weights_of_a_run(tmp_path):
    begin = _begin()
    assert begin.net.name == "inception_i3d_global"
    exporting.check(begin, DIALECTS)
    assert not any(tmp_path.iterdir())
    weights = _end(tmp_path, begin)
    paths = exporting.export(weights, begin, DIALECTS)
    assert [path.name for path in paths] == [
        "model_kinetics_i3d.ckpt", "model_hassony2.pt", "model_sonnet.tf2.ckpt",
        "model_flax.pickle",
    ]  # fmt: skip
    expected = randomise.arrays(begin.net)
    for path, dialect in zip(paths, DIALECTS, strict=True):
        found = hub.read(path, hub.ConversionOptions(architecture="inception_i3d"))
        assert (found.dialect, found.net.name, found.net.num_classes) == (
            dialect, "inception_i3d", 7
        )  # fmt: skip
        assert set(found.arrays) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(found.arrays[name], array, err_msg=f"{path}: {name}")


def test_files_end_in_what_is_usual_of_their_owners():
    torch = (
        "canonical", "piergiaj", "hassony2", "resnet3d", "caoliangjie_i3d", "pyslowfast",
        "pytorchvideo", "mmaction2", "torchvision", "caoliangjie_r2plus1d",
    )  # fmt: skip
    expected = {
        **dict.fromkeys(torch, ".pt"),
        **dict.fromkeys(("kinetics_i3d", "kinetics_i3d_600"), ".ckpt"),
        **dict.fromkeys(("flax", "linen"), ".pickle"),
        **dict.fromkeys(("nonlocal_net", "pyslowfast_caffe2", "vmz", "caffe2"), ".pkl"),
        **dict.fromkeys(("mindspore", "mindspore_finetuned"), ".ms.ckpt"),
        "sonnet": ".tf2.ckpt",
    }
    # A new dialect belongs into this table, and where it is not torch's into that of `hub`.
    written = {dialect.name for dialect in dialects.DIALECTS.values() if dialect.writable}
    assert {name: exporting._suffix(name) for name in written} == expected


def test_a_run_that_ends_again_writes_again(tmp_path):
    begin = _begin()
    weights = _end(tmp_path, begin)
    first = exporting.export(weights, begin, ["kinetics_i3d"])
    assert exporting.export(weights, begin, ["kinetics_i3d"]) == first
    assert exporting.export(weights, begin, []) == []


@pytest.mark.parametrize(
    ("dialect", "message"),
    [
        ("esperanto", "no such dialect. Expected one of .*kinetics_i3d.* Received: 'esperanto'"),
        ("vmz", "the dialect vmz has no names for inception_i3d, only for r2plus1d"),
        ("googlenet", "the dialect googlenet can only be read"),
    ],
)
def test_what_could_not_be_written_is_refused_before(dialect, message):
    with pytest.raises(ValueError, match=message):
        exporting.check(_begin(), ["kinetics_i3d", dialect])


def test_scales_that_a_dialect_has_no_place_for_are_refused_before():
    """Folding them into kernels needs leave, which a run has no flag for: `convert` does."""
    begin = _begin(scaled=True)
    begin = dataclasses.replace(begin, arrays=randomise.arrays(begin.net))
    exporting.check(begin, ["piergiaj"])
    message = r"^--export=kinetics_i3d: this cannot be .* exactly: .* scale.* `python -m convert`"
    with pytest.raises(CheckpointError, match=message):
        exporting.check(begin, ["kinetics_i3d"])


@pytest.mark.parametrize("architecture", ["r2plus1d_18", "i3d_resnet50_8x8"])
def test_other_networks_keep_their_name(tmp_path, architecture):
    begin = _begin(dataclasses.replace(RECIPE, architecture=architecture))
    exporting.check(begin, ["linen"])
    (path,) = exporting.export(_end(tmp_path, begin), begin, ["linen"])
    assert hub.read(path).net.name == architecture
