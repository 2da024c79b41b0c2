"""Sizes: the padding of every op and the output of every endpoint, for any input size."""

from collections.abc import Sequence
from math import prod

from common.arch.nodes import Branches, Conv, Head, Network, Node, Padding, Pool, Triple

Shape = tuple[int, int, int, int]
"""[T, H, W, C]"""


def pads(size: Triple, kernel: Triple, stride: Triple, padding: Padding) -> list[tuple[int, int]]:
    """Cells to add (before, after) along T, H, W.

    "same" is TensorFlow's rule: ceil(size / stride) outputs, and where the total is odd the
    extra cell goes to the end. https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
    """
    if padding != "same":
        return [(cells, cells) for cells in padding]
    totals = [max(k - (n % s or s), 0) for n, k, s in zip(size, kernel, stride, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def window(size: Triple, node: Conv | Pool) -> Triple:
    """Output size (T, H, W) of a convolution or pool over an input of `size`."""
    around = pads(size, node.kernel, node.stride, node.padding)
    t, h, w = (
        (n + sum(cells) - k) // s + 1
        for n, cells, k, s in zip(size, around, node.kernel, node.stride, strict=True)
    )
    return t, h, w


def endpoint_shapes(net: Network, size: Triple) -> dict[str, Shape | tuple[int]]:
    """Shapes of all endpoints for one clip of `size` (T, H, W).

    Returns:
        [T, H, W, C] of every endpoint by name; [num_classes] for the logits and predictions.

    Raises:
        ValueError: The clip is smaller than the network's smallest.
    """
    shape: Shape = (*size, net.in_channels)
    shapes: dict[str, Shape | tuple[int]] = {}
    for node in net.nodes[:-1]:
        shape = _output(node, shape)
        shapes[node.name] = shape
    head = net.head
    features = window(shape[:3], head.pool)
    if min(features) < 1:
        smallest = smallest_size(net)
        raise ValueError(
            f"{net.name}: the clip is too small for {head.name}/{head.pool.name}. Expected at"
            f" least {_times(smallest)} (frames x height x width). Received: {_times(size)}."
            " Loop or pad the clip in time, resize it in space."
        )
    shapes[head.features] = (*features, shape[3])
    shapes[head.name] = shapes[head.predictions] = (net.num_classes,)
    return shapes


def smallest_size(net: Network) -> Triple:
    """The smallest clip (T, H, W) that the head's pool still has room for.

    Goes back through the nodes: an output of n cells needs, under "same", an input of at least
    (n - 1) * stride + 1 cells.
    """
    needed = net.head.pool.kernel
    for node in reversed(net.nodes[:-1]):
        if isinstance(node, Conv | Pool):
            needed = _smallest_input(needed, node)
    return needed


def check_clips(net: Network, shape: Sequence[int | None], axes: str) -> None:
    """Refuses a batch of clips that the network cannot take.

    Args:
        net: The network.
        shape: The batch's shape; None where an axis is not known yet.
        axes: Its axes, "BTHWC" or "BCTHW".

    Raises:
        ValueError: The rank or the channels are wrong, or the clips are too small.
    """
    received = f"Received: [{', '.join(str(n) for n in shape)}]."
    expected = f"Expected [{', '.join(axes)}] with {net.in_channels} channels."
    if len(shape) != len(axes):
        raise ValueError(f"{net.name}: clips have the wrong rank. {expected} {received}")
    size = dict(zip(axes, shape, strict=True))
    if size["C"] != net.in_channels:
        raise ValueError(
            f"{net.name}: clips have the wrong number of channels. {expected} {received}"
        )
    # An axis that is not known yet is checked when its size is.
    known = [size[axis] for axis in "THW"]
    least = smallest_size(net)
    t, h, w = (least[i] if n is None else n for i, n in enumerate(known))
    endpoint_shapes(net, (t, h, w))


def check_endpoint(net: Network, name: str | None) -> None:
    """Refuses a name that is no endpoint of the network; None stands for the last one."""
    if name is not None and name not in net.endpoints:
        raise ValueError(
            f"{net.name}: no such endpoint. Expected one of {', '.join(net.endpoints)}."
            f" Received: {name!r}."
        )


def multiply_adds(net: Network, size: Triple) -> int:
    """Multiply-adds of all convolutions for one clip of `size` (T, H, W)."""
    shape: Shape = (*size, net.in_channels)
    total = 0
    for node in net.nodes[:-1]:
        for conv, before in _convolutions(node, shape):
            total += _conv_multiply_adds(conv, before)
        shape = _output(node, shape)
    features = window(shape[:3], net.head.pool)
    return total + _conv_multiply_adds(net.head.conv, (*features, shape[3]))


def _conv_multiply_adds(conv: Conv, shape: Shape) -> int:
    outputs = prod(window(shape[:3], conv)) * conv.out_channels
    return outputs * prod(conv.kernel) * shape[3]


def _convolutions(node: Node, shape: Shape) -> list[tuple[Conv, Shape]]:
    """The convolutions of a node, each with the shape of what it reads."""
    if isinstance(node, Conv):
        return [(node, shape)]
    found: list[tuple[Conv, Shape]] = []
    if isinstance(node, Branches):
        for _, branch in node.branches:
            inner = shape
            for part in branch:
                found += _convolutions(part, inner)
                inner = _output(part, inner)
    return found


def _output(node: Node, shape: Shape) -> Shape:
    match node:
        case Conv():
            return (*window(shape[:3], node), node.out_channels)
        case Pool():
            return (*window(shape[:3], node), shape[3])
        case Branches():
            outputs = []
            for _, branch in node.branches:
                inner = shape
                for part in branch:
                    inner = _output(part, inner)
                outputs.append(inner)
            sizes = {output[:3] for output in outputs}
            if len(sizes) != 1:
                raise ValueError(
                    f"{node.name}: branches must agree in [T, H, W]. Received: {sizes}"
                )
            return (*outputs[0][:3], sum(output[3] for output in outputs))
        case Head():
            raise ValueError(f"{node.name}: a head can only be the last node")


def _smallest_input(needed: Triple, node: Conv | Pool) -> Triple:
    t, h, w = (
        (n - 1) * s + (1 if node.padding == "same" else k - 2 * node.padding[axis])
        for axis, (n, k, s) in enumerate(zip(needed, node.kernel, node.stride, strict=True))
    )
    return t, h, w


def _times(size: Triple) -> str:
    return "x".join(str(n) for n in size)
