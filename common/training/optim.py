"""The optimiser step, the same in both frameworks.

For a parameter p with gradient g of the mean loss:

    g = g * min(1, clip_norm / |g|)      norm over all parameters together, where clip_norm is set
    g = g + weight_decay * p             for the parameters that decay
    v = momentum * v + g                 v starts at 0
    p = p - rate * v                     or p - rate * (g + momentum * v) with Nesterov

The learning rate is not part of v, so v needs no correction when the rate changes.
"""

import bisect
import contextlib
import contextvars
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import arch
from common.arch import Arrays
from common.io import CheckpointError, listing
from common.training.recipes import Recipe

_recomputing = contextvars.ContextVar("_recomputing", default=False)


@dataclass(frozen=True)
class StepResult:
    """Measurements of one step, over all clips of all replicas."""

    loss: float  # mean over the clips, before the update
    gradient_norm: float  # L2, over all trained parameters, before clipping
    correct: float | None  # share of the clips, 0 to 1; None for frame labels


def check_step(recipe: Recipe, result: StepResult) -> float:
    """The factor that clips the gradients; `FloatingPointError` if a number is not finite."""
    loss, norm = result.loss, result.gradient_norm
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss}.")
    if not math.isfinite(norm):
        raise FloatingPointError(f"the gradient of the loss {loss:g} is not finite.")
    return min(1.0, recipe.clip_norm / norm) if recipe.clip_norm and norm else 1.0


@dataclass(frozen=True)
class State:
    """All arrays that training goes on from, by canonical name."""

    model: Arrays  # parameters and running statistics
    momentum: Arrays  # of the trained parameters
    average: Arrays | None = None  # like `model`, where the weights are averaged

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All by "NAME", and of trained parameters "momentum/NAME" and perhaps "average/NAME"."""
        arrays = dict(self.model) | {f"momentum/{n}": array for n, array in self.momentum.items()}
        if self.average:
            arrays |= {f"average/{name}": self.average[name] for name in self.momentum}
        return arrays

    def read(self, arrays: Arrays) -> "State":
        """Inverts `to_arrays`; raises `CheckpointError` unless they have the shapes of this one."""
        expected = {name: array.shape for name, array in self.to_arrays().items()}
        received = {name: array.shape for name, array in arrays.items()}
        names = expected | received
        if wrong := [name for name in names if expected.get(name) != received.get(name)]:
            raise CheckpointError(f"the state does not fit the recipe, in {listing(wrong)}.")
        model = {name: arrays[name] for name in self.model}
        momentum = {name: arrays[f"momentum/{name}"] for name in self.momentum}
        if not self.average:
            return State(model, momentum)
        return State(model, momentum, model | {n: arrays[f"average/{n}"] for n in momentum})


def learning_rate(recipe: Recipe, step: int) -> float:
    """The learning rate of update number `step`, from 0.

    The step of a milestone is the first with its rate. A warm-up rises linearly from a tenth to the
    rate of the schedule at step `warmup_steps`, as in video-nonlocal-net and PySlowFast.
    """
    highest, warm = recipe.learning_rate, recipe.warmup_steps
    if step < warm:
        start = highest / 10
        return start + (learning_rate(recipe, warm) - start) * step / warm
    if recipe.schedule == "multi_step":
        passed = bisect.bisect_right(recipe.milestones, step)
        return highest * (1.0, *recipe.rates)[passed] if recipe.rates else highest * 0.1**passed
    if recipe.schedule == "cosine":
        return highest * (1 + math.cos(math.pi * min(step / recipe.steps, 1))) / 2
    return highest


def configured(net: arch.Network, recipe: Recipe) -> arch.Network:
    """The network with the batch-norm momentum and the dropout of the recipe."""
    momentum = recipe.batch_norm_momentum
    if momentum is not None:
        net = arch.map_norms(net, lambda norm: replace(norm, momentum=momentum))
    return net if recipe.dropout is None else arch.with_dropout(net, recipe.dropout)


def batch_norm_mode(recipe: Recipe, replicas: int) -> str:
    """The mode of batch norm in training; a single replica has nothing to synchronise."""
    return "train" if recipe.batch_norm == "sync" and replicas == 1 else recipe.batch_norm


def frozen_nodes(net: arch.Network, recipe: Recipe) -> tuple[str, ...]:
    """Names of the nodes before `train_from`, whose weights and statistics do not change."""
    if recipe.train_from is None:
        return ()
    first = net.endpoints.index(recipe.train_from)
    return tuple(node.name for node in net.nodes[:-1])[:first]


def trained(net: arch.Network, recipe: Recipe) -> tuple[arch.Parameter, ...]:
    """The parameters that the recipe trains, in the order of the network."""
    frozen = frozen_nodes(net, recipe)
    return tuple(p for p in arch.parameters(net) if p.trainable and p.unit[0] not in frozen)


def decayed(net: arch.Network, recipe: Recipe) -> frozenset[str]:
    """Names of the parameters with weight decay."""
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


@contextlib.contextmanager
def recomputing() -> Iterator[None]:
    """Activations are computed a second time: batch norms leave their running statistics."""
    token = _recomputing.set(True)
    try:
        yield
    finally:
        _recomputing.reset(token)


def is_recomputing() -> bool:
    return _recomputing.get()
