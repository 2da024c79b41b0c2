"""Checks of a `TrainStep` of either framework against the update rule written out."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common import arch
from common.annotations import TASKS
from common.io import CheckpointError
from common.preprocessing.contracts import FLOW_CONTRACT, InputContract
from common.testing.train_step import (
    ARRAYS,
    NET,
    RATE,
    RECIPE,
    STATISTICS,
    half,
    make_batch,
    make_step,
    randomise,
)
from common.training import optim
from common.training.loop import TrainStepClass
from common.training.recipes import BATCH_NORMS

CHECKS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {}
"""Every check by name: it takes `create` and the arguments beside it."""

# By what is wrong: a change of a state, and what is said about it.
_OTHER_STATES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no momentum": (
        lambda a: a.pop("momentum/conv1.conv.weight"), "missing: momentum/conv1.conv.weight"
    ),
    "an average": (lambda a: a.update({"average/x": np.zeros(2)}), "not of this run: average/x"),
    "another shape": (
        lambda a: a.update({"momentum/conv1.norm.bias": np.zeros(3)}),
        r"momentum/conv1.norm.bias expected \[4\], received \[3\]",
    ),
    "no weights": (lambda a: a.pop("conv1.conv.weight"), "missing: conv1.conv.weight"),
}  # fmt: skip


def _check(*cases: tuple[str, ...]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Puts a check among `CHECKS`, once for each case of its further arguments."""

    def put(check: Callable[..., None]) -> Callable[..., None]:
        for case in cases or ((),):
            CHECKS["-".join((check.__name__.removeprefix("check_"), *case))] = (check, case)
        return check

    return put


def _gradient(create: TrainStepClass) -> tuple[dict[str, NDArray[np.float32]], Any]:
    """Of the loss on `make_batch()` at ARRAYS, from a step of plain gradient descent."""
    plain = make_step(create)
    measured = plain.step([make_batch()], 1.0)
    after = plain.state()
    gradient = {name: ARRAYS[name] - after[name] for name in ARRAYS if name not in STATISTICS}
    return gradient, measured


def _assert_close(actual: Any, expected: Any, tolerance: float = 1e-5) -> None:
    error = np.abs(actual - expected).max() / np.abs(expected).max()
    assert error <= tolerance, f"{error:.1e}"


@_check()
def check_the_gradient_is_that_of_differences(create: TrainStepClass) -> None:
    gradient, measured = _gradient(create)
    name = "res2_0.conv.weight"
    direction = randomise.clips(ARRAYS[name].shape)
    losses = []
    for sign in (1, -1):
        moved = ARRAYS | {name: ARRAYS[name] + np.float32(sign * 1e-2) * direction}
        near = create(NET, moved, RECIPE, InputContract())
        losses.append(near.step([make_batch()], 0.0).loss)
    expected = (losses[0] - losses[1]) / 2e-2
    assert (gradient[name] * direction).sum() == pytest.approx(expected, rel=2e-2)
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradient.values()))
    assert measured.gradient_norm == pytest.approx(norm, rel=1e-4)


@_check()
def check_momentum_decay_and_nesterov_follow_the_rule(create: TrainStepClass) -> None:
    gradient, _ = _gradient(create)
    own = make_step(create, momentum=0.5, nesterov=True, weight_decay=0.25, decay_norms=True)
    own.step([make_batch()], RATE)
    state = own.state()
    for name, g in gradient.items():
        velocity = g + (0.25 * ARRAYS[name] if not name.endswith("conv.bias") else 0)
        plain = velocity.copy()
        _assert_close(state[f"momentum/{name}"], velocity)
        moved = RATE * (plain + 0.5 * velocity)
        np.testing.assert_allclose(state[name], ARRAYS[name] - moved, rtol=1e-4, atol=1e-6)


