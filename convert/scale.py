"""Takes the scale of batch norm into the kernels, for dialects that have none."""

from collections.abc import Mapping

import numpy as np

from common import arch


def fold_scale(
    net: arch.Network, arrays: Mapping[str, np.ndarray]
) -> tuple[arch.Network, dict[str, np.ndarray]]:
    """The same function without scales: gamma * (W x - mean) = (gamma W) x - (gamma mean).

    Exact but for one rounding of each kernel value and mean, whatever gamma's sign, and the
    variance stays as it is.

    Args:
        net: A network whose batch norm has scales.
        arrays: Its canonical arrays.

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
    make = arch.ARCHITECTURES[net.name]
    plain = make(num_classes=net.num_classes, in_channels=net.in_channels)
    # In the order of the network, as everything that is read is.
    return plain, {p.name: folded[p.name] for p in arch.parameters(plain)}
