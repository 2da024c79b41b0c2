"""The optimiser step, the same in both frameworks.

For a parameter p with gradient g of the mean loss:

    g = g * min(1, clip_norm / |g|)      norm over all parameters together, where clip_norm is set
    g = g + weight_decay * p             for the parameters that decay
    v = momentum * v + g                 v starts at 0
    p = p - rate * v                     or p - rate * (g + momentum * v) with Nesterov

The learning rate is not part of v, so v needs no correction when the rate changes. Caffe2 keeps the
rate in v, which is why the code of the non-local networks rescales it; the result is this rule.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from common import arch
from common.arch import Arrays
from common.io import CheckpointError, listing
from common.models import Predictor
from common.training.data import Batch, dropout_masks
from common.training.recipes import Recipe

# As torch.amp.GradScaler: the first scale, and after how many good steps in a row it doubles.
FIRST_SCALE = 65536.0
GOOD_STEPS = 2000


@dataclass(frozen=True)
class StepResult:
    """Measurements of one step, over all clips of all replicas.

    Attributes:
        loss: Mean over the clips, before the update.
        gradient_norm: L2 norm of the gradient over all trained parameters, before clipping; not
            finite where float16 skipped the step.
        correct: Share of the clips whose top class is their label, 0 to 1; None for frame labels.
    """

    loss: float
    gradient_norm: float
    correct: float | None


class TrainStep(Protocol):
    """A network in training; implemented by `i3d_tf.train_step` and `i3d_torch.train_step`."""

    @property
    def predictor(self) -> Predictor:
        """Scores clips with the current weights, averaged where there is an average."""
        ...

    def step(self, batches: Sequence[Batch], rate: float) -> StepResult:
        """Updates the weights once, by the gradient of the mean loss over all clips.

        Args:
            batches: Micro-batches of one size, whose gradients are summed. With several replicas
                in this process, each takes its slice of every micro-batch.
            rate: The learning rate.

        Raises:
            FloatingPointError: The loss or its gradient is not finite; the weights are unchanged.
                In float16 a gradient that is not finite skips the step instead, until the loss
                scale has fallen to 1.
            ValueError: The device is out of memory.
        """
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Copies of all arrays that training goes on from; see `State.to_arrays`."""
        ...

    def restore(self, arrays: Arrays) -> None:
        """Sets the `state` of either framework.

        Raises:
            CheckpointError: Names or shapes do not fit this run; nothing is changed then.
        """
        ...


@dataclass(frozen=True)
class Scaler:
    """Loss scaling, which keeps small gradients representable in float16.

    Attributes:
        scale: What the loss is multiplied by, a power of two.
        good_steps: Steps since the scale last changed.
    """

    scale: float = FIRST_SCALE
    good_steps: int = 0

    def after(self, finite: bool) -> "Scaler":
        """The scaler after a step whose gradients were finite, or not.

        Raises:
            FloatingPointError: They were not, although the loss was no longer scaled up.
        """
        if not finite and self.scale <= 1:
            raise FloatingPointError(
                "the gradient overflows float16 at every loss scale, down to "
                f"{self.scale:g}: bfloat16 and float32 have the range for it."
            )
        if not finite:
            return Scaler(self.scale / 2)
        if self.good_steps + 1 == GOOD_STEPS:
            return Scaler(self.scale * 2)
        return replace(self, good_steps=self.good_steps + 1)


def check_step(
    recipe: Recipe, scaler: Scaler, loss: float, norm: float, correct: float
) -> tuple[StepResult, float | None, Scaler]:
    """Decides what to do with the gradients of a step.

    Args:
        recipe: The recipe.
        scaler: Its scale is what the loss was multiplied by.
        loss: Mean over all clips, unscaled.
        norm: Norm of the gradients of the scaled loss.
        correct: Share of the clips, 0 to 1.

    Returns:
        The result; the factor to multiply the gradients by, None to skip the step; and the scaler
        of the next step.

    Raises:
        FloatingPointError: The loss or its gradient is not finite; in float16, at any scale.
    """
    norm /= scaler.scale
    finite = math.isfinite(norm)
    half = recipe.precision == "float16"
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss}.")
    if not finite and not half:
        raise FloatingPointError(f"the gradient of the loss {loss:g} is not finite.")
    factor = min(1.0, recipe.clip_norm / norm) if recipe.clip_norm and norm else 1.0
    result = StepResult(loss, norm, None if recipe.task == "frames" else correct)
    return (
        result,
        factor / scaler.scale if finite else None,
        scaler.after(finite) if half else scaler,
    )


