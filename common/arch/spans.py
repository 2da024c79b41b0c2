"""Which frames of a clip each row of an endpoint sees.

A row is a time step. What it sees is an interval of the step before, whose ends are followed back
through the nodes to the clip: output t of a window reads the inputs from t * stride - pad to
t * stride - pad + kernel - 1 (Dumoulin and Visin, "A guide to convolution arithmetic for deep
learning", https://arxiv.org/abs/1603.07285). The pad of "same" depends on the size of its input,
so that the rows of clips of 64 and 65 frames stand in different places.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from common.arch.nodes import Branches, Conv, Network, Node, NonLocal, Pool, Residual, Triple
from common.arch.shapes import Shape, check_endpoint, endpoint_shapes, pads, smallest_size, window
from common.io import listing

Ends = tuple[NDArray[np.int64], NDArray[np.int64]]
"""First and last time step, both included, of each of some intervals."""


@dataclass(frozen=True, eq=False)
class Spans:
    """What the R rows of an endpoint see of a clip.

    Attributes:
        first: The first frame that each row sees [R]; below 0 where it sees padding.
        last: The last one, included [R]; from `frames` on where it sees padding.
        step: Frames from one row to the next.
        period: A part of the clip gives the clip's own rows, but for those that see beyond the
            part, where it starts at a multiple of this and its length differs from the clip's by
            one: only then does every op pad, stride and group as it does in the clip.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    step: int
    period: int


def time_spans(net: Network, endpoint: str, frames: int) -> Spans:
    """What the rows of an endpoint see of a clip of `frames` frames.

    Raises:
        ValueError: There is no such endpoint, each of its rows sees all of the clip, however long
            (as logits do, or what follows a non-local block that is not in groups), or the clip
            is too short or cannot be divided into the groups of a non-local block.
    """
    check_endpoint(net, endpoint)
    nodes = _local_nodes(net)
    names = [node.name for node in nodes]
    if endpoint not in names:
        raise ValueError(
            f"{net.name}: each row of {endpoint} sees all of a clip. Expected an endpoint whose"
            f" rows see a part of it, one of {listing(names, len(names))}. Received: {endpoint!r}."
        )
    _, height, width = smallest_size(net)
    outputs = list(endpoint_shapes(net, (frames, height, width)).values())
    inputs: list[Shape] = [(frames, height, width, net.in_channels)]
    inputs += [shape for shape in outputs if len(shape) == 4]

    count = names.index(endpoint) + 1
    last = first = np.arange(inputs[count][0], dtype=np.int64)
    for node, shape in reversed(list(zip(nodes[:count], inputs, strict=False))):
        first, last = _seen(node, shape[:3], (first, last))
    return Spans(first, last, math.prod(map(_stride, nodes[:count])), _period(net, nodes[:count]))


def _local_nodes(net: Network) -> list[Node]:
    """The nodes whose rows see a part of a clip; the head's pool goes by its endpoint's name."""
    nodes = list(net.nodes[:-1])
    if net.head.pool:
        nodes.append(replace(net.head.pool, name=net.head.features))
    return list(takewhile(lambda node: not isinstance(node, NonLocal) or node.group, nodes))


def _period(net: Network, nodes: Sequence[Node]) -> int:
    """See `Spans`; it suits the groups of later nodes too, or the clip is refused."""
    period, step = math.prod(map(_stride, nodes)), 1
    for node in net.nodes[:-1]:
        step *= _stride(node)
        if isinstance(node, NonLocal) and node.group:
            period = math.lcm(period, step * node.group)
    return period


def _stride(node: Node) -> int:
    """Time steps of a node's input from one of its rows to the next."""
    strides = {math.prod(part.stride[0] for part in chain) for chain in _chains(node)}
    if len(strides) != 1:
        raise ValueError(
            f"{node.name}: its branches must agree in their stride in time. Received: {strides}"
        )
    return strides.pop()


def _chains(node: Node) -> list[Sequence[Conv | Pool]]:
    """The ops between a node's input and its output, along each way; none where it is added."""
    match node:
        case Conv() | Pool():
            return [(node,)]
        case Branches():
            return [branch for _, branch in node.branches]
        case Residual():
            return [node.body, (node.shortcut,) if node.shortcut else ()]
        case _:
            return [()]


def _seen(node: Node, size: Triple, ends: Ends) -> Ends:
    """What intervals of a node's output see of its input of `size`."""
    if isinstance(node, NonLocal) and node.group:
        first, last = (at // node.group * node.group for at in ends)
        return first, last + node.group - 1
    firsts, lasts = zip(*(_seen_by(chain, size, ends) for chain in _chains(node)), strict=True)
    return np.minimum.reduce(firsts), np.maximum.reduce(lasts)


def _seen_by(chain: Sequence[Conv | Pool], size: Triple, ends: Ends) -> Ends:
    """What intervals of the output of ops in a row see of the input of `size`."""
    before = []
    for part in chain:
        before.append(pads(size, part.kernel, part.stride, part.padding)[0][0])
        size = window(size, part)
    first, last = ends
    for part, cells in zip(reversed(chain), reversed(before), strict=True):
        first = first * part.stride[0] - cells
        last = last * part.stride[0] - cells + part.kernel[0] - 1
    return first, last