@_check()
def check_norms_and_biases_decay_only_where_the_recipe_says_so(create: TrainStepClass) -> None:
    gradient, _ = _gradient(create)
    own = make_step(create, weight_decay=0.25, decay_norms=False, decay_biases=True)
    own.step([make_batch()], RATE)
    state = own.state()
    for name, g in gradient.items():
        decay = 0.25 * ARRAYS[name] if ".conv." in name else 0
        _assert_close(state[f"momentum/{name}"], g + decay)


@_check()
def check_a_long_gradient_is_cut_and_a_short_one_is_not(create: TrainStepClass) -> None:
    gradient, measured = _gradient(create)
    own = make_step(create, clip_norm=measured.gradient_norm / 4)
    assert own.step([make_batch()], RATE).gradient_norm == pytest.approx(measured.gradient_norm)
    long = make_step(create, clip_norm=measured.gradient_norm * 4)
    long.step([make_batch()], RATE)
    for name, g in gradient.items():
        _assert_close(own.state()[f"momentum/{name}"], g / 4)
        _assert_close(long.state()[f"momentum/{name}"], g)


@_check()
def check_two_halves_of_a_batch_are_one(create: TrainStepClass) -> None:
    batch = make_batch(count=8)
    halves = [half(batch, 0), half(batch, 1)]
    whole = make_step(create, dropout=0.5)
    parts = make_step(create, dropout=0.5, batch=8, accumulate=2)
    expected, actual = whole.step([batch], RATE), parts.step(halves, RATE)
    assert actual.loss == pytest.approx(expected.loss, rel=1e-6)
    assert actual.correct == expected.correct
    for name, array in whole.state().items():
        np.testing.assert_allclose(parts.state()[name], array, rtol=1e-4, atol=1e-6, err_msg=name)


@_check()
def check_frozen_batch_norm_keeps_its_statistics_and_trains_its_scale(
    create: TrainStepClass,
) -> None:
    own = make_step(create, batch_norm="freeze")
    own.step([make_batch()], RATE)
    state = own.state()
    for name in STATISTICS:
        np.testing.assert_array_equal(state[name], ARRAYS[name])
    assert (state["conv1.norm.weight"] != ARRAYS["conv1.norm.weight"]).all()


@_check(("train",), ("sync",))
def check_training_batch_norm_averages_with_the_momentum_of_the_recipe(
    create: TrainStepClass, mode: str
) -> None:
    own, mean = (make_step(create, batch_norm=mode, batch_norm_momentum=m) for m in (1.0, 0.5))
    for each in (own, mean):
        each.step([make_batch()], RATE)
    for name in STATISTICS:
        batch, mixed = own.state()[name], mean.state()[name]
        np.testing.assert_allclose(mixed, (ARRAYS[name] + batch) / 2, rtol=1e-5, atol=1e-7)


@_check()
def check_kernels_as_long_as_a_clip_have_their_gradient(create: TrainStepClass) -> None:
    """In bfloat16, too, where oneDNN leaves parts of it as they were in memory."""
    norm = arch.Norm(1e-3, 0.1, scale=True)
    net = replace(
        NET,
        nodes=(
            arch.Conv("conv1", 48, (1, 3, 3), norm=norm),
            arch.Conv("res2_0", 48, (3, 1, 1), (2, 1, 1), norm=norm),
            arch.Conv("mixed", 128, (3, 3, 3), norm=norm),  # of two time steps
            NET.head,
        ),
    )
    arrays = randomise.arrays(net)
    found = []
    for precision in ("float32", "bfloat16"):
        own = create(net, arrays, replace(RECIPE, precision=precision), InputContract())
        own.step([make_batch()], 1.0)
        found.append(arrays["mixed.conv.weight"] - own.state()["mixed.conv.weight"])
    _assert_close(found[1], found[0], 0.2)  # what bfloat16 rounds; of what was in memory, 1 or more


