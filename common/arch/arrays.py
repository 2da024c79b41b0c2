"""Initial weights of a network, and batch norm folded into its convolutions."""

import zlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from common.arch.nodes import Affine, Conv, Network, Norm
from common.arch.parameters import Arrays, Parameter, check_arrays, convolutions, parameters
from common.arch.variants import map_convs
from common.io import listing


def initial_arrays(net: Network, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Returns initial parameters and statistics by canonical name, the same in both frameworks.

    Kernels are initialised as in the release, with Sonnet's rule: a truncated normal of standard
    deviation 1 / sqrt(fan-in), cut at twice that. Biases, offsets and running means are 0, running
    variances 1, and scales as their norm says. Each array depends only on the seed and its name.
    """
    units = dict(convolutions(net))
    return {each.name: initial_array(each, units[each.unit], seed) for each in parameters(net)}


def initial_array(parameter: Parameter, conv: Conv, seed: int = 0) -> NDArray[np.float32]:
    """Returns initial values of a parameter of `conv`; see `initial_arrays`."""
    match parameter.field:
        case "conv.weight":
            rng = np.random.default_rng([seed, zlib.crc32(parameter.name.encode())])
            fan_in = parameter.size // parameter.shape[0]
            return _truncated_normal(rng, parameter.shape) / np.float32(np.sqrt(fan_in))
        case "norm.weight":
            scale = conv.norm.initial_scale if isinstance(conv.norm, Norm) else 1.0
            return np.full(parameter.shape, scale, np.float32)
        case "norm.running_var":
            return np.ones(parameter.shape, np.float32)
        case _:
            return np.zeros(parameter.shape, np.float32)


def folded(net: Network, arrays: Arrays) -> tuple[Network, Arrays]:
    """Folds batch norm into the convolutions: the same function in inference.

    With scale s, offset b, mean m and variance v, norm(w * x) is (w k) * x + (b - m k), where k is
    s / sqrt(v + eps). It is computed in float64, so that only the last rounding differs.

    Args:
        net: Any network; without batch norm it is returned unchanged.
        arrays: Its weights by canonical name.

    Returns:
        The network with biases instead of batch norm, and its weights.

    Raises:
        CheckpointError: The arrays are not the network's.
        ValueError: A weight is not finite, or a variance is below -eps, so that the factor does not
            exist.
    """
    check_arrays(net, arrays)
    if broken := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise ValueError(
            f"{net.name}: expected finite weights. Received: NaN or infinity in "
            f"{listing(broken, 3)}. Check the weights."
        )
    without = map_convs(net, lambda c: replace(c, norm=None, bias=True) if c.norm else c)
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


def _factor(norm: Norm | Affine, arrays: Arrays, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the factor and the offset of each channel, float64."""

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


def _truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Draws normal numbers, again wherever they exceed two standard deviations."""
    values = rng.standard_normal(shape, dtype=np.float32)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = rng.standard_normal(int(beyond.sum()), dtype=np.float32)
    return values
