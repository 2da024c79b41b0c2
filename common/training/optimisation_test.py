import math
from dataclasses import replace

import numpy as np
import pytest

from common import arch
from common.errors import CheckpointError
from common.recipes import RECIPES
from common.training import optimisation
from common.training.optimisation import Scaler

NET = arch.narrow(arch.make("i3d_resnet50_nl_8x8", 5), 16)
RECIPE = replace(RECIPES["nonlocal_400k"], architecture=NET.name)


def _state(recipe):
    names = {p.name: np.zeros(p.shape, np.float32) for p in optimisation.trained(NET, recipe)}
    statistics = {p.name: np.zeros(p.shape, np.float32) for p in arch.parameters(NET)}
    return statistics | {f"momentum/{name}": array for name, array in names.items()}


def test_the_scaler_doubles_after_good_steps_and_halves_after_a_bad_one():
    scaler = Scaler()
    for _ in range(1999):
        scaler = scaler.after(True)
    assert scaler == Scaler(65536, 1999)
    assert scaler.after(True) == Scaler(131072, 0)
    assert scaler.after(False) == Scaler(32768, 0)
    assert optimisation.scaler_from(optimisation.scaler_state(scaler)) == scaler


def test_what_decays():
    fields = {
        (decay_norms, decay_biases): {
            name.split(".", name.count(".") - 1)[-1]
            for name in optimisation.decayed(
                NET, replace(RECIPE, decay_norms=decay_norms, decay_biases=decay_biases)
            )
        }
        for decay_norms in (False, True)
        for decay_biases in (False, True)
    }
    kernels, norms = {"conv.weight"}, {"norm.weight", "norm.bias"}
    assert fields == {
        (False, False): kernels,
        (False, True): kernels | {"conv.bias"},
        (True, False): kernels | norms,
        (True, True): kernels | norms | {"conv.bias"},
    }
    assert optimisation.decayed(NET, replace(RECIPE, weight_decay=0.0)) == frozenset()


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
    frozen = optimisation.frozen_nodes(NET, recipe)
    assert frozen == tuple(node.name for node in NET.nodes[:count])
    units = list(dict.fromkeys(p.unit[0] for p in optimisation.trained(NET, recipe)))
    assert units[: len(names)] == names


def test_a_recipe_changes_norms_and_dropout():
    net = optimisation.configured(NET, replace(RECIPE, batch_norm_momentum=0.25, dropout=0.75))
    norms = {conv.norm.momentum for _, conv in arch.convolutions(net) if conv.norm}
    assert (norms, net.head.dropout) == ({0.25}, 0.75)
    untouched = replace(RECIPE, batch_norm_momentum=None, dropout=None)
    assert optimisation.configured(NET, untouched) == NET


def test_clipping():
    clipped = replace(RECIPE, clip_norm=2.0)
    assert optimisation.gradient_factor(clipped, 8.0) == 0.25
    assert optimisation.gradient_factor(clipped, 1.0) == 1.0
    assert optimisation.gradient_factor(clipped, 0.0) == 1.0
    assert optimisation.gradient_factor(RECIPE, 8.0) == 1.0


def test_a_step_that_would_ruin_the_weights_is_refused():
    optimisation.check_measured(RECIPE, 1.0, 1.0)
    optimisation.check_measured(replace(RECIPE, precision="float16"), 1.0, math.inf)
    with pytest.raises(FloatingPointError, match="the gradient of the loss 1 is not finite"):
        optimisation.check_measured(RECIPE, 1.0, math.inf)
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        optimisation.check_measured(replace(RECIPE, precision="float16"), math.nan, math.inf)


def test_a_state_of_the_recipe_fits():
    optimisation.check_state(NET, RECIPE, _state(RECIPE))
    half = replace(RECIPE, precision="float16")
    state = _state(half)
    with pytest.raises(CheckpointError, match="missing: scaler/good_steps, scaler/scale"):
        optimisation.check_state(NET, half, state)
    optimisation.check_state(NET, half, state | optimisation.scaler_state(Scaler()))


def test_a_state_with_an_average_is_of_another_recipe():
    averaged = replace(RECIPE, average_decay=0.9)
    with pytest.raises(
        CheckpointError, match=r"missing: average/Logits.pred.conv.bias.*and \d+ more"
    ):
        optimisation.check_state(NET, averaged, _state(RECIPE))


def test_interpolation_repeats_the_ends():
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    np.testing.assert_array_equal(optimisation.interpolation(2, 4), expected)
    np.testing.assert_array_equal(optimisation.interpolation(3, 3), np.eye(3))
    np.testing.assert_array_equal(optimisation.interpolation(1, 3), np.ones((3, 1)))
    assert optimisation.interpolation(8, 64).sum(axis=1) == pytest.approx(1)
