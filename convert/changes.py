"""Changes to weights on the way: to their function, where that is allowed, and to their form."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from common import arch
from common.io import CheckpointError
from convert.arrays import Array

Arrays = Mapping[str, Array]

INFLATIONS = ("repeat", "centre")  # see `inflate`


@dataclass(frozen=True)
class Change:
    """A change of the function that weights compute, which has to be allowed."""

    about: str  # what changes, as the end of a sentence
    # Turns arrays as they were read into those of our closest network, and the other way round.
    reading: Callable[[arch.Network, Arrays], Arrays] = lambda net, arrays: arrays
    writing: Callable[[arch.Network, Arrays], Arrays] = lambda net, arrays: arrays


def _mmaction2(net: arch.Network, arrays: Arrays, power: float, absorb: bool) -> Arrays:
    """Multiplies theta by inner channels ** power; with `absorb`, the norm takes over the bias."""
    changed = dict(arrays)
    for node in net.nodes:
        if isinstance(node, arch.NonLocal):
            factor = np.float32(node.theta.out_channels**power)
            for field in ("conv.weight", "conv.bias"):
                name = f"{node.name}.{node.theta.name}.{field}"
                changed[name] = arrays[name] * factor
            if absorb:  # (x + bias) - mean = x - (mean - bias)
                unit = f"{node.name}.{node.out.name}"
                bias, mean = f"{unit}.conv.bias", f"{unit}.norm.running_mean"
                changed[mean] = arrays[mean] - arrays[bias]
                changed[bias] = np.zeros_like(arrays[bias])
    return changed


CHANGES = {
    "fold_scale": Change(
        "batch norm's scale is multiplied into the kernels and means, one rounding each; the target"
        " has no scale"
    ),
    "mmaction2_nonlocal": Change(
        "mmaction2's non-local blocks pool after the projections to phi and g instead of before, so"
        " they attend to other positions; their missing score scaling and output bias are absorbed"
        " into the weights (those of its dot-product blocks mean something else altogether)",
        partial(_mmaction2, power=0.5, absorb=False),
        partial(_mmaction2, power=-0.5, absorb=True),
    ),
    "gluoncv_nonlocal": Change(
        "GluonCV's non-local blocks attend to all positions, not to the pooled ones"
    ),
    "nonlocal_groups": Change(
        "the non-local blocks after res3 of the affine nets attend within groups of 4 time steps,"
        " not over all of them"
    ),
}
"""Every change by the name that `--allow` takes."""


def require(name: str, allowed: Collection[str], what: object) -> Change:
    """Returns the change of that name; CheckpointError, about `what`, if it is not allowed."""
    if name not in allowed:
        raise CheckpointError(f"{what}: not exact without --allow={name}: {CHANGES[name].about}.")
    return CHANGES[name]


def norm_eps(net: arch.Network) -> float:
    return next(c.norm.eps for _, c in arch.convolutions(net) if isinstance(c.norm, arch.Norm))


def shift_variance(net: arch.Network, arrays: Arrays, shift: float) -> dict[str, Array]:
    """Adds `shift` to every running variance, to make up for another eps of batch norm."""
    variances = {p.name for p in arch.parameters(net) if p.field == "norm.running_var"}
    return {
        name: array + np.float32(shift) if name in variances else array
        for name, array in arrays.items()
    }


def fold_scale(net: arch.Network, arrays: Arrays) -> tuple[arch.Network, dict[str, Array]]:
    """Folds batch norm's scale into kernels and means, which are rounded once.

    gamma * (W x - mean) = (gamma W) x - (gamma mean), whatever gamma's sign.
    """
    folded = dict(arrays)
    for parameter in arch.parameters(net):
        if parameter.field == "norm.weight":
            unit = ".".join(parameter.unit)
            gamma = folded.pop(parameter.name)
            kernel, mean = f"{unit}.conv.weight", f"{unit}.norm.running_mean"
            folded[kernel] = folded[kernel] * gamma[:, None, None, None, None]
            folded[mean] = folded[mean] * gamma
    plain = arch.make(net.name, net.num_classes, net.in_channels)
    return plain, {p.name: folded[p.name] for p in arch.parameters(plain)}


def to_affine(
    net: arch.Network, arrays: Arrays, allow: Collection[str] = ()
) -> tuple[arch.Network, dict[str, Array]]:
    """Turns batch norm into the scale and offset that it is once its statistics are frozen.

    The non-local blocks of the affine networks have no norm; theirs is multiplied into the
    projection before it. CheckpointError if there is no such form, or it is not in `allow`.
    """
    name = f"{net.name}_affine"
    if name not in arch.ARCHITECTURES:
        raise CheckpointError(f"{net.name} has no affine form.")
    frozen = arch.make(name, net.num_classes, net.in_channels)
    if any(isinstance(node, arch.NonLocal) and node.group for node in frozen.nodes):
        require("nonlocal_groups", allow, f"{net.name} to {name}")
    result = dict(arrays)
    pairs = zip(arch.convolutions(net), arch.convolutions(frozen), strict=True)
    for (path, conv), (_, target) in pairs:
        if isinstance(conv.norm, arch.Norm):
            unit = ".".join(path)
            scale, offset = arch.norm_factor(conv.norm, arrays, unit)
            weight, bias = f"{unit}.norm.weight", f"{unit}.norm.bias"
            if target.norm is None:
                weight, bias = f"{unit}.conv.weight", f"{unit}.conv.bias"
                offset = arrays[bias] * scale + offset
                scale = arrays[weight] * scale[:, None, None, None, None]
            result[weight], result[bias] = scale.astype(np.float32), offset.astype(np.float32)
    return frozen, {p.name: result[p.name] for p in arch.parameters(frozen)}


def new_classifier(
    net: arch.Network, arrays: Arrays, num_classes: int, seed: int = 0
) -> tuple[arch.Network, dict[str, Array]]:
    """Gives a network another classifier, with initial values (see `arch.initial_array`)."""
    changed = arch.with_classes(net, num_classes)
    fresh = {
        parameter.name: arch.initial_array(parameter, changed.head.conv, seed)
        for parameter in arch.parameters(changed)
        if parameter.unit[0] == changed.head.name
    }
    return changed, {**arrays, **fresh}


def inflate(kernel: Array, frames: int, how: str = "repeat") -> Array:
    """Inflates a 2-D kernel [O, I, 1, H, W] to [O, I, frames, H, W].

    `how` is "repeat", the kernel divided by `frames` in every frame (Carreira and Zisserman, CVPR
    2017, section 2.2.1), or "centre", the kernel itself in the middle one (Girdhar et al., 2018).
    """
    shape = (*kernel.shape[:2], frames, *kernel.shape[3:])
    if how == "repeat":
        return np.broadcast_to(kernel / np.float32(frames), shape)
    inflated = np.zeros(shape, np.float32)
    inflated[:, :, frames // 2] = kernel[:, :, 0]
    return inflated
