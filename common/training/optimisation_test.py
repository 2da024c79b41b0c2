import math
from dataclasses import replace

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from common.training import optimisation
from common.training.batches import Batch
from common.training.learner import Measured
from common.training.optimisation import Scaler
from common.training.recipes import BATCH_NORMS, RECIPES

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


def test_the_scaler_gives_up_below_one():
    scaler = Scaler()
    for _ in range(16):
        scaler = scaler.after(False)
    assert scaler == Scaler(1)
    assert scaler.after(True) == Scaler(1, 1)
    with pytest.raises(
        FloatingPointError, match=r"at every scale of the loss, down to 1: bfloat16"
    ):
        scaler.after(False)


def test_what_a_step_makes_of_its_gradients():
    clipped = replace(RECIPE, clip_norm=2.0)
    found = optimisation.judged(clipped, Scaler(1024, 7), 1.5, 4096.0, 0.5)
    assert found == (Measured(1.5, 4.0, 0.5), 0.5 / 1024, Scaler(1024, 7))
    half = replace(clipped, precision="float16", task="frames")
    found = optimisation.judged(half, Scaler(1024, 7), 1.5, 1024.0, 0.0)
    assert found == (Measured(1.5, 1.0, None), 1 / 1024, Scaler(1024, 8))
    found = optimisation.judged(half, Scaler(1024, 7), 1.5, math.inf, 0.0)
    assert found == (Measured(1.5, math.inf, None), None, Scaler(512))
    with pytest.raises(FloatingPointError, match=r"the gradient of the loss 1\.5 is not finite"):
        optimisation.judged(clipped, Scaler(), 1.5, math.inf, 0.0)


def test_what_batch_norm_does():
    modes = {(mode, n): optimisation.batch_norm_mode(replace(RECIPE, batch_norm=mode), n)
             for mode in BATCH_NORMS for n in (1, 2)}  # fmt: skip
    assert {key: mode for key, mode in modes.items() if mode != key[0]} == {("sync", 1): "train"}


def test_dropout_has_the_shape_of_the_features():
    clips = np.zeros((2, 8, 64, 64, 3), np.uint8)
    batch = Batch(("a", "b"), clips, np.zeros(2, np.int64), ((0, 0, 0), (0, 0, 1)))
    masks = optimisation.dropout(arch.with_dropout(NET, 0.75), batch)
    shape = arch.endpoint_shapes(NET, (8, 64, 64))["Features"]
    assert masks.shape == (2, *shape)
    assert set(np.unique(masks)) == {0, 4}
    assert (masks[0] != masks[1]).any()
    assert optimisation.dropout(arch.without_dropout(NET), batch) is None


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


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("average_decay", [0.0, 0.9])
def test_a_state_becomes_arrays_and_back(precision, average_decay):
    recipe = replace(RECIPE, precision=precision, average_decay=average_decay, train_from="Logits")
    names = [p.name for p in optimisation.trained(NET, recipe)]
    model = {p.name: np.random.default_rng(0).random(p.shape) for p in arch.parameters(NET)}
    momentum = {name: model[name] + 1 for name in names}
    average = model | {name: model[name] + 2 for name in names} if average_decay else None
    scaler = Scaler(4, 2) if precision == "float16" else Scaler()
    arrays = optimisation.State(model, momentum, average, scaler).to_arrays(recipe)
    assert len(arrays) == len(model) + len(names) * (1 + bool(average)) + 2 * (scaler.scale == 4)
    state = optimisation.State.of(NET, recipe, arrays)
    assert state == optimisation.State(model, momentum, average, scaler)
    with pytest.raises(CheckpointError, match=r"missing: .*momentum/Logits"):
        optimisation.State.of(NET, recipe, model)


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
