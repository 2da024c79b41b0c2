"""Padding of every op and shape of every endpoint, for any input size."""

from collections.abc import Sequence
from functools import reduce
from math import prod

from common.arch.nodes import (
    Conv,
    Head,
    Network,
    Node,
    NonLocal,
    Padding,
    Pool,
    Residual,
    Triple,
    chains,
)

Shape = tuple[int, int, int, int]
"""[T, H, W, C]"""

NOT_FINITE = "expected clips of finite numbers. Received: NaN or infinity."
"""Why a network refuses clips: many ops turn NaN into 0."""

_FLOATS = ("float32", "bfloat16", "float16")


def pads(size: Triple, kernel: Triple, stride: Triple, padding: Padding) -> list[tuple[int, int]]:
    """Returns the padding (before, after) along T, H, W.

    "same" is TensorFlow's rule: ceil(size / stride) outputs, and the extra cell of an odd total
    goes to the end. https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
    """
    if padding != "same":
        return [(cells, cells) for cells in padding]
    totals = [max(k - (n % s or s), 0) for n, k, s in zip(size, kernel, stride, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def window(size: Triple, node: Conv | Pool) -> Triple:
    """Returns the output size (T, H, W) of a convolution or pool for an input of `size`."""
    around = pads(size, node.kernel, node.stride, node.padding)
    t, h, w = (
        (n + sum(cells) - k) // s + 1
        for n, cells, k, s in zip(size, around, node.kernel, node.stride, strict=True)
    )
    return t, h, w


def endpoint_shapes(net: Network, size: Triple) -> dict[str, Shape | tuple[int]]:
    """Returns the shapes of all endpoints for one clip of `size` (T, H, W).

    Returns:
        [T, H, W, C] of every endpoint by name; [num_classes] for the logits and predictions.

    Raises:
        ValueError: The clip is too small, or its time steps cannot be divided into the groups of a
            non-local block.
    """
    smallest = smallest_size(net)
    if any(n < least for n, least in zip(size, smallest, strict=True)):
        raise ValueError(
            f"{net.name}: the clip is too small. Expected at least {_times(smallest)} (frames x"
            f" height x width). Received: {_times(size)}."
            " Loop or pad the clip in time, resize it in space."
        )
    shape: Shape = (*size, net.in_channels)
    shapes: dict[str, Shape | tuple[int]] = {}
    for node in net.nodes[:-1]:
        if isinstance(node, NonLocal) and node.group and shape[0] % node.group:
            raise ValueError(
                f"{net.name}: {node.name} divides its time steps into groups of {node.group}."
                f" Expected a multiple of that. Received: {shape[0]}, from a clip of {size[0]}"
                " frames."
            )
        shape = _output(node, shape)
        shapes[node.name] = shape
    head = net.head
    shapes[head.features] = _features(head, shape)
    shapes[head.name] = shapes[head.predictions] = (net.num_classes,)
    return shapes


def smallest_size(net: Network) -> Triple:
    """Returns the smallest clip (T, H, W) in which every window fits.

    With "same" padding, n outputs need at least (n - 1) * stride + 1 inputs.
    """
    needed = net.head.pool.kernel if net.head.pool else (1, 1, 1)
    for node in reversed(net.nodes[:-1]):
        match node:
            case Conv() | Pool():
                needed = _smallest_input(needed, node)
            case Residual():
                for conv in reversed(node.body):
                    needed = _smallest_input(needed, conv)
            case NonLocal():
                t, h, w = (max(n, k) for n, k in zip(needed, node.pool.kernel, strict=True))
                needed = (max(t, node.group or 1), h, w)
    return needed


def check_clips(net: Network, shape: Sequence[int | None], axes: str) -> None:
    """Checks that a network accepts a batch of clips.

    Args:
        net: The network.
        shape: The batch's shape; None for an unknown axis.
        axes: Its axes, "BTHWC" or "BCTHW".

    Raises:
        ValueError: The rank or the channels are wrong, the clips are too small, or there are none.
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
    if size["B"] == 0:
        raise ValueError(f"{net.name}: expected at least one clip. {received}")
    # An unknown axis is checked once its size is known; the smallest always fits.
    known = [size[axis] for axis in "THW"]
    least = smallest_size(net)
    t, h, w = (least[i] if n is None else n for i, n in enumerate(known))
    endpoint_shapes(net, (t, h, w))


def check_dtype(net: Network, received: str, expected: Sequence[str] = _FLOATS) -> None:
    """Refuses clips of another type, such as uint8, whose values are 0 to 255.

    Args:
        net: The network.
        received: The name of the clips' type.
        expected: The names of those that the network computes in.

    Raises:
        ValueError: The type is not among them.
    """
    if received not in expected:
        raise ValueError(
            f"{net.name}: clips have the wrong type. Expected {' or '.join(expected)} in the value "
            f"range of the weights' input contract, usually [-1, 1]. Received: {received}."
        )


def check_endpoint(net: Network, name: str | None) -> None:
    """Raises ValueError unless a network has the endpoint; None stands for the last one."""
    if name is not None and name not in net.endpoints:
        raise ValueError(
            f"{net.name}: no such endpoint. Expected one of {', '.join(net.endpoints)}."
            f" Received: {name!r}."
        )


def multiply_adds(net: Network, size: Triple) -> int:
    """Returns the multiply-adds of convolutions and attention for a clip of `size` (T, H, W)."""
    shape: Shape = (*size, net.in_channels)
    total = 0
    for node in net.nodes[:-1]:
        total += _multiply_adds(node, shape)
        shape = _output(node, shape)
    return total + _multiply_adds(net.head.conv, _features(net.head, shape))


def _multiply_adds(node: Node, shape: Shape) -> int:
    """Returns the multiply-adds of a node that reads `shape`."""
    match node:
        case Conv():
            return prod(_output(node, shape)) * prod(node.kernel) * shape[3]
        case Pool():
            return 0
        case NonLocal():
            pooled, inner = _output(node.pool, shape), node.theta.out_channels
            groups = shape[0] // node.group if node.group else 1
            # Every position with every pooled one, for the weights and for the sum.
            attention = 2 * inner * prod(shape[:3]) * prod(pooled[:3]) // groups
            projections = [(node.theta, shape), (node.phi, pooled), (node.g, pooled)]
            projections.append((node.out, (*shape[:3], inner)))
            return attention + sum(_multiply_adds(conv, before) for conv, before in projections)
        case _:
            total = 0
            for _, chain in chains(node):
                before = shape
                for part in chain:
                    total += _multiply_adds(part, before)
                    before = _output(part, before)
            return total


def _output(node: Node, shape: Shape) -> Shape:
    match node:
        case Conv():
            return (*window(shape[:3], node), node.out_channels)
        case Pool():
            return (*window(shape[:3], node), shape[3])
        case NonLocal():
            return shape
    outputs = [reduce(lambda x, part: _output(part, x), chain, shape) for _, chain in chains(node)]
    sizes, channels = {output[:3] for output in outputs}, [output[3] for output in outputs]
    if len(sizes) != 1:
        raise ValueError(f"{node.name}: its branches must agree in [T, H, W]. Received: {sizes}")
    if isinstance(node, Residual) and channels[0] != channels[1]:
        raise ValueError(f"{node.name}: cannot add {channels[0]} to {channels[1]} channels")
    return (*sizes.pop(), channels[0] if isinstance(node, Residual) else sum(channels))


def _features(head: Head, shape: Shape) -> Shape:
    size = window(shape[:3], head.pool) if head.pool else (1, 1, 1)
    return (*size, shape[3])


def _smallest_input(needed: Triple, node: Conv | Pool) -> Triple:
    t, h, w = (
        max((n - 1) * s + (1 if node.padding == "same" else k - 2 * node.padding[axis]), 1)
        for axis, (n, k, s) in enumerate(zip(needed, node.kernel, node.stride, strict=True))
    )
    return t, h, w


def _times(size: Triple) -> str:
    return "x".join(str(n) for n in size)
