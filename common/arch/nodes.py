"""Nodes that describe a network, plain frozen data without a framework, and changes of them.

A backend has one layer class for each kind of node; parameter names, shapes and conversion are
derived from the same description.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

Triple = tuple[int, int, int]
"""Sizes along (T, H, W)."""

Padding = Literal["same"] | Triple
"""TensorFlow's "same", computed from the input size of each axis, or cells on both sides."""

ONE: Triple = (1, 1, 1)
NO_PADDING: Triple = (0, 0, 0)


@dataclass(frozen=True)
class Norm:
    """Batch normalisation over all axes but the channels.

    running = (1 - momentum) * running + momentum * batch, with the biased variance.
    """

    eps: float
    momentum: float
    scale: bool  # whether there is a trainable scale (gamma) besides the offset (beta)
    initial_scale: float = 1.0  # 0 makes a residual branch start as zero


@dataclass(frozen=True)
class Affine:
    """A trainable scale and offset for each channel: batch norm with its statistics folded in."""


@dataclass(frozen=True)
class Conv:
    """3-D convolution, then the norm and the ReLU if given."""

    name: str
    out_channels: int
    kernel: Triple
    stride: Triple = ONE
    padding: Padding = "same"
    bias: bool = False
    norm: Norm | Affine | None = None
    relu: bool = True


@dataclass(frozen=True)
class Pool:
    """Max or average pooling; padded cells never count."""

    name: str
    kind: Literal["max", "average"]
    kernel: Triple
    stride: Triple
    padding: Padding = "same"


@dataclass(frozen=True)
class Branches:
    """Named branches that read the same input; their outputs are concatenated on channels."""

    name: str
    branches: tuple[tuple[str, tuple[Conv | Pool, ...]], ...]


@dataclass(frozen=True)
class Residual:
    """relu(body(x) + shortcut(x)); without a shortcut x itself is added."""

    name: str
    body: tuple[Conv, ...]
    shortcut: Conv | None = None


@dataclass(frozen=True)
class NonLocal:
    """x + out(attention): every position attends to all others, or to those of its group.

    With n inner channels and a softmax over the attended positions,
    attention = softmax(theta(x) . phi(pool(x)) / sqrt(n)) . g(pool(x)). No ReLU follows.
    Wang et al., "Non-local Neural Networks", CVPR 2018, https://arxiv.org/abs/1711.07971.
    """

    name: str
    theta: Conv
    pool: Pool
    phi: Conv
    g: Conv
    out: Conv
    group: int | None = None  # time steps that attend only to each other; they divide the input's


@dataclass(frozen=True)
class Head:
    """Average pool, dropout, a 1x1x1 convolution to classes, mean over the remaining positions."""

    pool: Pool | None  # None averages over all positions
    dropout: float  # probability of dropping a feature in training
    conv: Conv
    # Names of its endpoints: the logits, the pooled features [T, H, W, C], and the softmax.
    name: str = "Logits"
    features: str = "Features"
    predictions: str = "Predictions"


Node = Conv | Pool | Branches | Residual | NonLocal | Head


def chains(node: Node) -> list[tuple[tuple[str, ...], tuple[Conv | Pool, ...]]]:
    """Returns the ops on each path through a node, and the names before theirs."""
    match node:
        case Conv() | Pool():
            return [((), (node,))]
        case Branches():
            return [((node.name, name), branch) for name, branch in node.branches]
        case Residual():
            shortcut = (node.shortcut,) if node.shortcut else ()
            return [((node.name,), node.body), ((node.name,), shortcut)]
        case NonLocal():
            paths = ((node.theta,), (node.pool, node.phi), (node.pool, node.g, node.out))
            return [((node.name,), path) for path in paths]
        case Head():
            return [((node.name,), (node.conv,))]


@dataclass(frozen=True)
class Network:
    """Nodes in the order they run, the head last; a node's name is its endpoint's."""

    name: str  # of the architecture, as in `common.arch.ARCHITECTURES`
    in_channels: int  # 3 for RGB, 2 for flow
    nodes: tuple[Node, ...]

    @property
    def head(self) -> Head:
        head = self.nodes[-1]
        assert isinstance(head, Head)
        return head

    @property
    def num_classes(self) -> int:
        return self.head.conv.out_channels

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Names of all endpoints, in the order of computation."""
        head = self.head
        names = [node.name for node in self.nodes[:-1]]
        return (*names, head.features, head.name, head.predictions)


def narrow(net: Network, divisor: int) -> Network:
    """Divides the channels of every layer but the input and the classes, for fast tests."""
    return map_convs(net, lambda c: replace(c, out_channels=max(c.out_channels // divisor, 1)))


def scaled(net: Network) -> Network:
    """Gives every batch norm a trainable scale."""
    return map_norms(net, lambda norm: replace(norm, scale=True))


def with_classes(net: Network, num_classes: int) -> Network:
    """Changes the number of classes."""
    conv = replace(net.head.conv, out_channels=num_classes)
    return replace(net, nodes=(*net.nodes[:-1], replace(net.head, conv=conv)))


def with_dropout(net: Network, dropout: float) -> Network:
    """Changes the probability of dropping a feature in training."""
    return replace(net, nodes=(*net.nodes[:-1], replace(net.head, dropout=dropout)))


def with_eps(net: Network, eps: float) -> Network:
    """Changes what every batch norm adds to its variance."""
    return map_norms(net, lambda norm: replace(norm, eps=eps))


def map_norms(net: Network, change: Callable[[Norm], Norm]) -> Network:
    """Applies `change` to every batch norm."""
    return map_convs(
        net, lambda c: replace(c, norm=change(c.norm)) if isinstance(c.norm, Norm) else c
    )


def map_convs(net: Network, change: Callable[[Conv], Conv]) -> Network:
    """Applies `change` to every convolution but the classifier."""

    def changed(node: Any) -> Any:
        match node:
            case Conv():
                return change(node)
            case Branches():
                paths = tuple((name, tuple(map(changed, path))) for name, path in node.branches)
                return replace(node, branches=paths)
            case Residual():
                body = tuple(map(change, node.body))
                return replace(node, body=body, shortcut=node.shortcut and change(node.shortcut))
            case NonLocal():
                theta, phi, g, out = map(change, (node.theta, node.phi, node.g, node.out))
                return replace(node, theta=theta, phi=phi, g=g, out=out)
            case _:
                return node

    return replace(net, nodes=tuple(map(changed, net.nodes)))
