"""Names, shapes and initial values of parameters, the only source of names; folded batch norm."""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.arch.nodes import (
    Affine,
    Branches,
    Conv,
    Network,
    Node,
    NonLocal,
    Norm,
    chains,
    map_convs,
)
from common.io import CheckpointError, listing

Field = Literal[
    "conv.weight", "conv.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"
]

Arrays = Mapping[str, NDArray[Any]]
"""Parameters and running statistics by canonical name."""


@dataclass(frozen=True)
class Parameter:
    """A parameter or running statistic."""

    unit: tuple[str, ...]  # path, such as ("Mixed_3b", "Branch_0", "Conv3d_0a_1x1")
    field: Field
    shape: tuple[int, ...]  # canonical: [out, in, T, H, W] for kernels, [C] otherwise

    @property
    def name(self) -> str:
        """The canonical name, which is also the key in the torch backend's state dict."""
        return ".".join((*self.unit, self.field))

    @property
    def trainable(self) -> bool:
        """Whether an optimiser updates it; running statistics are averaged instead."""
        return not self.field.startswith("norm.running")

    @property
    def size(self) -> int:
        return prod(self.shape)


def parameters(net: Network) -> tuple[Parameter, ...]:
    """Returns all parameters and running statistics, in the order the nodes run."""
    found: list[Parameter] = []
    channels = net.in_channels
    for node in net.nodes:
        for unit, conv, read in _convolutions(node, channels):
            found += _of_conv(conv, unit, read)
        channels = _width(node, channels)
    return tuple(found)


def convolutions(net: Network) -> list[tuple[tuple[str, ...], Conv]]:
    """Returns all convolutions with the paths of their units, in the order the nodes run."""
    return [(unit, conv) for node in net.nodes for unit, conv, _ in _convolutions(node, 0)]


def count(net: Network, trainable_only: bool = True) -> int:
    """Returns the number of trainable values, or of all with the running statistics."""
    return sum(p.size for p in parameters(net) if p.trainable or not trainable_only)


def check_arrays(net: Network, arrays: Arrays) -> None:
    """Raises `CheckpointError` unless arrays are exactly the network's, in the canonical layout."""
    expected = {parameter.name: parameter.shape for parameter in parameters(net)}
    wrong = []
    if missing := expected.keys() - arrays.keys():
        wrong.append(f"missing: {listing(missing)}")
    if unknown := arrays.keys() - expected.keys():
        wrong.append(f"not in the network: {listing(unknown)}")
    shapes = [
        f"{name} expected {list(shape)}, received {list(arrays[name].shape)}"
        for name, shape in expected.items()
        if name in arrays and arrays[name].shape != shape
    ]
    if shapes:
        wrong.append(f"wrong shapes: {listing(shapes)}")
    if wrong:
        raise CheckpointError(f"{net.name}: the arrays do not fit the network; {'; '.join(wrong)}.")


def initial_arrays(net: Network, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Returns initial parameters and statistics by canonical name.

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
            values = rng.standard_normal(parameter.shape, dtype=np.float32)
            while (beyond := np.abs(values) > 2).any():
                values[beyond] = rng.standard_normal(int(beyond.sum()), dtype=np.float32)
            return values / np.float32(np.sqrt(prod(parameter.shape[1:])))
        case "norm.weight":
            scale = conv.norm.initial_scale if isinstance(conv.norm, Norm) else 1.0
        case field:
            scale = float(field == "norm.running_var")
    return np.full(parameter.shape, scale, np.float32)


def _convolutions(node: Node, channels: int) -> Iterator[tuple[tuple[str, ...], Conv, int]]:
    """Yields path, convolution and input channels, for a node that reads `channels`."""
    for before, chain in chains(node):
        read = channels
        for part in chain:
            if isinstance(part, Conv):
                yield (*before, part.name), part, read
                read = part.out_channels


def _width(node: Node, channels: int) -> int:
    """Returns the output channels of a node that reads `channels`."""
    if isinstance(node, NonLocal):
        return channels
    ends = []
    for _, chain in chains(node):
        convs = [part for part in chain if isinstance(part, Conv)]
        ends.append(convs[-1].out_channels if convs else channels)
    return sum(ends) if isinstance(node, Branches) else ends[0]


def _of_conv(conv: Conv, unit: tuple[str, ...], channels: int) -> Iterator[Parameter]:
    yield Parameter(unit, "conv.weight", (conv.out_channels, channels, *conv.kernel))
    vector = (conv.out_channels,)
    if conv.bias:
        yield Parameter(unit, "conv.bias", vector)
    if conv.norm:
        if not isinstance(conv.norm, Norm) or conv.norm.scale:
            yield Parameter(unit, "norm.weight", vector)
        yield Parameter(unit, "norm.bias", vector)
    if isinstance(conv.norm, Norm):
        yield Parameter(unit, "norm.running_mean", vector)
        yield Parameter(unit, "norm.running_var", vector)


def folded(net: Network, arrays: Arrays) -> tuple[Network, Arrays]:
    """Folds batch norm into the convolutions: the same function in inference.

    With scale s, offset b, mean m and variance v, norm(w * x) is (w k) * x + (b - m k), where k is
    s / sqrt(v + eps). It is computed in float64, so that only the last rounding differs.

    Returns the network with biases instead of batch norm, and its weights.

    Raises:
        CheckpointError: The arrays are not the network's.
        ValueError: A weight is not finite, or a variance is below -eps.
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
            factor, offset = norm_factor(conv.norm, arrays, name)
            kernel = np.asarray(arrays[f"{name}.conv.weight"])
            bias = np.asarray(arrays[f"{name}.conv.bias"], np.float64) if conv.bias else 0.0
            rounded = np.empty(kernel.shape, np.float32)
            np.multiply(kernel, factor.reshape(-1, 1, 1, 1, 1), out=rounded, casting="same_kind")
            found[f"{name}.conv.weight"] = rounded
            found[f"{name}.conv.bias"] = (bias * factor + offset).astype(np.float32)
    return without, {each.name: found[each.name] for each in parameters(without)}


def norm_factor(
    norm: Norm | Affine, arrays: Arrays, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the factor and the offset of each channel."""

    def of(field: str) -> NDArray[np.float64]:
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
