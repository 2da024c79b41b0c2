"""Random parameters and clips that expose mistakes.

Fresh initial values hide nearly every bug: with a mean of 0, a variance of 1 and an offset of 0,
swapping two of them changes nothing. Here every array is random and well scaled, and depends only
on its name and the seed, so that both backends get the same.
"""

import zlib

import numpy as np

from common import arch


def arrays(net: arch.Network, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns every parameter and running statistic by canonical name, float32.

    Kernels have variance 2 / fan-in, so that ReLUs preserve the scale of the input (less before a
    sum with the input or a softmax); scales and variances lie in 0.5..1.5; the rest is 0.1 x
    normal.
    """
    gains = _gains(net)
    return {
        parameter.name: _array(parameter, seed, gains.get(parameter.unit, 1.0))
        for parameter in arch.parameters(net)
    }


def clips(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Returns clips [B, T, H, W, C] float32, uniform in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def _gains(net: arch.Network) -> dict[tuple[str, ...], float]:
    """Returns factors of kernels that keep deep sums, and scores before a softmax, in scale."""
    gains: dict[tuple[str, ...], float] = {}
    for node in net.nodes:
        match node:
            case arch.Residual():
                gains[node.name, node.body[-1].name] = 0.2
            case arch.NonLocal():
                gains[node.name, node.out.name] = 0.2
                gains |= {(node.name, conv.name): 0.15 for conv in (node.theta, node.phi)}
            case arch.Head():
                gains[node.name, node.conv.name] = 0.3
    return gains


def _array(parameter: arch.Parameter, seed: int, gain: float) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(parameter.name.encode())])
    if parameter.field == "conv.weight":
        fan_in = np.prod(parameter.shape[1:])
        values = rng.normal(scale=gain * np.sqrt(2 / fan_in), size=parameter.shape)
    elif parameter.field in ("norm.weight", "norm.running_var"):
        values = rng.uniform(0.5, 1.5, parameter.shape)
    else:
        values = rng.normal(scale=0.1, size=parameter.shape)
    return values.astype(np.float32)
