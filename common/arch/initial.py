"""What a network starts from when it is trained from scratch: the same in both frameworks."""

import zlib

import numpy as np
from numpy.typing import NDArray

from common.arch.nodes import Conv, Network, Norm
from common.arch.parameters import Parameter, convolutions, parameters


def initial_arrays(net: Network, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Initial values of everything a network learns, by canonical name.

    Kernels are the release's, which are Sonnet's: a truncated normal of deviation 1 / sqrt(fan-in),
    cut at twice that. Biases, offsets and running means are 0, running variances 1, scales what
    their norm says. Each depends on the seed and its own name alone.
    """
    units = dict(convolutions(net))
    return {each.name: initial_array(each, units[each.unit], seed) for each in parameters(net)}


def initial_array(parameter: Parameter, conv: Conv, seed: int = 0) -> NDArray[np.float32]:
    """Initial values of one parameter, which belongs to `conv`; see `initial_arrays`."""
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


def _truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Normal numbers, drawn again where they are beyond two deviations."""
    values = rng.standard_normal(shape, dtype=np.float32)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = rng.standard_normal(int(beyond.sum()), dtype=np.float32)
    return values
