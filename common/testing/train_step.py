"""A small network to train in either framework, and the tests that both training steps pass."""

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common import arch
from common.io import CheckpointError
from common.preprocessing.contracts import InputContract
from common.training.data import Batch
from common.training.loop import TrainStepClass
from common.training.recipes import RECIPES

randomise = importlib.import_module("parity_tests.randomise")


def make_tiny(num_classes: int = 3, in_channels: int = 3) -> arch.Network:
    """A network of two convolutions and a head, under the name of a large one."""
    nodes = (
        arch.Conv("conv1", 4, (1, 3, 3), norm=arch.Norm(1e-3, 0.1, scale=True)),
        arch.Conv("res2_0", 6, (3, 1, 1), (2, 1, 1), norm=arch.Norm(1e-3, 0.1, scale=False)),
        arch.Head(
            pool=arch.Pool("pool", "average", (1, 4, 4), (1, 1, 1), (0, 0, 0)),
            dropout=0.0,
            conv=arch.Conv("fc", num_classes, (1, 1, 1), bias=True, relu=False),
        ),
    )
    return arch.Network("i3d_resnet50_8x8", in_channels, nodes)


NET = make_tiny()
ARRAYS = randomise.arrays(NET)
STATISTICS = [p.name for p in arch.parameters(NET) if not p.trainable]
RECIPE = replace(
    RECIPES["finetune"], architecture=NET.name, weight_decay=0.0, batch_norm="freeze", dropout=0.0
)
RATE = 0.125
REPLICATED: dict[str, Any] = {
    "weight_decay": 1e-3, "clip_norm": 1.0, "dropout": 0.5, "average_decay": 0.9,
}  # fmt: skip


def make_batch(seed: int = 0, count: int = 4, task: str = "classes") -> Batch:
    """Clips [count, 4, 6, 6, 3] of noise."""
    rng = np.random.default_rng(seed)
    clips = rng.integers(0, 256, (count, 4, 6, 6, 3), dtype=np.uint8)
    frames = rng.integers(0, 2, (count, 4, 3)).astype(np.float32)
    targets = frames if task == "frames" else rng.integers(0, 3, count)
    keys = tuple((seed, 0, index) for index in range(count))
    return Batch(tuple("abcdefgh"[:count]), clips, targets, keys)


def half(batch: Batch, number: int) -> Batch:
    """The first or the second half of a batch of 8."""
    part = slice(4 * number, 4 * number + 4)
    return Batch(batch.names[part], batch.clips[part], batch.targets[part], batch.keys[part])


def make_step(create: TrainStepClass, **changes: Any) -> Any:
    """A train step of `NET` from `ARRAYS`, by the recipe with changes."""
    return create(NET, ARRAYS, replace(RECIPE, **changes), InputContract())


def check_memory(create: TrainStepClass, error: Exception) -> None:
    """The framework's out-of-memory error becomes advice."""
    own = make_step(create)

    def time_steps(*arguments: object, **options: object) -> None:
        raise error

    own.training.time_steps = own.predictor.time_steps = time_steps
    batch = make_batch()
    with pytest.raises(ValueError, match=r"out of memory with 4 clips of 4 x 6 x 6 .* accumulate="):
        own.step([batch], RATE)
    for scores in (own.predictor.scores, own.predictor.frame_scores):
        with pytest.raises(ValueError, match=r"out of memory with 4 clips .* --views_at_a_time"):
            scores(batch.clips)


