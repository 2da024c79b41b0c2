"""R(2+1)D: ResNets whose 3-D convolutions are split into space and time.

Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018,
https://arxiv.org/abs/1711.11248. Two rules are in use for the width between the two halves:

    r2plus1d_18_vmz   facebookresearch/VMZ, the authors': from the channels of each convolution
    r2plus1d_18       torchvision: from the channels of the block, for all its convolutions

They differ in the second convolution of every block that changes the width.
"""

from collections.abc import Callable
from functools import partial

from common.arch.nodes import Conv, Head, Network, Node, Norm, Residual

ONE = (1, 1, 1)
NO_PADDING = (0, 0, 0)

# Blocks of res2 to res5; bottlenecks from 50 layers on.
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 152: (3, 8, 36, 3)}
BOTTLENECKS = (50, 152)

# Caffe2 keeps 0.9 of the running statistics, torch the same.
NORMS = {
    "torchvision": Norm(eps=1e-5, momentum=0.1, scale=True),
    "vmz": Norm(eps=1e-3, momentum=0.1, scale=True),
}

# The rule would give 83; both implementations have 45.
STEM_MIDDLE = 45


def r2plus1d(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    depth: int = 18,
    rule: str = "torchvision",
) -> Network:
    """Describes a member of the family: clips [T, H, W, C] to class scores.

    There are 512 features, 2048 with bottlenecks.

    Args:
        num_classes: Number of classes.
        in_channels: 3 for RGB, 2 for flow.
        depth: 18, 34, 50 or 152 layers.
        rule: "torchvision" or "vmz", for widths and eps; see above.

    Raises:
        ValueError: There is no such depth or rule.
    """
    if depth not in BLOCKS or rule not in NORMS:
        raise ValueError(
            f"no such network. Expected a depth of {', '.join(map(str, BLOCKS))} and a rule of"
            f" {', '.join(NORMS)}. Received: {depth} and {rule!r}."
        )
    norm = NORMS[rule]
    nodes: list[Node] = [
        Conv("conv1_spatial", STEM_MIDDLE, (1, 7, 7), (1, 2, 2), (0, 3, 3), norm=norm),
        Conv("conv1_temporal", 64, (3, 1, 1), ONE, (1, 0, 0), norm=norm),
    ]
    channels = 64
    for stage, blocks in zip((2, 3, 4, 5), BLOCKS[depth], strict=True):
        inner = 64 * 2 ** (stage - 2)
        for index in range(blocks):
            stride = 2 if stage > 2 and index == 0 else 1
            out = 4 * inner if depth in BOTTLENECKS else inner
            body = _body(channels, inner, stride, depth, rule)
            shortcut = _unit("shortcut", out, norm, stride, relu=False) if channels != out else None
            nodes.append(Residual(f"res{stage}_{index}", body, shortcut))
            channels = out
    nodes.append(
        Head(
            "Logits",
            features="Features",
            pool=None,
            dropout=0.0,
            conv=Conv("fc", num_classes, ONE, padding=NO_PADDING, bias=True, relu=False),
            predictions="Predictions",
        )
    )
    return Network(_name(depth, rule), in_channels, tuple(nodes))


def _body(channels: int, inner: int, stride: int, depth: int, rule: str) -> tuple[Conv, ...]:
    """Returns the convolutions of a block that reads `channels`."""
    norm, of_block = NORMS[rule], _middle(channels, inner)
    of_second = _middle(inner, inner) if rule == "vmz" else of_block
    if depth in BOTTLENECKS:
        middle = _halves("conv2", of_second, inner, norm, stride)
        last = _unit("conv3", 4 * inner, norm, relu=False)
        return (_unit("conv1", inner, norm), *middle, last)
    first = _halves("conv1", of_block, inner, norm, stride)
    return (*first, *_halves("conv2", of_second, inner, norm, relu=False))


def _unit(name: str, out_channels: int, norm: Norm, stride: int = 1, relu: bool = True) -> Conv:
    return Conv(name, out_channels, ONE, (stride,) * 3, NO_PADDING, norm=norm, relu=relu)


def _halves(
    name: str, middle: int, out: int, norm: Norm, stride: int = 1, relu: bool = True
) -> tuple[Conv, Conv]:
    """Returns the spatial and the temporal half of a 3x3x3 convolution."""
    in_time, in_space = (stride, 1, 1), (1, stride, stride)
    return (
        Conv(f"{name}_spatial", middle, (1, 3, 3), in_space, (0, 1, 1), norm=norm),
        Conv(f"{name}_temporal", out, (3, 1, 1), in_time, (1, 0, 0), norm=norm, relu=relu),
    )


def _middle(in_channels: int, out_channels: int) -> int:
    """Returns the width at which both halves have as many weights as a 3x3x3 convolution."""
    return 3 * in_channels * out_channels * 3 * 3 // (in_channels * 3 * 3 + 3 * out_channels)


def _name(depth: int, rule: str) -> str:
    return f"r2plus1d_{depth}" + ("_vmz" if rule == "vmz" else "")


R2PLUS1DS: dict[str, Callable[..., Network]] = {
    _name(depth, rule): partial(r2plus1d, depth=depth, rule=rule)
    for depth in (18, 34, 50, 152)
    for rule in ("torchvision", "vmz")
}
"""All members of the family by name."""
