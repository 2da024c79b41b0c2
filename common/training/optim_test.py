"""The optimiser step: rates, clipping, what trains and decays, and its state as arrays."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from common.training import optim
from common.training.optim import State, StepResult
from common.training.recipes import RECIPES, changed

NET = arch.narrow(arch.make("i3d_resnet50_nl_8x8", 5), 16)
RECIPE = replace(RECIPES["nonlocal_400k"], architecture=NET.name)
PLAIN = changed(RECIPES["finetune"], ["steps=100", "milestones=", "rates=", "learning_rate=0.5"])


RATES = {
    "quo_vadis_rgb": {0: 0.1, 97_000: 0.01, 108_000: 0.001, 115_000: None},
    "quo_vadis_flow": {
        0: 0.1, 97_000: 0.01, 104_500: 0.001, 115_000: 0.1, 140_000: 0.01, 150_000: 0.001,
        155_000: None,
    },
    "nonlocal_400k": {0: 0.01, 150_000: 0.001, 300_000: 0.0001, 400_000: None},
    "finetune": {0: 8e-4, 10_000: 5e-4, 20_000: 3e-4, 30_000: 1e-4, 40_000: 5e-5, 63_600: None},
    "charades": {0: 0.1, 300: 0.01, 1_000: 0.001, 2_000: None},
    "vidor": {0: 1e-3, 300: 1e-4, 1_000: 1e-5, 14_000: None},
    "r2plus1d_kinetics": {0: 1e-3, 77_040: 1e-4, 154_080: 1e-5, 231_120: 1e-6, 269_640: None},
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_the_rates_of_every_recipe(name):
    rates = RATES[name]
    assert max(rates) == RECIPES[name].steps
    for first, behind in itertools.pairwise(rates):
        for step in (first, behind - 1):
            found = optim.learning_rate(RECIPES[name], step)
            assert found == pytest.approx(rates[first], rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ("schedule=constant", {0: 0.5, 50: 0.5, 1000: 0.5}),
        ("schedule=cosine", {0: 0.5, 25: 0.25 + 0.25 * math.sqrt(0.5), 50: 0.25, 100: 0, 500: 0}),
        # A warm-up ends at the rate that the schedule has then.
        ("schedule=cosine warmup_steps=50", {0: 0.05, 25: 0.15, 50: 0.25}),
        ("milestones=10 warmup_steps=4", {0: 0.05, 2: 0.275, 4: 0.5, 9: 0.5, 10: 0.05}),
    ],
)
def test_schedules(changes, rates):
    recipe = changed(PLAIN, changes.split())
    found = {step: optim.learning_rate(recipe, step) for step in rates}
    assert found == pytest.approx(rates, rel=1e-12)


def test_long_gradients_are_clipped_and_those_that_are_not_finite_refused():
    for clip_norm, norm, factor in ((None, 4, 1), (2.0, 4, 0.5), (8.0, 4, 1), (8.0, 0, 1)):
        recipe = replace(RECIPE, clip_norm=clip_norm)
        assert optim.check_step(recipe, StepResult(1.5, norm, None)) == factor
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        optim.check_step(RECIPE, StepResult(math.nan, math.nan, None))
    with pytest.raises(FloatingPointError, match=r"the gradient of the loss 1\.5 is not finite"):
        optim.check_step(RECIPE, StepResult(1.5, math.inf, None))


def test_a_single_replica_has_nothing_to_synchronise():
    sync = replace(RECIPE, batch_norm="sync")
    assert [optim.batch_norm_mode(sync, n) for n in (1, 2)] == ["train", "sync"]
    assert optim.batch_norm_mode(replace(RECIPE, batch_norm="freeze"), 1) == "freeze"


@pytest.mark.parametrize(("norms", "biases"), [(False, True), (True, False)])
def test_what_decays(norms, biases):
    recipe = replace(RECIPE, decay_norms=norms, decay_biases=biases)
    found = {".".join(name.split(".")[-2:]) for name in optim.decayed(NET, recipe)}
    expected = {"conv.weight": True, "conv.bias": biases, "norm.weight": norms, "norm.bias": norms}
    assert found == {name for name, decays in expected.items() if decays}


@pytest.mark.parametrize(
    ("first", "count", "names"),
    [(None, 0, ["conv1", "res2_0"]), ("pool1", 1, ["res2_0"]), ("Features", 24, ["Logits"])],
)
def test_what_trains(first, count, names):
    recipe = replace(RECIPE, train_from=first)
    assert optim.frozen_nodes(NET, recipe) == tuple(node.name for node in NET.nodes[:count])
    units = list(dict.fromkeys(p.unit[0] for p in optim.trained(NET, recipe)))
    assert units[: len(names)] == names


def test_a_recipe_changes_norms_and_dropout():
    net = optim.configured(NET, replace(RECIPE, batch_norm_momentum=0.25, dropout=0.75))
    norms = {conv.norm.momentum for _, conv in arch.convolutions(net) if conv.norm}
    assert (norms, net.head.dropout) == ({0.25}, 0.75)
    assert optim.configured(NET, replace(RECIPE, dropout=None)) == NET


@pytest.mark.parametrize("averaged", [False, True])
def test_a_state_becomes_arrays_and_back(averaged):
    model = {p.name: np.random.default_rng(0).random(p.shape) for p in arch.parameters(NET)}
    names = [p.name for p in optim.trained(NET, replace(RECIPE, train_from="Logits"))]
    momentum = {name: model[name] + 1 for name in names}
    average = model | {name: model[name] + 2 for name in names} if averaged else None
    state = State(model, momentum, average)
    arrays = state.to_arrays()
    assert len(arrays) == len(model) + len(names) * (1 + averaged)
    assert state.read(arrays) == state
    for other in (arrays | {"average/x": np.zeros(2)}, dict(list(arrays.items())[1:])):
        with pytest.raises(CheckpointError, match="the state does not fit the recipe, in "):
            state.read(other)


def test_interpolation_repeats_the_ends():
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    np.testing.assert_array_equal(optim.interpolation(2, 4), expected)
    np.testing.assert_array_equal(optim.interpolation(1, 3), np.ones((3, 1)))