def check_replicas(states: list[Any], create: TrainStepClass, mode: str) -> None:
    """20 steps of two replicas end where one replica with the whole batches does."""
    alone = make_step(create, **REPLICATED, batch_norm=mode)
    measured = [alone.step([make_batch(step, 8)], RATE).loss for step in range(20)]
    assert states[0]["losses"] == pytest.approx(measured, rel=1e-5)
    for name, array in alone.state().items():
        np.testing.assert_allclose(states[0][name], array, rtol=0, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(states[-1][name], states[0][name], err_msg=name)


def _assert_close(actual: Any, expected: Any, tolerance: float = 1e-5) -> None:
    error = np.abs(actual - expected).max() / np.abs(expected).max()
    assert error <= tolerance, f"{error:.1e}"


def _assert_equal(actual: Any, expected: Any) -> None:
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


class TrainStepTests:
    """Tests of a training step against the update rule written out; each framework inherits them.

    Attributes:
        create: The framework's `TrainStep`.
    """

    create: Any

    def _gradient(self) -> tuple[dict[str, NDArray[np.float32]], Any]:
        """Of the loss on `make_batch()` at ARRAYS, and the result of the step that found it."""
        own = make_step(self.create)
        measured = own.step([make_batch()], 1.0)
        after = own.state()
        return {n: ARRAYS[n] - after[n] for n in ARRAYS if n not in STATISTICS}, measured

    def test_the_gradient_is_that_of_differences(self) -> None:
        gradient, measured = self._gradient()
        name = "res2_0.conv.weight"
        direction = randomise.clips(ARRAYS[name].shape)
        losses = []
        for sign in (1, -1):
            moved = ARRAYS | {name: ARRAYS[name] + np.float32(sign * 1e-2) * direction}
            near = self.create(NET, moved, RECIPE, InputContract())
            losses.append(near.step([make_batch()], 0.0).loss)
        expected = (losses[0] - losses[1]) / 2e-2
        assert (gradient[name] * direction).sum() == pytest.approx(expected, rel=2e-2)
        norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradient.values()))
        assert measured.gradient_norm == pytest.approx(norm, rel=1e-4)

    @pytest.mark.parametrize("norms", [True, False])
    def test_momentum_decay_and_nesterov_follow_the_rule(self, norms: bool) -> None:
        gradient, _ = self._gradient()
        decays = {"decay_norms": norms, "decay_biases": not norms}
        own = make_step(self.create, momentum=0.5, nesterov=norms, weight_decay=0.25, **decays)
        own.step([make_batch()], RATE)
        state = own.state()
        for name, g in gradient.items():
            decay = ".norm." not in name if not norms else not name.endswith("conv.bias")
            velocity = g + 0.25 * ARRAYS[name] * decay
            _assert_close(state[f"momentum/{name}"], velocity)
            moved = RATE * (velocity * 1.5 if norms else velocity)
            np.testing.assert_allclose(state[name], ARRAYS[name] - moved, rtol=1e-4, atol=1e-6)

    def test_a_long_gradient_is_cut_and_a_short_one_is_not(self) -> None:
        gradient, measured = self._gradient()
        for factor, cut in ((4, 1), (0.25, 4)):
            own = make_step(self.create, clip_norm=measured.gradient_norm * factor)
            found = own.step([make_batch()], RATE)
            assert found.gradient_norm == pytest.approx(measured.gradient_norm)
            for name, g in gradient.items():
                _assert_close(own.state()[f"momentum/{name}"], g / cut)

    def test_two_halves_of_a_batch_are_one(self) -> None:
        batch = make_batch(count=8)
        whole = make_step(self.create, dropout=0.5)
        parts = make_step(self.create, dropout=0.5, batch=8, accumulate=2)
        expected = whole.step([batch], RATE)
        actual = parts.step([half(batch, 0), half(batch, 1)], RATE)
        assert actual.loss == pytest.approx(expected.loss, rel=1e-6)
        assert actual.correct == expected.correct
        found = parts.state()
        for name, array in whole.state().items():
            np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-6, err_msg=name)

    @pytest.mark.parametrize("mode", ["train", "sync", "freeze"])
    def test_batch_norm_averages_with_the_momentum_of_the_recipe(self, mode: str) -> None:
        states = []
        for momentum in (1.0, 0.5):
            own = make_step(self.create, batch_norm=mode, batch_norm_momentum=momentum)
            own.predictor.scores(make_batch().clips)  # leaves the model in training
            own.step([make_batch()], RATE)
            states.append(own.state())
        assert (states[0]["conv1.norm.weight"] != ARRAYS["conv1.norm.weight"]).all()
        for name in STATISTICS:
            batch, mixed = (state[name] for state in states)
            assert (batch != ARRAYS[name]).all() == (mode != "freeze")
            np.testing.assert_allclose(mixed, (ARRAYS[name] + batch) / 2, rtol=1e-5, atol=1e-7)

    def test_kernels_as_long_as_a_clip_have_their_gradient(self) -> None:
        """In bfloat16, too, where oneDNN leaves parts of it as they were in memory."""
        norm = arch.Norm(1e-3, 0.1, scale=True)
        nodes = (
            arch.Conv("conv1", 48, (1, 3, 3), norm=norm),
            arch.Conv("res2_0", 48, (3, 1, 1), (2, 1, 1), norm=norm),
            arch.Conv("mixed", 128, (3, 3, 3), norm=norm),  # of two time steps
            NET.head,
        )
        net = replace(NET, nodes=nodes)
        arrays = randomise.arrays(net)
        found = []
        for precision in ("float32", "bfloat16"):
            own = self.create(net, arrays, replace(RECIPE, precision=precision), InputContract())
            own.step([make_batch()], 1.0)
            found.append(arrays["mixed.conv.weight"] - own.state()["mixed.conv.weight"])
        _assert_close(found[1], found[0], 0.2)  # bfloat16's rounding; with stray memory 1 or more

    @pytest.mark.parametrize(("mode", "precision"), [("train", "float32"), ("freeze", "bfloat16")])
    def test_recomputing_changes_nothing(self, mode: str, precision: str) -> None:
        changes = {"batch_norm": mode, "precision": precision, "dropout": 0.5}
        usual, own = (make_step(self.create, recompute=each, **changes) for each in (False, True))
        for step in range(2):  # with two batches each
            batches = [make_batch(step), make_batch(step + 2)]
            expected, actual = usual.step(batches, RATE), own.step(batches, RATE)
            assert actual.loss == pytest.approx(expected.loss, rel=1e-5)
        found = own.state()
        for name, array in usual.state().items():
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=name)

    def test_what_is_before_train_from_stays_as_it_is(self) -> None:
        own = make_step(self.create, train_from="res2_0", batch_norm="train", weight_decay=0.1)
        own.step([make_batch()], RATE)
        state = own.state()
        changed = {name for name in ARRAYS if (state[name] != ARRAYS[name]).any()}
        assert changed == {name for name in ARRAYS if not name.startswith("conv1")}
        assert not any(name.startswith("momentum/conv1") for name in state)

    def test_the_average_is_scored_and_kept(self) -> None:
        own = make_step(self.create, average_decay=0.75, batch_norm="train")
        own.step([make_batch()], RATE)
        state = own.state()
        for name in ARRAYS.keys() - STATISTICS:
            expected = 0.75 * ARRAYS[name] + 0.25 * state[name]
            np.testing.assert_allclose(state[f"average/{name}"], expected, rtol=1e-5, atol=1e-7)
        averaged = {name: state.get(f"average/{name}", state[name]) for name in ARRAYS}
        alone = self.create(NET, averaged, RECIPE, InputContract())
        clips = make_batch().clips
        scores = own.predictor.scores(clips)
        np.testing.assert_allclose(scores, alone.predictor.scores(clips), rtol=1e-6)
        assert np.abs(scores - make_step(self.create).predictor.scores(clips)).max() > 1e-3

    @pytest.mark.parametrize("task", ["classes", "frames"])
    def test_a_restored_state_goes_on_bit_for_bit(self, task: str) -> None:
        changes: dict[str, Any] = {
            "weight_decay": 1e-3, "batch_norm": "train", "average_decay": 0.9, "dropout": 0.5,
            "task": task,
        }  # fmt: skip
        through, stopped = (make_step(self.create, **changes) for _ in range(2))
        for step in range(3):
            if step == 2:
                state = stopped.state()
                stopped = make_step(self.create, **changes)
                stopped.restore(state)
            for each in (through, stopped):
                each.step([make_batch(step, task=task)], RATE)
        assert list(stopped.state()) == list(through.state())
        _assert_equal(stopped.state(), through.state())

    def test_a_state_of_another_run_changes_nothing(self) -> None:
        own = make_step(self.create)
        other = own.state() | {"res2_0.norm.bias": np.ones(6, np.float32), "average/x": np.ones(2)}
        with pytest.raises(
            CheckpointError, match="the state does not fit the recipe, in average/x"
        ):
            own.restore(other)
        _assert_equal(own.state(), ARRAYS)

    def test_a_loss_that_is_not_finite_stops_before_the_step(self) -> None:
        own = make_step(self.create)
        own.assign(ARRAYS | {"Logits.fc.conv.bias": np.full(3, np.nan, np.float32)})
        before = own.state()
        with pytest.raises(FloatingPointError, match="the loss is nan"):
            own.step([make_batch()], RATE)
        _assert_equal(own.state(), before)

    @pytest.mark.parametrize("mode", ["sync", "freeze"])
    def test_lower_precision_trains(self, mode: str) -> None:
        own, exact = (
            make_step(self.create, precision=each, batch_norm=mode)
            for each in ("bfloat16", "float32")
        )
        losses = [own.step([make_batch()], 0.3).loss for _ in range(12)]
        expected = [exact.step([make_batch()], 0.3).loss for _ in range(12)]
        assert losses[-1] < 0.8 * losses[0]
        assert losses == pytest.approx(expected, rel=3e-2)
        assert losses != expected
        assert {array.dtype for array in own.state().values()} == {np.dtype(np.float32)}

    def test_frames_train_and_are_scored(self) -> None:
        own = make_step(self.create, task="frames")
        batch = make_batch(task="frames")
        measured = [own.step([batch], 0.2) for _ in range(30)]
        assert measured[0].correct is None
        assert measured[-1].loss < 0.8 * measured[0].loss
        scores = own.predictor.frame_scores(batch.clips)
        assert scores.shape == (4, 4, 3)
        # Two time steps of four frames: the ends are repeated.
        expected = (scores[:, 0] + scores[:, 3]) / 2
        assert own.predictor.scores(batch.clips) == pytest.approx(expected, rel=1e-4)
