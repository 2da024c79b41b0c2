"""A new classifier for weights that are to be fine-tuned on other classes."""

import zlib
from collections.abc import Mapping

import numpy as np

from common import arch


def fresh(net: arch.Network) -> dict[str, np.ndarray]:
    """Initial values of a network's classifier, the same each time.

    The kernel is Sonnet's truncated normal, of deviation 1 / sqrt(features) and cut at twice
    that; the bias is 0.
    """
    values: dict[str, np.ndarray] = {}
    for parameter in arch.parameters(net):
        if parameter.unit[0] == net.head.name:
            values[parameter.name] = np.zeros(parameter.shape, np.float32)
            if parameter.field == "conv.weight":
                rng = np.random.default_rng(zlib.crc32(parameter.name.encode()))
                values[parameter.name] = _truncated_normal(rng, parameter.shape)
                values[parameter.name] /= np.float32(np.sqrt(parameter.shape[1]))
    return values


def replace(
    net: arch.Network, arrays: Mapping[str, np.ndarray], num_classes: int
) -> tuple[arch.Network, dict[str, np.ndarray]]:
    """The network with another number of classes, and its arrays with a fresh classifier.

    Raises:
        ValueError: There would be no class.
    """
    if num_classes < 1:
        raise ValueError(f"a network needs at least 1 class. Received: {num_classes}.")
    changed = arch.with_classes(net, num_classes)
    return changed, {**arrays, **fresh(changed)}


def _truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers, drawn again where they are beyond two deviations."""
    values = rng.standard_normal(shape, dtype=np.float32)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = rng.standard_normal(int(beyond.sum()), dtype=np.float32)
    return values
