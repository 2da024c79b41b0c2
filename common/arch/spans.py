"""The frames of a clip that each row of an endpoint depends on: its temporal receptive field.

A row is a time step. The ends of what it depends on are followed back through the nodes: output t
of a window reads the inputs from t * stride - pad to t * stride - pad + kernel - 1. The padding of
"same" depends on the size of the input, so rows of clips of 64 and 65 frames lie differently.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from common.arch.nodes import Conv, Network, Node, NonLocal, Pool, Triple, chains
from common.arch.shapes import check_endpoint, endpoint_shapes, pads, smallest_size, window
from common.io import listing

Ends = tuple[NDArray[np.int64], NDArray[np.int64]]
"""First and last time steps, both inclusive, of intervals."""


@dataclass(frozen=True, eq=False)
class Spans:
    """The frames that the R rows of an endpoint depend on.

    If a part of the clip starts at a multiple of `period`, and its length differs from the clip's
    by one, every op pads, strides and groups as in the whole clip: its rows are the clip's, except
    for those that depend on frames outside the part.
    """

    first: NDArray[np.int64]  # first frame of each row [R]; below 0 in the padding
    last: NDArray[np.int64]  # last, inclusive [R]; `frames` or more in the padding
    step: int  # frames from one row to the next
    period: int


def time_spans(net: Network, endpoint: str, frames: int) -> Spans:
    """Returns the receptive fields of an endpoint's rows in a clip of `frames` frames.

    Raises:
        ValueError: The endpoint is unknown; its rows depend on the whole clip, as the logits do and
            everything after a non-local block without groups; or the clip does not fit the network.
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
    sizes: list[Triple] = [(frames, height, width)]
    for shape in endpoint_shapes(net, sizes[0]).values():
        if len(shape) == 4:
            sizes.append(shape[:3])
    nodes = nodes[: names.index(endpoint) + 1]
    last = first = np.arange(sizes[len(nodes)][0], dtype=np.int64)
    for node, size in reversed(list(zip(nodes, sizes, strict=False))):
        first, last = _seen(node, size, (first, last))
    step = math.prod(map(_stride, nodes))
    return Spans(first, last, step, math.lcm(step, *_groups(net)))


def _local_nodes(net: Network) -> list[Node]:
    """Returns the nodes whose rows depend on a part of the clip, the head's pool as "Features"."""
    nodes = list(net.nodes[:-1])
    if net.head.pool:
        nodes.append(replace(net.head.pool, name=net.head.features))
    return list(takewhile(lambda node: not isinstance(node, NonLocal) or node.group, nodes))


def _groups(net: Network) -> Iterator[int]:
    """Yields the frames of each group of time steps that attend only to each other."""
    step = 1
    for node in net.nodes[:-1]:
        step *= _stride(node)
        if isinstance(node, NonLocal) and node.group:
            yield step * node.group


def _stride(node: Node) -> int:
    """Returns the temporal stride of a node, the same on all its paths."""
    _, chain = chains(node)[0]
    return math.prod(part.stride[0] for part in chain)


def _seen(node: Node, size: Triple, ends: Ends) -> Ends:
    """Returns the intervals of a node's input, of `size`, for intervals of its output."""
    if isinstance(node, NonLocal) and node.group:
        first, last = (at // node.group * node.group for at in ends)
        return first, last + node.group - 1
    firsts, lasts = zip(*(_seen_by(chain, size, ends) for _, chain in chains(node)), strict=True)
    return np.minimum.reduce(firsts), np.maximum.reduce(lasts)


def _seen_by(chain: Sequence[Conv | Pool], size: Triple, ends: Ends) -> Ends:
    """Returns the same for a chain of ops."""
    before = []
    for part in chain:
        before.append(pads(size, part.kernel, part.stride, part.padding)[0][0])
        size = window(size, part)
    first, last = ends
    for part, cells in zip(reversed(chain), reversed(before), strict=True):
        first = first * part.stride[0] - cells
        last = last * part.stride[0] - cells + part.kernel[0] - 1
    return first, last