@_check(("train", "float32"), ("freeze", "float32"), ("train", "bfloat16"))
def check_what_is_computed_once_more_is_the_same(
    create: TrainStepClass, mode: str, precision: str
) -> None:
    changes = {"batch_norm": mode, "precision": precision, "dropout": 0.5}
    usual, own = (make_step(create, recompute=each, **changes) for each in (False, True))
    for step in range(2):  # with two batches each
        batches = [make_batch(step), make_batch(step + 2)]
        expected, actual = usual.step(batches, RATE), own.step(batches, RATE)
        assert actual.loss == pytest.approx(expected.loss, rel=1e-5)
    expected = usual.state()
    for name, array in own.state().items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


@_check()
def check_what_is_before_train_from_stays_as_it_is(create: TrainStepClass) -> None:
    changes = {"batch_norm": "train", "weight_decay": 0.1, "momentum": 0.9}
    own = make_step(create, train_from="res2_0", **changes)
    own.step([make_batch()], RATE)
    state = own.state()
    changed = {name for name in ARRAYS if (state[name] != ARRAYS[name]).any()}
    assert changed == {name for name in ARRAYS if not name.startswith("conv1")}
    assert [name for name in state if name.startswith("momentum/conv1")] == []


@_check()
def check_nothing_to_train_is_refused(create: TrainStepClass) -> None:
    with pytest.raises(ValueError, match="nothing is left to train from Predictions on"):
        make_step(create, train_from="Predictions")


@_check()
def check_the_average_is_scored_and_kept(create: TrainStepClass) -> None:
    own = make_step(create, average_decay=0.75)
    own.step([make_batch()], RATE)
    first = own.state()
    for name in ARRAYS.keys() - STATISTICS:
        expected = 0.75 * ARRAYS[name] + 0.25 * first[name]
        np.testing.assert_allclose(first[f"average/{name}"], expected, rtol=1e-5, atol=1e-7)
    averaged = {name: first.get(f"average/{name}", first[name]) for name in ARRAYS}
    alone = create(NET, averaged, RECIPE, InputContract())
    clips = make_batch().clips
    np.testing.assert_allclose(
        own.predictor.scores(clips), alone.predictor.scores(clips), rtol=1e-6
    )
    assert (
        np.abs(own.predictor.scores(clips) - make_step(create).predictor.scores(clips)).max() > 1e-3
    )


@_check()
def check_the_average_has_the_statistics_of_the_model(create: TrainStepClass) -> None:
    own = make_step(create, average_decay=0.75, batch_norm="train")
    own.step([make_batch()], 0.0)
    alone = create(NET, {name: own.state()[name] for name in ARRAYS}, RECIPE, InputContract())
    clips = make_batch().clips
    np.testing.assert_allclose(
        own.predictor.scores(clips), alone.predictor.scores(clips), rtol=1e-6
    )


@_check(*itertools.product(TASKS, ("float32", "float16")))
def check_a_restored_state_goes_on_bit_for_bit(
    create: TrainStepClass, task: str, precision: str
) -> None:
    changes = {
        "momentum": 0.9,
        "weight_decay": 1e-3,
        "batch_norm": "train",
        "average_decay": 0.9,
        "dropout": 0.5,
        "task": task,
        "precision": precision,
    }
    through, stopped = make_step(create, **changes), make_step(create, **changes)
    for step in range(4):
        if step == 2:
            state = stopped.state()
            stopped = make_step(create, **changes)
            stopped.restore(state)
        for each in (through, stopped):
            each.step([make_batch(step, task=task)], RATE)
    expected, actual = through.state(), stopped.state()
    assert list(actual) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


@_check(*zip(_OTHER_STATES))
def check_a_state_of_another_run_changes_nothing(create: TrainStepClass, case: str) -> None:
    change, message = _OTHER_STATES[case]
    own = make_step(create)
    state = own.state()
    change(state)
    with pytest.raises(CheckpointError, match=message):
        own.restore(state | {"res2_0.norm.bias": np.ones(6, np.float32)})
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(own.state()[name], array)