@dataclass(frozen=True)
class State:
    """All arrays that training goes on from, by canonical name.

    Attributes:
        model: Parameters and running statistics.
        momentum: Momentum of the trained parameters.
        average: Like `model`, where the weights are averaged; else None.
        scaler: Loss scaling of float16.
    """

    model: Arrays
    momentum: Arrays
    average: Arrays | None
    scaler: Scaler

    def to_arrays(self, recipe: Recipe) -> dict[str, NDArray[Any]]:
        """One dictionary, the same from both frameworks.

        Parameters and running statistics are "NAME". Trained parameters have "momentum/NAME" and,
        where they are averaged, "average/NAME"; float16 adds "scaler/scale" and
        "scaler/good_steps".
        """
        arrays = dict(self.model) | {f"momentum/{n}": array for n, array in self.momentum.items()}
        if self.average:
            arrays |= {f"average/{name}": self.average[name] for name in self.momentum}
        if recipe.precision == "float16":
            scaler = {"scale": self.scaler.scale, "good_steps": self.scaler.good_steps}
            arrays |= {f"scaler/{name}": np.array(x, np.float32) for name, x in scaler.items()}
        return arrays

    @classmethod
    def from_arrays(cls, net: arch.Network, recipe: Recipe, arrays: Arrays) -> "State":
        """Inverts `to_arrays`.

        Raises:
            CheckpointError: They are not exactly the arrays of a run of this recipe.
        """
        names = [p.name for p in trained(net, recipe)]
        averaged, half = recipe.average_decay > 0, recipe.precision == "float16"
        arch.check_arrays(net, {name: array for name, array in arrays.items() if "/" not in name})
        expected: dict[str, tuple[int, ...]] = {
            f"{kind}/{name}": arrays[name].shape
            for kind in ("momentum", "average")[: 1 + averaged]
            for name in names
        }
        if half:
            expected |= {"scaler/scale": (), "scaler/good_steps": ()}
        received = {name: array.shape for name, array in arrays.items() if "/" in name}
        if received != expected:
            _refuse(net, expected, received)
        model = {p.name: arrays[p.name] for p in arch.parameters(net)}
        momentum = {name: arrays[f"momentum/{name}"] for name in names}
        average = {name: arrays[f"average/{name}"] for name in names if averaged}
        scaler = Scaler()
        if half:
            scaler = Scaler(float(arrays["scaler/scale"]), int(arrays["scaler/good_steps"]))
        return cls(model, momentum, model | average if averaged else None, scaler)


def _refuse(
    net: arch.Network,
    expected: dict[str, tuple[int, ...]],
    received: dict[str, tuple[int, ...]],
) -> NoReturn:
    """Raises `CheckpointError` that lists how two sets of shapes differ."""
    shapes = [
        f"{name} expected {list(expected[name])}, received {list(received[name])}"
        for name in expected.keys() & received.keys()
        if expected[name] != received[name]
    ]
    kinds = {
        "missing": expected.keys() - received.keys(),
        "not of this run": received.keys() - expected.keys(),
        "wrong shapes": shapes,
    }
    wrong = [f"{kind}: {listing(names)}" for kind, names in kinds.items() if names]
    raise CheckpointError(
        f"{net.name}: the state does not fit the recipe; {'; '.join(wrong)}. Go on with the "
        "recipe that it was made with, or start from its weights alone."
    )


def configured(net: arch.Network, recipe: Recipe) -> arch.Network:
    """The network with the batch-norm momentum and the dropout of the recipe."""
    momentum, dropout = recipe.batch_norm_momentum, recipe.dropout
    if momentum is not None:
        net = arch.map_norms(net, lambda norm: replace(norm, momentum=momentum))
    if dropout is not None:
        net = arch.with_dropout(net, dropout)
    return net


def batch_norm_mode(recipe: Recipe, replicas: int) -> str:
    """The mode of batch norm in training; a single replica has nothing to synchronise."""
    alone = recipe.batch_norm == "sync" and replicas == 1
    return "train" if alone else recipe.batch_norm


def dropout(net: arch.Network, batch: Batch) -> NDArray[np.float32] | None:
    """Factors of the features, [B, T', H', W', C']; None without dropout."""
    head = net.head
    if not head.dropout:
        return None
    shape = arch.endpoint_shapes(net, batch.clips.shape[1:4])[head.features]
    return dropout_masks(batch, shape, head.dropout)


def frozen_nodes(net: arch.Network, recipe: Recipe) -> tuple[str, ...]:
    """Names of the nodes before `train_from`, whose weights and statistics do not change.

    Raises:
        ValueError: `train_from` is no endpoint of the network, or leaves nothing to train.
    """
    if recipe.train_from is None:
        return ()
    arch.check_endpoint(net, recipe.train_from)
    if recipe.train_from == net.head.predictions:
        raise ValueError(
            f"{net.name}: nothing is left to train from {net.head.predictions} on. Expected at "
            f"most {net.head.name} as train_from."
        )
    first = net.endpoints.index(recipe.train_from)
    return tuple(node.name for node in net.nodes[:-1])[:first]


def trained(net: arch.Network, recipe: Recipe) -> tuple[arch.Parameter, ...]:
    """The parameters that the recipe trains, in the order of the network."""
    frozen = frozen_nodes(net, recipe)
    return tuple(p for p in arch.parameters(net) if p.trainable and p.unit[0] not in frozen)


def decayed(net: arch.Network, recipe: Recipe) -> frozenset[str]:
    """Names of the parameters with weight decay."""
    if recipe.weight_decay == 0:
        return frozenset()
    decays = {
        "conv.weight": True,
        "conv.bias": recipe.decay_biases,
        "norm.weight": recipe.decay_norms,
        "norm.bias": recipe.decay_norms,
    }
    return frozenset(p.name for p in trained(net, recipe) if decays[p.field])


def interpolation(steps: int, frames: int) -> NDArray[np.float32]:
    """Weights [frames, steps] that interpolate time steps linearly to frames.

    Centres are at half integers and the ends are repeated, as in torch's `interpolate` with
    align_corners=False; piergiaj/pytorch-i3d interpolates logits to labelled frames this way.
    """
    position = ((np.arange(frames) + 0.5) * steps / frames - 0.5).clip(0, steps - 1)
    distance = np.abs(position[:, None] - np.arange(steps))
    return np.maximum(0.0, 1.0 - distance).astype(np.float32)
