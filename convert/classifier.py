"""A new classifier for weights that are to be fine-tuned on other classes."""

from collections.abc import Mapping

import numpy as np

from common import arch


def fresh(net: arch.Network, seed: int = 0) -> dict[str, np.ndarray]:
    """Initial values of a network's classifier, the same for a seed; see `arch.initial_arrays`."""
    return {
        parameter.name: arch.initial_array(parameter, net.head.conv, seed)
        for parameter in arch.parameters(net)
        if parameter.unit[0] == net.head.name
    }


def replace(
    net: arch.Network, arrays: Mapping[str, np.ndarray], num_classes: int, seed: int = 0
) -> tuple[arch.Network, dict[str, np.ndarray]]:
    """The network with another number of classes, and its arrays with a fresh classifier.

    Raises:
        ValueError: There would be no class.
    """
    if num_classes < 1:
        raise ValueError(f"a network needs at least 1 class. Received: {num_classes}.")
    changed = arch.with_classes(net, num_classes)
    return changed, {**arrays, **fresh(changed, seed)}
