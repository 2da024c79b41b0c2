"""Changes to the weights' function that a conversion makes only when it is told to, by name."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from common import arch
from common.io import CheckpointError

Arrays = Mapping[str, np.ndarray]


def _same(net: arch.Network, arrays: Arrays) -> Arrays:
    return arrays


@dataclass(frozen=True)
class Change:
    """A change that has to be allowed.

    Attributes:
        about: What changes, as the end of a sentence.
        reading: Makes the closest network of ours out of canonical arrays as they were read.
        writing: The other way round.
    """

    about: str
    reading: Callable[[arch.Network, Arrays], Arrays] = _same
    writing: Callable[[arch.Network, Arrays], Arrays] = _same


def _scale_scores(net: arch.Network, arrays: Arrays, power: float) -> dict[str, np.ndarray]:
    """Multiplies theta by inner channels ** power, and with it the scores before the softmax."""
    changed = dict(arrays)
    for node in net.nodes:
        if isinstance(node, arch.NonLocal):
            factor = np.float32(node.theta.out_channels**power)
            for field in ("conv.weight", "conv.bias"):
                name = f"{node.name}.{node.theta.name}.{field}"
                changed[name] = arrays[name] * factor
    return changed


def _from_mmaction2(net: arch.Network, arrays: Arrays) -> Arrays:
    return _scale_scores(net, arrays, 0.5)


def _to_mmaction2(net: arch.Network, arrays: Arrays) -> Arrays:
    changed = _scale_scores(net, arrays, -0.5)
    for node in net.nodes:
        if isinstance(node, arch.NonLocal):
            unit = f"{node.name}.{node.out.name}"
            bias, mean = f"{unit}.conv.bias", f"{unit}.norm.running_mean"
            # The norm takes the bias away again: (x + bias) - mean = x - (mean - bias).
            changed[mean] = arrays[mean] - arrays[bias]
            changed[bias] = np.zeros_like(arrays[bias])
    return changed


CHANGES = {
    "fold_scale": Change(
        "batch norm's scale is multiplied into the kernels and means, one rounding each; the target"
        " has no scale"
    ),
    "mmaction2_nonlocal": Change(
        "mmaction2's non-local blocks pool after the projections to phi and g and not before, so"
        " that other positions are attended to; that they do not scale the scores and have no"
        " bias behind is made up for in the weights. Files of its dot-product blocks have the same"
        " names and no softmax: they would compute something else altogether",
        _from_mmaction2,
        _to_mmaction2,
    ),
    "gluoncv_nonlocal": Change(
        "GluonCV's non-local blocks attend to all positions, not to the pooled ones"
    ),
    "nonlocal_groups": Change(
        "the non-local blocks after res3 of the affine nets attend within 4 time steps, not over"
        " all of them"
    ),
}
"""Every change by the name that `--allow` takes."""


def require(name: str, allowed: Collection[str], what: object) -> Change:
    """The change of that name, if it is allowed.

    Raises:
        CheckpointError: It is not.
    """
    if name not in allowed:
        raise CheckpointError(
            f"{what}: this cannot be converted exactly: {CHANGES[name].about}. If that is what you"
            f" want, say so with --allow={name}."
        )
    return CHANGES[name]


def shift_variance(net: arch.Network, arrays: Arrays, eps: float, back: bool = False) -> Arrays:
    """Takes the difference between a norm's eps and another one into the running variances.

    Args:
        net: The network, with its own eps.
        arrays: Its canonical arrays.
        eps: What the other side adds to the variance.
        back: From ours to the other side's; otherwise from theirs to ours.
    """
    changed = dict(arrays)
    for unit, norm in _norms(net):
        name = f"{unit}.norm.running_var"
        difference = norm.eps - eps if back else eps - norm.eps
        changed[name] = arrays[name] + np.float32(difference)
    return changed


def _norms(net: arch.Network) -> list[tuple[str, arch.Norm]]:
    return [
        (".".join(path), conv.norm)
        for path, conv in arch.convolutions(net)
        if isinstance(conv.norm, arch.Norm)
    ]
