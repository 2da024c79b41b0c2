"""The same run in both frameworks: losses of fifty steps, gradients and statistics of the first."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from common import arch
from common.preprocessing.contracts import usual
from common.training.data import Batch
from common.training.recipes import RECIPES
from parity_tests import conftest, randomise
from parity_tests.compare import TOLERANCE, assert_all_close, assert_close, relative_error

CLASSES = 5
CLIPS = 4
LOSS_TOLERANCE = 1e-4  # Measured over fifty steps of all: 3e-5, and 5e-6 without the global head.

# Relative to a gradient's own largest value; relative to the largest of all it is always 1e-5.
# Gradients of scales, offsets and attention scores are small sums of large terms: measured 2e-5 at
# most, 4e-7 in the median. Batch norm in training subtracts from every gradient its mean and its
# part along the activations, which may leave less than a thousandth: measured 2e-3 for the offset
# of a single channel, 3e-5 in the median.
GRADIENT_TOLERANCES = {"freeze": 1e-4, "train": 5e-3}

# Clips [T, H, W] that leave batch norm enough positions.
SIZES = {
    "inception_i3d_global": (8, 48, 48),
    "i3d_resnet50_nl_8x8": (4, 48, 48),
    "r2plus1d_18": (8, 32, 32),
}
EVERYTHING = {
    "momentum": 0.9, "weight_decay": 1e-3, "decay_norms": True, "decay_biases": False,
    "batch": 2 * CLIPS, "accumulate": 2, "label_smoothing": 0.1, "dropout": 0.5,
}  # fmt: skip
RATES = {"train": 2e-4, "freeze": 3e-4}


@pytest.fixture
def make_twins():
    """A function that makes the same training step in TensorFlow and in PyTorch."""
    modules = []
    for name, needed in conftest.NEEDS.items():
        pytest.importorskip(needed, reason=f"needs the extra {name!r}")
        modules.append(importlib.import_module(f"i3d_{name}.train_step"))

    def make(net, arrays, **changes):
        recipe = replace(RECIPES["finetune"], architecture=net.name, **changes)
        contract = usual(net.name.replace("_global", ""))
        return [module.TrainStep(net, arrays, recipe, contract) for module in modules]

    return make


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mode"), zip(SIZES, ["train", "freeze", "train"], strict=True))
def test_fifty_steps(make_twins, name, mode):
    """With every term of the update rule, and two changes of the rate."""
    net = arch.narrow(arch.make(name, CLASSES), 16)
    twins = make_twins(net, _arrays(net, mode), batch_norm=mode, **EVERYTHING)
    losses = _losses(twins, net, mode, range(1), 50)
    _assert_same_first_step(net, mode, *(twin.state() for twin in reversed(twins)))
    losses += _losses(twins, net, mode, range(1, 50), 50)
    # The same four batches come again and again: the nets have learned something from them.
    assert np.mean(losses[-4:]) < 0.95 * np.mean(losses[:4])


def _losses(twins, net, mode, steps, count):
    """Losses of some of `count` steps, asserted to be the same in both frameworks."""
    losses = []
    for step in steps:
        rate = RATES[mode] * 0.3 ** ((step >= 0.4 * count) + (step >= 0.7 * count))
        parts = [_batch(net, 2 * (step % 4) + part) for part in range(2)]
        expected, actual = (each.step(parts, rate) for each in twins)
        assert actual.loss == pytest.approx(expected.loss, rel=LOSS_TOLERANCE), step
        assert actual.correct == expected.correct, step
        losses.append(expected.loss)
    return losses


def _assert_same_first_step(net, mode, actual, expected):
    """After one step from rest the momentum is the gradient, with its weight decay."""
    assert list(actual) == list(expected)
    statistics = [p.name for p in arch.parameters(net) if not p.trainable]
    assert_all_close(*({name: state[name] for name in statistics} for state in (actual, expected)))
    gradients = {name: expected[name] for name in expected if name.startswith("momentum/")}
    largest = max(np.abs(gradient).max() for gradient in gradients.values())
    errors = []
    for name, gradient in gradients.items():
        assert np.abs(actual[name] - gradient).max() <= TOLERANCE * largest, name
        if not _lost(net, mode, name):
            errors.append(relative_error(actual[name], gradient))
            assert errors[-1] <= GRADIENT_TOLERANCES[mode], name
    if mode == "freeze":
        assert np.median(errors) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classes", "frames"])
def test_a_run_goes_on_in_the_other_framework(make_twins, task):
    """With what fifty steps leave out: Nesterov, clipping, an average of weights, frames."""
    net = arch.narrow(arch.make("r2plus1d_18", CLASSES), 16)
    options = {
        "momentum": 0.9, "nesterov": True, "clip_norm": 0.5, "average_decay": 0.75,
        "train_from": "res2_1", "batch_norm_momentum": 0.25, "task": task,
    }  # fmt: skip
    arrays = _arrays(net, "train")
    own, other = make_twins(net, arrays, **options)
    _, whole = make_twins(net, arrays, **options)
    for step in range(6):
        if step in (2, 4):
            other.restore(own.state())
            own, other = other, own
        batch = _batch(net, step, task)
        actual, expected = own.step([batch], 1e-3), whole.step([batch], 1e-3)
        assert expected.gradient_norm > options["clip_norm"]
        assert actual.gradient_norm == pytest.approx(expected.gradient_norm, rel=TOLERANCE)
        assert actual.loss == pytest.approx(expected.loss, rel=TOLERANCE)
    actual, expected = own.state(), whole.state()
    assert list(actual) == list(expected)
    weights = [name for name in arrays if arrays[name].any()]
    for name in weights:
        assert_close(actual[name], expected[name], name)
    clips = _batch(net, 9).clips
    assert_close(own.predictor.scores(clips), whole.predictor.scores(clips), "scores")
    assert_close(
        own.predictor.frame_scores(clips), whole.predictor.frame_scores(clips), "scores of frames"
    )


def _lost(net, mode, name):
    """Whether nothing depends on a parameter, so that its gradient is rounding alone.

    The bias of phi adds a constant to all scores of a softmax. Those of g and out add a constant to
    all positions, which a batch norm in training subtracts again.
    """
    biases = ("phi",) if mode == "freeze" else ("phi", "g", "out")
    blocks = [node.name for node in net.nodes if isinstance(node, arch.NonLocal)]
    return name in {f"momentum/{block}.{part}.conv.bias" for block in blocks for part in biases}


def _arrays(net, mode):
    """Random arrays with which rounding does not grow from step to step.

    It grows through sums of many branches of one size, through ReLUs near zero, and through
    channels that are zero nearly everywhere and are divided by their deviation. Without the offsets
    of 2 the losses of the ResNet differ by 7e-2 at a rate of 3e-3, as they do in PyTorch alone when
    all weights are changed by half a unit in the last place.

    The output of attention is nearly the same everywhere, and the norm behind it subtracts the mean
    of every gradient: the gradient of the kernel in between is a small difference of large sums.
    """
    arrays = randomise.arrays(net)
    for name in arrays:
        if mode == "train" and name.endswith("norm.bias"):
            arrays[name] += 2.0
    for node in net.nodes:
        match node:
            case arch.Residual():
                arrays[f"{node.name}.{node.body[-1].name}.norm.weight"] *= 0.2
            case arch.NonLocal():
                last = "norm.weight" if node.out.norm else "conv.weight"
                arrays[f"{node.name}.{node.out.name}.{last}"] *= 0.2
                arrays[f"{node.name}.{node.g.name}.conv.weight"] *= 0.2
            case arch.Head():
                arrays[f"{node.name}.{node.conv.name}.conv.weight"] *= 0.2
    return arrays


def _batch(net, seed, task="classes"):
    rng = np.random.default_rng(seed)
    frames, height, width = SIZES[net.name]
    clips = rng.integers(0, 256, (CLIPS, frames, height, width, 3), dtype=np.uint8)
    targets = rng.integers(0, CLASSES, CLIPS)
    if task == "frames":
        targets = rng.integers(0, 2, (CLIPS, frames, CLASSES)).astype(np.float32)
    return Batch(tuple("abcd"), clips, targets, tuple((0, seed, i) for i in range(CLIPS)))
