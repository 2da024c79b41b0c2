"""The optimiser step: scaling, clipping, what trains and decays, and its state as arrays."""

import math
from dataclasses import replace

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from common.training import optim
from common.training.data import Batch
from common.training.optim import Scaler, State, StepResult
from common.training.recipes import RECIPES

NET = arch.narrow(arch.make("i3d_resnet50_nl_8x8", 5), 16)
RECIPE = replace(RECIPES["nonlocal_400k"], architecture=NET.name)
HALF = {"precision": "float16"}


def test_the_scaler():
    """It doubles after 2000 good steps, halves after a bad one, and gives up below one."""
    assert Scaler(65536, 1998).after(True) == Scaler(65536, 1999)
    assert Scaler(65536, 1999).after(True) == Scaler(131072, 0)
    assert Scaler(65536, 1999).after(False) == Scaler(32768, 0)
    assert Scaler(2, 5).after(False) == Scaler(1)
    with pytest.raises(FloatingPointError, match=r"at every loss scale, down to 1: bfloat16"):
        Scaler(1).after(False)


@pytest.mark.parametrize(
    ("changes", "loss", "norm", "expected"),
    [
        ({}, 1.5, 4096.0, (StepResult(1.5, 4.0, 0.5), 1 / 1024, Scaler(1024, 7))),
        ({"clip_norm": 2.0}, 1.5, 4096.0, (StepResult(1.5, 4.0, 0.5), 0.5 / 1024, Scaler(1024, 7))),
        ({"clip_norm": 8.0}, 1.5, 4096.0, (StepResult(1.5, 4.0, 0.5), 1 / 1024, Scaler(1024, 7))),
        ({"clip_norm": 8.0}, 1.5, 0.0, (StepResult(1.5, 0.0, 0.5), 1 / 1024, Scaler(1024, 7))),
        ({"task": "frames"}, 1.5, 1024.0, (StepResult(1.5, 1.0, None), 1 / 1024, Scaler(1024, 7))),
        (HALF, 1.5, 1024.0, (StepResult(1.5, 1.0, 0.5), 1 / 1024, Scaler(1024, 8))),
        (HALF, 1.5, math.inf, (StepResult(1.5, math.inf, 0.5), None, Scaler(512))),
        ({}, 1.5, math.inf, r"the gradient of the loss 1\.5 is not finite"),
        (HALF, math.nan, math.inf, "the loss is nan"),
    ],
)
def test_a_step_is_clipped_skipped_or_refused(changes, loss, norm, expected):
    recipe, scaler = replace(RECIPE, **changes), Scaler(1024, 7)
    if isinstance(expected, str):
        with pytest.raises(FloatingPointError, match=expected):
            optim.check_step(recipe, scaler, loss, norm, 0.5)
    else:
        assert optim.check_step(recipe, scaler, loss, norm, 0.5) == expected


def test_a_single_replica_has_nothing_to_synchronise():
    sync = replace(RECIPE, batch_norm="sync")
    assert [optim.batch_norm_mode(sync, n) for n in (1, 2)] == ["train", "sync"]
    assert optim.batch_norm_mode(replace(RECIPE, batch_norm="freeze"), 1) == "freeze"


def test_dropout_has_the_shape_of_the_features():
    clips = np.zeros((2, 8, 64, 64, 3), np.uint8)
    batch = Batch(("a", "b"), clips, np.zeros(2, np.int64), ((0, 0, 0), (0, 0, 1)))
    masks = optim.dropout(arch.with_dropout(NET, 0.75), batch)
    shape = arch.endpoint_shapes(NET, (8, 64, 64))["Features"]
    assert masks.shape == (2, *shape)
    assert set(np.unique(masks)) == {0, 4}
    assert (masks[0] != masks[1]).any()
    assert optim.dropout(arch.without_dropout(NET), batch) is None


@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize("biases", [False, True])
def test_what_decays(norms, biases):
    recipe = replace(RECIPE, decay_norms=norms, decay_biases=biases)
    found = {".".join(name.split(".")[-2:]) for name in optim.decayed(NET, recipe)}
    expected = {"conv.weight": True, "conv.bias": biases, "norm.weight": norms, "norm.bias": norms}
    assert found == {name for name, decays in expected.items() if decays}
    assert optim.decayed(NET, replace(recipe, weight_decay=0.0)) == frozenset()


@pytest.mark.parametrize(
    ("first", "count", "names"),
    [
        (None, 0, ["conv1", "res2_0"]),
        ("conv1", 0, ["conv1", "res2_0"]),
        ("pool1", 1, ["res2_0"]),
        ("res5_2", 23, ["res5_2", "Logits"]),
        ("Features", 24, ["Logits"]),
        ("Logits", 24, ["Logits"]),
    ],
)
def test_what_trains(first, count, names):
    recipe = replace(RECIPE, train_from=first)
    frozen = optim.frozen_nodes(NET, recipe)
    assert frozen == tuple(node.name for node in NET.nodes[:count])
    units = list(dict.fromkeys(p.unit[0] for p in optim.trained(NET, recipe)))
    assert units[: len(names)] == names
    with pytest.raises(ValueError, match="nothing is left to train from Predictions on"):
        optim.frozen_nodes(NET, replace(RECIPE, train_from="Predictions"))


def test_a_recipe_changes_norms_and_dropout():
    net = optim.configured(NET, replace(RECIPE, batch_norm_momentum=0.25, dropout=0.75))
    norms = {conv.norm.momentum for _, conv in arch.convolutions(net) if conv.norm}
    assert (norms, net.head.dropout) == ({0.25}, 0.75)
    untouched = replace(RECIPE, batch_norm_momentum=None, dropout=None)
    assert optim.configured(NET, untouched) == NET


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("average_decay", [0.0, 0.9])
def test_a_state_becomes_arrays_and_back(precision, average_decay):
    recipe = replace(RECIPE, precision=precision, average_decay=average_decay, train_from="Logits")
    names = [p.name for p in optim.trained(NET, recipe)]
    model = {p.name: np.random.default_rng(0).random(p.shape) for p in arch.parameters(NET)}
    momentum = {name: model[name] + 1 for name in names}
    average = model | {name: model[name] + 2 for name in names} if average_decay else None
    scaler = Scaler(4, 2) if precision == "float16" else Scaler()
    arrays = State(model, momentum, average, scaler).to_arrays(recipe)
    assert len(arrays) == len(model) + len(names) * (1 + bool(average)) + 2 * (scaler.scale == 4)
    state = State.from_arrays(NET, recipe, arrays)
    assert state == State(model, momentum, average, scaler)
    # What else may be wrong with a state is tested with the frameworks.
    other = replace(recipe, average_decay=0.9, precision="float16", train_from="res5_0")
    with pytest.raises(CheckpointError, match=r"missing: (average/|momentum/res5)"):
        State.from_arrays(NET, other, arrays)


def test_interpolation_repeats_the_ends():
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    np.testing.assert_array_equal(optim.interpolation(2, 4), expected)
    np.testing.assert_array_equal(optim.interpolation(3, 3), np.eye(3))
    np.testing.assert_array_equal(optim.interpolation(1, 3), np.ones((3, 1)))
    assert optim.interpolation(8, 64).sum(axis=1) == pytest.approx(1)
