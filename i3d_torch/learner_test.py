"""A learner against the rule written out; the twin of `i3d_tf/learner_test.py`."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.distributed as dist

from common import arch
from common.contracts import FLOW_CONTRACT, InputContract
from common.errors import CheckpointError
from common.recipes import RECIPES
from common.training.batches import Batch
from i3d_torch import layers, learner
from parity_tests import randomise

NET = arch.Network(
    "i3d_resnet50_8x8",
    3,
    (
        arch.Conv("conv1", 4, (1, 3, 3), norm=arch.Norm(1e-3, 0.1, scale=True)),
        arch.Conv("res2_0", 6, (3, 1, 1), (2, 1, 1), norm=arch.Norm(1e-3, 0.1, scale=False)),
        arch.Head(
            "Logits",
            "Features",
            pool=arch.Pool("pool", "average", (1, 4, 4), (1, 1, 1), (0, 0, 0)),
            dropout=0.0,
            conv=arch.Conv("fc", 3, (1, 1, 1), bias=True, relu=False),
            predictions="Predictions",
        ),
    ),
)
ARRAYS = randomise.arrays(NET)
STATISTICS = [p.name for p in arch.parameters(NET) if not p.trainable]
RECIPE = replace(
    RECIPES["finetune"],
    architecture=NET.name,
    momentum=0.0,
    weight_decay=0.0,
    batch_norm="freeze",
    dropout=0.0,
)
RATE = 0.125


def _learner(**changes):
    return learner.create(NET, ARRAYS, replace(RECIPE, **changes), InputContract())


def _batch(seed=0, count=4, task="classes"):
    rng = np.random.default_rng(seed)
    clips = rng.integers(0, 256, (count, 4, 6, 6, 3), dtype=np.uint8)
    frames = rng.integers(0, 2, (count, 4, 3)).astype(np.float32)
    targets = frames if task == "frames" else rng.integers(0, 3, count)
    return Batch(
        tuple("abcdefgh"[:count]), clips, targets, tuple((seed, 0, i) for i in range(count))
    )


def _part(batch, number):
    """The first or the second half of a batch of 8."""
    part = slice(4 * number, 4 * number + 4)
    return Batch(batch.names[part], batch.clips[part], batch.targets[part], batch.keys[part])


def _gradient():
    """Of the loss on `_batch()` at ARRAYS, from a step of plain gradient descent."""
    plain = _learner()
    measured = plain.step([_batch()], 1.0)
    after = plain.state()
    gradient = {name: ARRAYS[name] - after[name] for name in ARRAYS if name not in STATISTICS}
    return gradient, measured


def _assert_close(actual, expected, tolerance=1e-5):
    error = np.abs(actual - expected).max() / np.abs(expected).max()
    assert error <= tolerance, f"{error:.1e}"


def test_the_gradient_is_that_of_differences():
    gradient, measured = _gradient()
    name = "res2_0.conv.weight"
    direction = randomise.clips(ARRAYS[name].shape)
    losses = []
    for sign in (1, -1):
        moved = ARRAYS | {name: ARRAYS[name] + np.float32(sign * 1e-2) * direction}
        near = learner.create(NET, moved, RECIPE, InputContract())
        losses.append(near.step([_batch()], 0.0).loss)
    expected = (losses[0] - losses[1]) / 2e-2
    assert (gradient[name] * direction).sum() == pytest.approx(expected, rel=2e-2)
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradient.values()))
    assert measured.gradient_norm == pytest.approx(norm, rel=1e-4)


def test_momentum_decay_and_nesterov_follow_the_rule():
    gradient, _ = _gradient()
    own = _learner(momentum=0.5, nesterov=True, weight_decay=0.25, decay_norms=True)
    own.step([_batch()], RATE)
    state = own.state()
    for name, g in gradient.items():
        velocity = g + (0.25 * ARRAYS[name] if not name.endswith("conv.bias") else 0)
        plain = velocity.copy()
        _assert_close(state[f"momentum/{name}"], velocity)
        moved = RATE * (plain + 0.5 * velocity)
        np.testing.assert_allclose(state[name], ARRAYS[name] - moved, rtol=1e-4, atol=1e-6)


def test_norms_and_biases_decay_only_where_the_recipe_says_so():
    gradient, _ = _gradient()
    own = _learner(weight_decay=0.25, decay_norms=False, decay_biases=True)
    own.step([_batch()], RATE)
    state = own.state()
    for name, g in gradient.items():
        decay = 0.25 * ARRAYS[name] if ".conv." in name else 0
        _assert_close(state[f"momentum/{name}"], g + decay)


def test_a_long_gradient_is_cut_and_a_short_one_is_not():
    gradient, measured = _gradient()
    own = _learner(clip_norm=measured.gradient_norm / 4)
    assert own.step([_batch()], RATE).gradient_norm == pytest.approx(measured.gradient_norm)
    long = _learner(clip_norm=measured.gradient_norm * 4)
    long.step([_batch()], RATE)
    for name, g in gradient.items():
        _assert_close(own.state()[f"momentum/{name}"], g / 4)
        _assert_close(long.state()[f"momentum/{name}"], g)


def test_two_halves_of_a_batch_are_one():
    batch = _batch(count=8)
    halves = [_part(batch, 0), _part(batch, 1)]
    whole, parts = _learner(dropout=0.5), _learner(dropout=0.5, batch=8, accumulate=2)
    expected, actual = whole.step([batch], RATE), parts.step(halves, RATE)
    assert actual.loss == pytest.approx(expected.loss, rel=1e-6)
    assert actual.correct == expected.correct
    for name, array in whole.state().items():
        np.testing.assert_allclose(parts.state()[name], array, rtol=1e-4, atol=1e-6, err_msg=name)


def test_frozen_batch_norm_keeps_its_statistics_and_trains_its_scale():
    own = _learner(batch_norm="freeze")
    own.step([_batch()], RATE)
    state = own.state()
    for name in STATISTICS:
        np.testing.assert_array_equal(state[name], ARRAYS[name])
    assert (state["conv1.norm.weight"] != ARRAYS["conv1.norm.weight"]).all()


@pytest.mark.parametrize("mode", ["train", "sync"])
def test_training_batch_norm_averages_with_the_momentum_of_the_recipe(mode):
    own, half = (_learner(batch_norm=mode, batch_norm_momentum=m) for m in (1.0, 0.5))
    for each in (own, half):
        each.step([_batch()], RATE)
    for name in STATISTICS:
        batch, mixed = own.state()[name], half.state()[name]
        np.testing.assert_allclose(mixed, (ARRAYS[name] + batch) / 2, rtol=1e-5, atol=1e-7)


def test_what_is_before_train_from_stays_as_it_is():
    own = _learner(batch_norm="train", train_from="res2_0", weight_decay=0.1, momentum=0.9)
    own.step([_batch()], RATE)
    state = own.state()
    changed = {name for name in ARRAYS if (state[name] != ARRAYS[name]).any()}
    assert changed == {name for name in ARRAYS if not name.startswith("conv1")}
    assert [name for name in state if name.startswith("momentum/conv1")] == []


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="nothing is left to train from Predictions on"):
        _learner(train_from="Predictions")


def test_the_average_is_judged_and_kept():
    own = _learner(average_decay=0.75)
    own.step([_batch()], RATE)
    first = own.state()
    for name in ARRAYS.keys() - STATISTICS:
        expected = 0.75 * ARRAYS[name] + 0.25 * first[name]
        np.testing.assert_allclose(first[f"average/{name}"], expected, rtol=1e-5, atol=1e-7)
    averaged = {name: first.get(f"average/{name}", first[name]) for name in ARRAYS}
    judge = learner.create(NET, averaged, RECIPE, InputContract())
    clips = _batch().clips
    np.testing.assert_allclose(own.scores(clips), judge.scores(clips), rtol=1e-6)
    assert np.abs(own.scores(clips) - _learner().scores(clips)).max() > 1e-3


def test_the_average_has_the_statistics_of_the_model():
    own = _learner(average_decay=0.75, batch_norm="train")
    own.step([_batch()], 0.0)
    judge = learner.create(
        NET, {name: own.state()[name] for name in ARRAYS}, RECIPE, InputContract()
    )
    clips = _batch().clips
    np.testing.assert_allclose(own.scores(clips), judge.scores(clips), rtol=1e-6)


@pytest.mark.parametrize("task", ["classes", "frames"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_restored_state_goes_on_bit_for_bit(task, precision):
    changes = {
        "momentum": 0.9,
        "weight_decay": 1e-3,
        "batch_norm": "train",
        "average_decay": 0.9,
        "dropout": 0.5,
        "task": task,
        "precision": precision,
    }
    through, stopped = _learner(**changes), _learner(**changes)
    for step in range(4):
        if step == 2:
            state = stopped.state()
            stopped = _learner(**changes)
            stopped.restore(state)
        for each in (through, stopped):
            each.step([_batch(step, task=task)], RATE)
    expected, actual = through.state(), stopped.state()
    assert list(actual) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("momentum/conv1.conv.weight"), "missing: momentum/conv1.conv.weight"),
        (lambda a: a.update({"average/x": np.zeros(2)}), "not of this run: average/x"),
        (
            lambda a: a.update({"momentum/conv1.norm.bias": np.zeros(3)}),
            r"momentum/conv1.norm.bias expected \[4\], received \[3\]",
        ),
        (lambda a: a.pop("conv1.conv.weight"), "missing: conv1.conv.weight"),
    ],
)
def test_a_state_of_another_run_changes_nothing(change, message):
    own = _learner()
    state = own.state()
    change(state)
    with pytest.raises(CheckpointError, match=message):
        own.restore(state | {"res2_0.norm.bias": np.ones(6, np.float32)})
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(own.state()[name], array)


def test_a_loss_that_is_not_finite_stops_before_the_step():
    broken = ARRAYS | {"Logits.fc.conv.bias": np.full(3, np.nan, np.float32)}
    own = learner.create(NET, broken, replace(RECIPE, momentum=0.9), InputContract())
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        own.step([_batch()], RATE)
    np.testing.assert_array_equal(own.state()["conv1.conv.weight"], ARRAYS["conv1.conv.weight"])
    assert not own.state()["momentum/conv1.conv.weight"].any()


def test_float16_skips_a_step_whose_gradient_is_not_finite():
    own = _learner(precision="float16", momentum=0.9)
    own.scaler = replace(own.scaler, scale=2.0**30, good_steps=7)
    assert not np.isfinite(own.step([_batch()], RATE).gradient_norm)
    state = own.state()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(state[name], array)
    assert (state["scaler/scale"], state["scaler/good_steps"]) == (2.0**29, 0)
    own.scaler = replace(own.scaler, scale=2.0**10)
    own.step([_batch()], RATE)
    state = own.state()
    assert (state["scaler/scale"], state["scaler/good_steps"]) == (2.0**10, 1)
    gradient, _ = _gradient()
    for name, g in gradient.items():
        _assert_close(state[f"momentum/{name}"], g, 2e-2)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("mode", ["train", "freeze", "sync"])
def test_lower_precision_trains(precision, mode):
    own, exact = (
        _learner(precision=each, batch_norm=mode, momentum=0.9) for each in (precision, "float32")
    )
    losses = [own.step([_batch()], 0.3).loss for _ in range(12)]
    expected = [exact.step([_batch()], 0.3).loss for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]
    assert losses == pytest.approx(expected, rel=3e-2)
    assert losses != expected
    assert {array.dtype for array in own.state().values()} == {np.dtype(np.float32)}


def test_frames_train_and_are_scored():
    own = _learner(task="frames", momentum=0.9)
    batch = _batch(task="frames")
    measured = [own.step([batch], 0.2) for _ in range(30)]
    assert measured[0].correct is None
    assert measured[-1].loss < 0.8 * measured[0].loss
    scores = own.frame_scores(batch.clips)
    assert scores.shape == (4, 4, 3)
    # Two time steps of four frames: the ends are repeated.
    assert own.scores(batch.clips) == pytest.approx((scores[:, 0] + scores[:, 3]) / 2, rel=1e-4)


def test_flow_from_minus_one_to_one_is_taken_as_it_is():
    net = replace(NET, in_channels=2)
    arrays = randomise.arrays(net)
    own = learner.create(net, arrays, RECIPE, FLOW_CONTRACT)
    stored = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 6, 2), dtype=np.uint8)
    flow = stored.astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(own.scores(flow), own.scores(stored), rtol=1e-4, atol=1e-5)


def test_an_unknown_mode_of_batch_norm_is_refused():
    with pytest.raises(ValueError, match=r"Expected one of train, freeze, sync\. Received: 'eval'"):
        layers.set_batch_norm(learner.VideoModel(NET), "eval")


def test_scores_leave_the_learner_in_training():
    own = _learner(batch_norm="train")
    own.scores(_batch().clips)
    own.step([_batch()], RATE)
    assert (own.state()["conv1.norm.running_mean"] != ARRAYS["conv1.norm.running_mean"]).all()
    assert torch.is_grad_enabled()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["freeze", "sync"])
def test_two_replicas_are_one_of_twice_the_batch(mode, tmp_path):
    torch.multiprocessing.spawn(_run_replica, (mode, tmp_path), nprocs=2)
    alone = _learner(**_REPLICATED, batch_norm=mode)
    measured = [alone.step([_batch(step, 8)], RATE).loss for step in range(20)]
    states = [np.load(tmp_path / f"{rank}.npz") for rank in range(2)]
    assert states[0]["losses"] == pytest.approx(measured, rel=1e-5)
    for name, array in alone.state().items():
        np.testing.assert_allclose(states[0][name], array, rtol=0, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(states[1][name], states[0][name], err_msg=name)


_REPLICATED = {
    "momentum": 0.9,
    "weight_decay": 1e-3,
    "clip_norm": 1.0,
    "dropout": 0.5,
    "average_decay": 0.9,
}


def _run_replica(rank, mode, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    recipe = replace(RECIPE, **_REPLICATED, batch_norm=mode)
    own = learner.create(NET, ARRAYS, recipe, InputContract(), dist.group.WORLD)
    steps = [own.step([_part(_batch(step, 8), rank)], RATE).loss for step in range(20)]
    np.savez(folder / f"{rank}.npz", losses=steps, **own.state())
    dist.destroy_process_group()
