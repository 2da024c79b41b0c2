"""Batch norm folded into the convolutions before it: the same function in inference."""

from dataclasses import replace

import numpy as np

from common.arch.nodes import Affine, Conv, Network, Norm
from common.arch.parameters import Arrays, check_arrays, convolutions, parameters
from common.arch.variants import map_convs


def folded(net: Network, arrays: Arrays) -> tuple[Network, Arrays]:
    """The network without batch norm, whose convolutions have a bias instead; and its weights.

    With scale s, offset b, mean m and variance v, norm(w * x) is (w k) * x + (b - m k) where k is
    s / sqrt(v + eps). That is calculated in float64, so that only the last rounding differs.

    Args:
        net: Any network; one without batch norm stays as it is.
        arrays: Its weights, by canonical name.

    Raises:
        CheckpointError: The arrays are not the network's.
        ValueError: A variance is below -eps, for which there is no such factor.
    """
    check_arrays(net, arrays)
    without = map_convs(net, _bare)
    found = dict(arrays)
    for unit, conv in convolutions(net):
        if conv.norm:
            name = ".".join(unit)
            factor, offset = _factor(conv.norm, arrays, name)
            kernel = np.asarray(arrays[f"{name}.conv.weight"])
            bias = np.asarray(arrays[f"{name}.conv.bias"], np.float64) if conv.bias else 0.0
            rounded = np.empty(kernel.shape, np.float32)
            np.multiply(kernel, factor.reshape(-1, 1, 1, 1, 1), out=rounded, casting="same_kind")
            found[f"{name}.conv.weight"] = rounded
            found[f"{name}.conv.bias"] = (bias * factor + offset).astype(np.float32)
    return without, {each.name: found[each.name] for each in parameters(without)}


def _bare(conv: Conv) -> Conv:
    return replace(conv, norm=None, bias=True) if conv.norm else conv


def _factor(norm: Norm | Affine, arrays: Arrays, name: str) -> tuple[np.ndarray, np.ndarray]:
    """What a channel is multiplied with, and what is then added to it, float64."""

    def of(field: str) -> np.ndarray:
        return np.asarray(arrays[f"{name}.norm.{field}"], np.float64)

    if isinstance(norm, Affine):
        return of("weight"), of("bias")
    variance = of("running_var") + norm.eps
    if not (variance > 0).all():
        raise ValueError(
            f"{name}: expected variances above {-norm.eps:g}. Received: "
            f"{of('running_var').min():g}. Check the weights."
        )
    factor = (of("weight") if norm.scale else 1.0) / np.sqrt(variance)
    return factor, of("bias") - of("running_mean") * factor
