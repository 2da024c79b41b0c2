import math
from dataclasses import replace

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from common.training import optim
from common.training.data import Batch
from common.training.optim import Scaler, State, StepResult
from common.training.recipes import BATCH_NORMS, RECIPES

NET = arch.narrow(arch.make("i3d_resnet50_nl_8x8", 5), 16)
RECIPE = replace(RECIPES["nonlocal_400k"], architecture=NET.name)
HALF = {"precision": "float16"}


def test_the_scaler_doubles_after_good_steps_and_halves_after_a_bad_one():
    scaler = Scaler()
    for _ in range(1999):
        scaler = scaler.after(True)
    assert scaler == Scaler(65536, 1999)
    assert scaler.after(True) == Scaler(131072, 0)
    assert scaler.after(False) == Scaler(32768, 0)


def test_the_scaler_gives_up_below_one():
    scaler = Scaler()
    for _ in range(16):
        scaler = scaler.after(False)
    assert scaler == Scaler(1)
    assert scaler.after(True) == Scaler(1, 1)
    with pytest.raises(FloatingPointError, match=r"at every loss scale, down to 1: bfloat16"):
        scaler.after(False)


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


def test_what_batch_norm_does():
    modes = {(mode, n): optim.batch_norm_mode(replace(RECIPE, batch_norm=mode), n)
             for mode in BATCH_NORMS for n in (1, 2)}  # fmt: skip
    assert {key: mode for key, mode in modes.items() if mode != key[0]} == {("sync", 1): "train"}


def test_dropout_has_the_shape_of_the_features():
    clips = np.zeros((2, 8, 64, 64, 3), np.uint8)
    batch = Batch(("a", "b"), clips, np.zeros(2, np.int64), ((0, 0, 0), (0, 0, 1)))
    masks = optim.dropout(arch.with_dropout(NET, 0.75), batch)
    shape = arch.endpoint_shapes(NET, (8, 64, 64))["Features"]
    assert masks.shape == (2, *shape)
    assert set(np.unique(masks)) == {0, 4}
    assert (masks[0] != masks[1]).any()
    assert optim.dropout(arch.without_dropout(NET), batch) is None


def test_what_decays():
    fields = {
        (decay_norms, decay_biases): {
            name.split(".", name.count(".") - 1)[-1]
            for name in optim.decayed(
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
    assert optim.decayed(NET, replace(RECIPE, weight_decay=0.0)) == frozenset()


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
    with pytest.raises(CheckpointError, match=r"missing: .*momentum/Logits"):
        State.from_arrays(NET, recipe, model)


def test_a_state_of_another_recipe_is_refused():
    """What else may be wrong with a state is checked with the frameworks."""
    model = {p.name: np.zeros(p.shape, np.float32) for p in arch.parameters(NET)}
    momentum = {p.name: model[p.name] for p in optim.trained(NET, RECIPE)}
    arrays = State(model, momentum, None, Scaler()).to_arrays(RECIPE)
    averaged = replace(RECIPE, average_decay=0.9)
    with pytest.raises(CheckpointError, match=r"missing: average/Logits.pred.conv.bias.* more"):
        State.from_arrays(NET, averaged, arrays)
    with pytest.raises(CheckpointError, match="missing: scaler/good_steps, scaler/scale"):
        State.from_arrays(NET, replace(RECIPE, **HALF), arrays)


def test_interpolation_repeats_the_ends():
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    np.testing.assert_array_equal(optim.interpolation(2, 4), expected)
    np.testing.assert_array_equal(optim.interpolation(3, 3), np.eye(3))
    np.testing.assert_array_equal(optim.interpolation(1, 3), np.ones((3, 1)))
    assert optim.interpolation(8, 64).sum(axis=1) == pytest.approx(1)
