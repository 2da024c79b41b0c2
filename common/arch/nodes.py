"""Nodes that describe a network: plain frozen data without framework or behaviour.

A `Network` is a tuple of named nodes in the order they run. Triples are (T, H, W). A backend
has one layer class for each kind of node; parameter names, shapes, conversion and documentation
are derived from the same description.
"""

from dataclasses import dataclass
from typing import Literal

Triple = tuple[int, int, int]
"""Sizes along (T, H, W)."""

Padding = Literal["same"] | Triple
"""TensorFlow's "same", computed from the input size of each axis, or cells on both sides."""


@dataclass(frozen=True)
class Norm:
    """Batch normalisation over all axes but the channels.

    Attributes:
        eps: Added to the variance.
        momentum: Share of the batch in an update of the running statistics, as in torch:
            running = (1 - momentum) * running + momentum * batch, with the biased variance.
        scale: Whether there is a trainable scale (gamma) besides the offset (beta).
        initial_scale: Initial value of the scale; 0 makes a residual branch start as zero.
    """

    eps: float
    momentum: float
    scale: bool
    initial_scale: float = 1.0


@dataclass(frozen=True)
class Affine:
    """A trainable scale and offset for each channel: batch norm with its statistics folded in."""


@dataclass(frozen=True)
class Conv:
    """3-D convolution, then the norm and the ReLU if given."""

    name: str
    out_channels: int
    kernel: Triple
    stride: Triple = (1, 1, 1)
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

    Attributes:
        name: Also the name of its endpoint.
        theta: Projects to the inner channels; so do phi and g.
        pool: Max pool before phi and g.
        phi: See theta.
        g: See theta.
        out: Projects back to the channels of x.
        group: Number of consecutive time steps that attend only to each other; None for all. An
            input's time steps must be a multiple of it.
    """

    name: str
    theta: Conv
    pool: Pool
    phi: Conv
    g: Conv
    out: Conv
    group: int | None = None


@dataclass(frozen=True)
class Head:
    """Average pool, dropout, a 1x1x1 convolution to classes, mean over the remaining positions.

    Attributes:
        name: Also the name of the endpoint that holds the logits.
        features: Name of the endpoint that holds the pooled features [T, H, W, C].
        pool: Average pool with a fixed window; None averages over all positions.
        dropout: Probability of dropping a feature in training.
        conv: The classifier; its out_channels is the number of classes.
        predictions: Name of the endpoint that holds the softmax of the logits.
    """

    name: str
    features: str
    pool: Pool | None
    dropout: float
    conv: Conv
    predictions: str


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
    """A network.

    Attributes:
        name: Name of the architecture, as in `common.arch.ARCHITECTURES`.
        in_channels: Channels of a clip: 3 for RGB, 2 for flow.
        nodes: Nodes in the order they run, the head last; a node's name is its endpoint's.
    """

    name: str
    in_channels: int
    nodes: tuple[Node, ...]

    @property
    def head(self) -> Head:
        """The last node."""
        head = self.nodes[-1]
        if not isinstance(head, Head):
            raise ValueError(f"network {self.name!r} must end with a Head. Received: {head!r}")
        return head

    @property
    def num_classes(self) -> int:
        """Number of classes of the head."""
        return self.head.conv.out_channels

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Names of all endpoints, in the order of computation."""
        head = self.head
        names = [node.name for node in self.nodes[:-1]]
        return (*names, head.features, head.name, head.predictions)
