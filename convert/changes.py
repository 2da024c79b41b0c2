"""Changes to weights on the way: to their function, where that is allowed, and to their form."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from common import arch
from common.io import CheckpointError
from convert.arrays import Array

Arrays = Mapping[str, Array]

INFLATIONS = ("repeat", "centre")
"""How a 2-D kernel becomes a 3-D one; see `inflate`."""


def _same(net: arch.Network, arrays: Arrays) -> Arrays:
    return arrays


@dataclass(frozen=True)
class Change:
    """A change of the function that weights compute, which has to be allowed.

    Attributes:
        about: What changes, as the end of a sentence.
        reading: Turns canonical arrays as they were read into those of our closest network.
        writing: The other way round.
    """

    about: str
    reading: Callable[[arch.Network, Arrays], Arrays] = _same
    writing: Callable[[arch.Network, Arrays], Arrays] = _same


def _mmaction2(net: arch.Network, arrays: Arrays, power: float, absorb: bool) -> Arrays:
    """Multiplies theta, and so the scores before the softmax, by inner channels ** power.

    With `absorb`, the norm of the output takes over its bias, which mmaction2 lacks.
    """
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
        " into the weights. Files of its dot-product blocks have the same names and no softmax:"
        " they would compute something else altogether",
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
    """Returns the change of that name.

    Raises:
        CheckpointError: It is not among those allowed; the text starts with `what`.
    """
    if name not in allowed:
        raise CheckpointError(
            f"{what}: this cannot be converted exactly: {CHANGES[name].about}. If that is what you"
            f" want, say so with --allow={name}."
        )
    return CHANGES[name]


def norm_eps(net: arch.Network) -> float:
    """Returns the eps of a network's batch norm."""
    return next(c.norm.eps for _, c in arch.convolutions(net) if isinstance(c.norm, arch.Norm))


def shift_variance(net: arch.Network, arrays: Arrays, shift: float) -> dict[str, Array]:
    """Adds `shift` to every running variance, to make up for another eps of batch norm."""
    changed = dict(arrays)
    for parameter in arch.parameters(net):
        if parameter.field == "norm.running_var":
            changed[parameter.name] = arrays[parameter.name] + np.float32(shift)
    return changed


def fold_scale(net: arch.Network, arrays: Arrays) -> tuple[arch.Network, dict[str, Array]]:
    """Folds the scale of batch norm into the kernels, for dialects that have none.

    gamma * (W x - mean) = (gamma W) x - (gamma mean), whatever gamma's sign: exact but for one
    rounding of each kernel value and mean.

    Returns:
        The network without scales, and its canonical arrays.
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

    y = s x + b with s = gamma / sqrt(var + eps) and b = beta - s mean. The non-local blocks of the
    affine networks have no norm; theirs is multiplied into the projection before it.

    Raises:
        CheckpointError: The network has no affine form, or one that computes something else,
            and the change is not in `allow`.
    """
    name = f"{net.name}_affine"
    if name not in arch.ARCHITECTURES:
        having = ", ".join(n.removesuffix("_affine") for n in arch.ARCHITECTURES if "_affine" in n)
        raise CheckpointError(f"{net.name} has no affine form. Expected one of {having}.")
    frozen = arch.make(name, net.num_classes, net.in_channels)
    if any(isinstance(node, arch.NonLocal) and node.group for node in frozen.nodes):
        require("nonlocal_groups", allow, f"{net.name} to {name}")
    result = dict(arrays)
    for (path, conv), (_, target) in zip(
        arch.convolutions(net), arch.convolutions(frozen), strict=True
    ):
        if isinstance(conv.norm, arch.Norm):
            _freeze(".".join(path), conv.norm, target, result)
    return frozen, {p.name: result[p.name] for p in arch.parameters(frozen)}


def _freeze(unit: str, norm: arch.Norm, target: arch.Conv, arrays: dict[str, Array]) -> None:
    """Replaces a unit's batch norm in `arrays`; in float64, rounded once at the end."""
    gamma, beta, mean, var = (
        arrays.pop(f"{unit}.norm.{field}").astype(np.float64)
        for field in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(var + norm.eps)
    offset = beta - scale * mean
    if target.norm is not None:
        arrays[f"{unit}.norm.weight"] = scale.astype(np.float32)
        arrays[f"{unit}.norm.bias"] = offset.astype(np.float32)
        return
    kernel, bias = f"{unit}.conv.weight", f"{unit}.conv.bias"
    arrays[kernel] = (arrays[kernel] * scale[:, None, None, None, None]).astype(np.float32)
    arrays[bias] = (arrays[bias] * scale + offset).astype(np.float32)


def new_classifier(
    net: arch.Network, arrays: Arrays, num_classes: int, seed: int = 0
) -> tuple[arch.Network, dict[str, Array]]:
    """Gives a network another classifier, with initial values (see `arch.initial_array`).

    Raises:
        ValueError: There would be no class.
    """
    if num_classes < 1:
        raise ValueError(f"a network needs at least 1 class. Received: {num_classes}.")
    changed = arch.with_classes(net, num_classes)
    fresh = {
        parameter.name: arch.initial_array(parameter, changed.head.conv, seed)
        for parameter in arch.parameters(changed)
        if parameter.unit[0] == changed.head.name
    }
    return changed, {**arrays, **fresh}


def inflate(kernel: Array, frames: int, how: str = "repeat") -> Array:
    """Inflates a 2-D kernel [O, I, 1, H, W] to [O, I, frames, H, W].

    A video of one frame repeated then gives the activations of the image, except near its ends,
    where padding in time lowers them (Carreira and Zisserman, CVPR 2017, section 2.2.1).

    Args:
        kernel: The 2-D kernel.
        frames: Its length in time.
        how: "repeat" puts the kernel divided by `frames` into every frame, "centre" puts it
            undivided into the middle one (Girdhar et al., "Detect-and-Track", 2018).

    Raises:
        ValueError: No such way.
    """
    if how not in INFLATIONS:
        raise ValueError(
            f"no such inflation. Expected one of {', '.join(INFLATIONS)}. Received: {how!r}."
        )
    shape = (*kernel.shape[:2], frames, *kernel.shape[3:])
    if how == "repeat":
        return np.broadcast_to(kernel / np.float32(frames), shape)
    inflated = np.zeros(shape, np.float32)
    inflated[:, :, frames // 2] = kernel[:, :, 0]
    return inflated
