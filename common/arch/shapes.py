"""Padding of every op and shape of every endpoint, for any input size."""

from collections.abc import Sequence
from functools import reduce
from math import prod

from common.arch.nodes import Branches, Conv, Network, Node, NonLocal, Padding, Pool, Triple, chains

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
            f"{net.name}: the clip is too small. Expected at least {'x'.join(map(str, smallest))} "
            f"(frames x height x width). Received: {'x'.join(map(str, size))}. Loop or pad the "
            "clip in time, resize it in space."
        )
    shape: Shape = (*size, net.in_channels)
    shapes: dict[str, Shape | tuple[int]] = {}
    for node in net.nodes[:-1]:
        if isinstance(node, NonLocal) and node.group and shape[0] % node.group:
            raise ValueError(
                f"{net.name}: {node.name} attends in groups of {node.group} time steps; expected "
                f"a multiple of that. Received: {shape[0]}, from a clip of {size[0]} frames."
            )
        shape = _output(node, shape)
        shapes[node.name] = shape
    head = net.head
    shapes[head.features] = _features(net, shape)
    shapes[head.name] = shapes[head.predictions] = (net.num_classes,)
    return shapes


def smallest_size(net: Network) -> Triple:
    """Returns the smallest clip (T, H, W) in which every window fits.

    With "same" padding, n outputs need at least (n - 1) * stride + 1 inputs.
    """
    needed = net.head.pool.kernel if net.head.pool else (1, 1, 1)
    for node in reversed(net.nodes[:-1]):
        if isinstance(node, NonLocal):
            t, h, w = (max(n, k) for n, k in zip(needed, node.pool.kernel, strict=True))
            needed = (max(t, node.group or 1), h, w)
        else:
            _, chain = chains(node)[0]
            needed = reduce(_smallest_input, reversed(chain), needed)
    return needed


def check_clips(net: Network, shape: Sequence[int | None], axes: str) -> None:
    """Raises `ValueError` unless a network accepts clips of a shape, in which None is unknown.

    `axes` are the shape's, "BTHWC" or "BCTHW".
    """
    received = f"Received: [{', '.join(map(str, shape))}]."
    size = dict(zip(axes, shape, strict=False))
    wrong = "rank" if len(shape) != len(axes) else "number of channels"
    if wrong == "rank" or size["C"] != net.in_channels:
        raise ValueError(
            f"{net.name}: clips have the wrong {wrong}. Expected [{', '.join(axes)}] with "
            f"{net.in_channels} channels. {received}"
        )
    if size["B"] == 0:
        raise ValueError(f"{net.name}: expected at least one clip. {received}")
    # An unknown axis is checked once its size is known; the smallest always fits.
    known = [size[axis] for axis in "THW"]
    least = smallest_size(net)
    t, h, w = (least[i] if n is None else n for i, n in enumerate(known))
    endpoint_shapes(net, (t, h, w))


def check_dtype(net: Network, received: str) -> None:
    """Raises `ValueError` for clips of another type, such as uint8, whose values are 0 to 255."""
    if received not in _FLOATS:
        raise ValueError(
            f"{net.name}: clips have the wrong type. Expected {' or '.join(_FLOATS)} in the value "
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
    return total + _multiply_adds(net.head.conv, _features(net, shape))


def _multiply_adds(node: Node, shape: Shape) -> int:
    """Returns the multiply-adds of a node that reads `shape`."""
    if isinstance(node, Conv):
        return prod(_output(node, shape)) * prod(node.kernel) * shape[3]
    if isinstance(node, Pool):
        return 0
    total = 0
    for _, chain in chains(node):
        before = shape
        for part in chain:
            if isinstance(node, NonLocal) and part == node.out:
                before = (*shape[:3], node.theta.out_channels)
            total, before = total + _multiply_adds(part, before), _output(part, before)
    if isinstance(node, NonLocal):
        # Every position with every pooled one, for the weights and for the sum.
        pooled, groups = _output(node.pool, shape), shape[0] // (node.group or shape[0])
        total += 2 * node.theta.out_channels * prod(shape[:3]) * prod(pooled[:3]) // groups
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
    channels = [output[3] for output in outputs]
    return (*outputs[0][:3], sum(channels) if isinstance(node, Branches) else channels[0])


def _features(net: Network, shape: Shape) -> Shape:
    size = window(shape[:3], net.head.pool) if net.head.pool else (1, 1, 1)
    return (*size, shape[3])


def _smallest_input(needed: Triple, node: Conv | Pool) -> Triple:
    t, h, w = (
        max((n - 1) * s + (1 if node.padding == "same" else k - 2 * node.padding[axis]), 1)
        for axis, (n, k, s) in enumerate(zip(needed, node.kernel, node.stride, strict=True))
    )
    return t, h, w