@_check()
def check_a_loss_that_is_not_finite_stops_before_the_step(create: TrainStepClass) -> None:
    broken = ARRAYS | {"Logits.fc.conv.bias": np.full(3, np.nan, np.float32)}
    own = create(NET, broken, replace(RECIPE, momentum=0.9), InputContract())
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        own.step([make_batch()], RATE)
    np.testing.assert_array_equal(own.state()["conv1.conv.weight"], ARRAYS["conv1.conv.weight"])
    assert not own.state()["momentum/conv1.conv.weight"].any()


@_check()
def check_float16_skips_a_step_whose_gradient_is_not_finite(create: TrainStepClass) -> None:
    own = make_step(create, precision="float16", momentum=0.9)
    own.scaler = replace(own.scaler, scale=2.0**30, good_steps=7)
    assert not np.isfinite(own.step([make_batch()], RATE).gradient_norm)
    state = own.state()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(state[name], array)
    assert (state["scaler/scale"], state["scaler/good_steps"]) == (2.0**29, 0)
    own.scaler = replace(own.scaler, scale=2.0**10)
    own.step([make_batch()], RATE)
    state = own.state()
    assert (state["scaler/scale"], state["scaler/good_steps"]) == (2.0**10, 1)
    gradient, _ = _gradient(create)
    for name, g in gradient.items():
        _assert_close(state[f"momentum/{name}"], g, 2e-2)


@_check(*itertools.product(("bfloat16", "float16"), BATCH_NORMS))
def check_lower_precision_trains(create: TrainStepClass, precision: str, mode: str) -> None:
    own, exact = (
        make_step(create, precision=each, batch_norm=mode, momentum=0.9)
        for each in (precision, "float32")
    )
    losses = [own.step([make_batch()], 0.3).loss for _ in range(12)]
    expected = [exact.step([make_batch()], 0.3).loss for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]
    assert losses == pytest.approx(expected, rel=3e-2)
    assert losses != expected
    assert {array.dtype for array in own.state().values()} == {np.dtype(np.float32)}


@_check()
def check_frames_train_and_are_scored(create: TrainStepClass) -> None:
    own = make_step(create, task="frames", momentum=0.9)
    batch = make_batch(task="frames")
    measured = [own.step([batch], 0.2) for _ in range(30)]
    assert measured[0].correct is None
    assert measured[-1].loss < 0.8 * measured[0].loss
    scores = own.predictor.frame_scores(batch.clips)
    assert scores.shape == (4, 4, 3)
    # Two time steps of four frames: the ends are repeated.
    assert own.predictor.scores(batch.clips) == pytest.approx(
        (scores[:, 0] + scores[:, 3]) / 2, rel=1e-4
    )


@_check()
def check_flow_from_minus_one_to_one_is_taken_as_it_is(create: TrainStepClass) -> None:
    net = replace(NET, in_channels=2)
    arrays = randomise.arrays(net)
    own = create(net, arrays, RECIPE, FLOW_CONTRACT)
    stored = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 6, 2), dtype=np.uint8)
    flow = stored.astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(
        own.predictor.scores(flow), own.predictor.scores(stored), rtol=1e-4, atol=1e-5
    )


@_check()
def check_float16_gives_up_where_no_scale_helps(create: TrainStepClass) -> None:
    own = make_step(create, precision="float16")
    own.scaler = optim.Scaler(1.0)
    large = ARRAYS | {"Logits.fc.conv.weight": np.full((3, 6, 1, 1, 1), 1e30, np.float32)}
    own.assign(large)
    with pytest.raises(FloatingPointError, match="overflows float16 at every loss scale"):
        own.step([make_batch()], RATE)
    for name, array in large.items():
        np.testing.assert_array_equal(own.state()[name], array)


@_check()
def check_scores_leave_the_model_in_training(create: TrainStepClass) -> None:
    own = make_step(create, batch_norm="train")
    own.predictor.scores(make_batch().clips)
    own.step([make_batch()], RATE)
    assert (own.state()["conv1.norm.running_mean"] != ARRAYS["conv1.norm.running_mean"]).all()
