"""What training does to which parameter: pure functions of a network and a recipe.

The rule of a step, the same in both frameworks, for a parameter p with gradient g of the loss:

    g = g * min(1, clip_norm / |g|)      over all parameters together, where there is a clip_norm
    g = g + weight_decay * p             where the parameter decays
    v = momentum * v + g                 starts from 0, and without momentum stays there
    p = p - rate * v                     or rate * (g + momentum * v), Nesterov's

The rate is not part of v, so that v needs no correction when the rate changes. Caffe2's has the
rate in it, which is why the non-local networks' code rescales it: the result is this rule.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import arch
from common.arch import Arrays
from common.io import CheckpointError, listing
from common.training.batches import Batch, dropout_masks
from common.training.learner import Measured
from common.training.recipes import Recipe

# torch.amp.GradScaler's: where the scale starts, and after how many good steps it doubles.
FIRST_SCALE = 65536.0
GOOD_STEPS = 2000


@dataclass(frozen=True)
class Scaler:
    """The factor of the loss that keeps small gradients representable in float16.

    Attributes:
        scale: The factor, a power of two.
        good_steps: Steps since it last changed.
    """

    scale: float = FIRST_SCALE
    good_steps: int = 0

    def after(self, finite: bool) -> "Scaler":
        """The scaler after a step whose gradients were finite, or not.

        Raises:
            FloatingPointError: They were not, though the loss was not even scaled any more.
        """
        if not finite and self.scale <= 1:
            raise FloatingPointError(
                "the gradient is too large for float16 at every scale of the loss, down to "
                f"{self.scale:g}: bfloat16 and float32 have the room for it."
            )
        if not finite:
            return Scaler(self.scale / 2)
        if self.good_steps + 1 == GOOD_STEPS:
            return Scaler(self.scale * 2)
        return replace(self, good_steps=self.good_steps + 1)


@dataclass(frozen=True)
class State:
    """Everything a run goes on from, but its position; arrays by canonical name.

    Attributes:
        model: Parameters and running statistics.
        momentum: Of the parameters that train.
        average: As `model`, where weights are averaged.
        scaler: In float16.
    """

    model: Arrays
    momentum: Arrays
    average: Arrays | None
    scaler: Scaler

    def to_arrays(self, recipe: Recipe) -> dict[str, NDArray[Any]]:
        """As `Learner.state` hands it out."""
        arrays = dict(self.model) | {f"momentum/{n}": array for n, array in self.momentum.items()}
        if self.average:
            arrays |= {f"average/{name}": self.average[name] for name in self.momentum}
        return arrays | (scaler_state(self.scaler) if recipe.precision == "float16" else {})

    @classmethod
    def of(cls, net: arch.Network, recipe: Recipe, arrays: Arrays) -> "State":
        """The state that `to_arrays` made these arrays of.

        Raises:
            CheckpointError: They are not exactly what a run of the recipe goes on from.
        """
        check_state(net, recipe, arrays)
        names = [p.name for p in trained(net, recipe)]
        model = {p.name: arrays[p.name] for p in arch.parameters(net)}
        average = {name: arrays[f"average/{name}"] for name in names if recipe.average_decay}
        return cls(
            model,
            {name: arrays[f"momentum/{name}"] for name in names},
            model | average if average else None,
            scaler_from(arrays) if recipe.precision == "float16" else Scaler(),
        )


def configured(net: arch.Network, recipe: Recipe) -> arch.Network:
    """The network with the momentum of batch norm and the dropout of the recipe."""
    momentum, dropout = recipe.batch_norm_momentum, recipe.dropout
    if momentum is not None:
        net = arch.map_norms(net, lambda norm: replace(norm, momentum=momentum))
    if dropout is not None:
        net = arch.with_dropout(net, dropout)
    return net


def batch_norm_mode(recipe: Recipe, replicas: int) -> str:
    """What batch norm does in training: of one replica alone "sync" is "train"."""
    alone = recipe.batch_norm == "sync" and replicas == 1
    return "train" if alone else recipe.batch_norm


def dropout(net: arch.Network, batch: Batch) -> NDArray[np.float32] | None:
    """What to multiply the features of a batch with, [B, T', H', W', C']; None is nothing."""
    head = net.head
    if not head.dropout:
        return None
    shape = arch.endpoint_shapes(net, batch.clips.shape[1:4])[head.features]
    return dropout_masks(batch, shape, head.dropout)


def frozen_nodes(net: arch.Network, recipe: Recipe) -> tuple[str, ...]:
    """Names of the nodes before `train_from`, of which nothing changes, no statistic either.

    Raises:
        ValueError: `train_from` is no endpoint of the network, or leaves nothing to train.
    """
    if recipe.train_from is None:
        return ()
    arch.check_endpoint(net, recipe.train_from)
    first = net.endpoints.index(recipe.train_from)
    frozen = tuple(node.name for node in net.nodes[:-1])[:first]
    if recipe.train_from == net.head.predictions:
        raise ValueError(
            f"{net.name}: nothing is left to train from {net.head.predictions} on. Expected at"
            f" most {net.head.name} as train_from."
        )
    return frozen


def trained(net: arch.Network, recipe: Recipe) -> tuple[arch.Parameter, ...]:
    """The parameters that the recipe trains, in the order of the network."""
    frozen = frozen_nodes(net, recipe)
    return tuple(p for p in arch.parameters(net) if p.trainable and p.unit[0] not in frozen)


def decayed(net: arch.Network, recipe: Recipe) -> frozenset[str]:
    """Names of the parameters that weight decay pulls to zero."""
    if recipe.weight_decay == 0:
        return frozenset()
    decays = {
        "conv.weight": True,
        "conv.bias": recipe.decay_biases,
        "norm.weight": recipe.decay_norms,
        "norm.bias": recipe.decay_norms,
    }
    return frozenset(p.name for p in trained(net, recipe) if decays[p.field])


def gradient_factor(recipe: Recipe, norm: float) -> float:
    """What clipping multiplies a gradient of that norm with."""
    return min(1.0, recipe.clip_norm / norm) if recipe.clip_norm and norm else 1.0


def judged(
    recipe: Recipe, scaler: Scaler, loss: float, norm: float, correct: float
) -> tuple[Measured, float | None, Scaler]:
    """What to make of the gradients of a step.

    Args:
        recipe: How to train.
        scaler: Its scale is what the loss was multiplied with.
        loss: Mean over all clips.
        norm: Of the gradients of the scaled loss.
        correct: Share of the clips.

    Returns:
        What is measured; the factor of those gradients, None where the step is to be skipped; and
        the scaler of the next step.

    Raises:
        FloatingPointError: The loss or its gradient is not finite, in float16 at any scale.
    """
    norm /= scaler.scale
    check_measured(recipe, loss, norm)
    finite = math.isfinite(norm)
    factor = gradient_factor(recipe, norm) / scaler.scale if finite else None
    if recipe.precision == "float16":
        scaler = scaler.after(finite)
    return Measured(loss, norm, None if recipe.task == "frames" else correct), factor, scaler


def check_measured(recipe: Recipe, loss: float, norm: float) -> None:
    """Refuses a step that would ruin the weights; in float16 the scaler skips some of them.

    Raises:
        FloatingPointError: The loss, or the norm of its gradient, is not finite.
    """
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss}.")
    if not math.isfinite(norm) and recipe.precision != "float16":
        raise FloatingPointError(f"the gradient of the loss {loss:g} is not finite.")


def scaler_state(scaler: Scaler) -> dict[str, NDArray[np.float32]]:
    """The scaler as arrays of a state."""
    return {
        "scaler/scale": np.array(scaler.scale, np.float32),
        "scaler/good_steps": np.array(scaler.good_steps, np.float32),
    }


def scaler_from(arrays: Arrays) -> Scaler:
    """The scaler of a state."""
    return Scaler(float(arrays["scaler/scale"]), int(arrays["scaler/good_steps"]))


def check_state(net: arch.Network, recipe: Recipe, arrays: Arrays) -> None:
    """Refuses arrays that are not exactly what a run of the recipe goes on from.

    Raises:
        CheckpointError: Names are missing or left over, or a shape differs; all are listed.
    """
    parts = [p.name for p in trained(net, recipe)]
    extra = {f"momentum/{name}": name for name in parts}
    if recipe.average_decay:
        extra |= {f"average/{name}": name for name in parts}
    scaler = set(scaler_state(Scaler())) if recipe.precision == "float16" else set()
    expected = extra.keys() | scaler
    own = {parameter.name for parameter in arch.parameters(net)}
    arch.check_arrays(net, {name: array for name, array in arrays.items() if "/" not in name})
    received = arrays.keys() - own
    wrong = []
    if missing := expected - received:
        wrong.append(f"missing: {listing(missing)}")
    if unknown := received - expected:
        wrong.append(f"not of this run: {listing(unknown)}")
    shapes = [
        f"{name} expected {list(shape)}, received {list(arrays[name].shape)}"
        for name in expected & received
        if arrays[name].shape != (shape := arrays[extra[name]].shape if name in extra else ())
    ]
    if shapes:
        wrong.append(f"wrong shapes: {listing(shapes)}")
    if wrong:
        raise CheckpointError(
            f"{net.name}: the state does not fit the recipe; {'; '.join(wrong)}. Go on with the"
            " recipe that it was made with, or start from its weights alone."
        )


def interpolation(steps: int, frames: int) -> NDArray[np.float32]:
    """Weights [frames, steps] that spread values of time steps linearly over frames.

    Centres are at half integers and the ends are repeated, as torch's `interpolate` does with
    align_corners=False; piergiaj/pytorch-i3d spreads logits over the labelled frames so.
    """
    position = ((np.arange(frames) + 0.5) * steps / frames - 0.5).clip(0, steps - 1)
    distance = np.abs(position[:, None] - np.arange(steps))
    return np.maximum(0.0, 1.0 - distance).astype(np.float32)
