"""Batch norm turned into the scale and offset that it is once its statistics are frozen."""

from collections.abc import Collection, Mapping

import numpy as np

from common import arch
from common.io import CheckpointError
from convert import changes


def to_affine(
    net: arch.Network, arrays: Mapping[str, np.ndarray], allow: Collection[str] = ()
) -> tuple[arch.Network, dict[str, np.ndarray]]:
    """The affine form of a network.

    y = s x + b with s = gamma / sqrt(var + eps) and b = beta - s mean.

    The non-local blocks of the affine form have no norm; theirs is multiplied into the
    projection before it.

    Args:
        net: A network that has an affine form.
        arrays: Its canonical arrays.
        allow: Changes of the function that are allowed; see `convert.changes`.

    Raises:
        CheckpointError: The network has no affine form, or one that computes something else,
            which `allow` does not name.
    """
    name = f"{net.name}_affine"
    if name not in arch.ARCHITECTURES:
        having = ", ".join(n.removesuffix("_affine") for n in arch.ARCHITECTURES if "_affine" in n)
        raise CheckpointError(f"{net.name} has no affine form. Expected one of {having}.")
    frozen = arch.ARCHITECTURES[name](net.num_classes, net.in_channels)
    if any(isinstance(node, arch.NonLocal) and node.group for node in frozen.nodes):
        changes.require("nonlocal_groups", allow, f"{net.name} to {name}")
    result = dict(arrays)
    kept = {".".join(unit): conv for unit, conv in arch.convolutions(frozen)}
    for unit, conv in arch.convolutions(net):
        if isinstance(conv.norm, arch.Norm):
            _freeze(".".join(unit), conv.norm, kept[".".join(unit)], result)
    return frozen, {p.name: result[p.name] for p in arch.parameters(frozen)}


def _freeze(unit: str, norm: arch.Norm, target: arch.Conv, arrays: dict[str, np.ndarray]) -> None:
    """Replaces a unit's batch norm in `arrays`. In float64, rounded once at the end."""
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
