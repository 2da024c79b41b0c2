"""Names and shapes of parameters and running statistics: the only source of names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from numpy.typing import NDArray

from common.arch.nodes import Branches, Conv, Network, Node, NonLocal, Norm, chains
from common.io import CheckpointError, listing

Field = Literal[
    "conv.weight", "conv.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"
]

Arrays = Mapping[str, NDArray[Any]]
"""Parameters and running statistics by canonical name."""


@dataclass(frozen=True)
class Parameter:
    """A parameter or running statistic.

    Attributes:
        unit: Path of its unit: ("Mixed_3b", "Branch_0", "Conv3d_0a_1x1").
        field: Its role in the unit.
        shape: In the canonical layout: [out, in, T, H, W] for kernels, [C] otherwise.
    """

    unit: tuple[str, ...]
    field: Field
    shape: tuple[int, ...]

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
        """Number of values."""
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
    """Checks that arrays are exactly the network's parameters and statistics.

    Args:
        net: The network.
        arrays: Arrays by canonical name, in the canonical layout.

    Raises:
        CheckpointError: Names are missing or unknown, or shapes differ; the text lists them.
    """
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
