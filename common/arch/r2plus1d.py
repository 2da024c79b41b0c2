"""R(2+1)D: ResNets whose 3-D convolutions are split into space and time.

Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018,
https://arxiv.org/abs/1711.11248. Two rules are in use for the width between the two halves:

    r2plus1d_18_vmz   facebookresearch/VMZ, the authors': from the channels of each convolution
    r2plus1d_18       torchvision: from the channels of the block, for all its convolutions

They differ in the second convolution of every block that changes the width.
"""

from collections.abc import Callable
from functools import partial

from common.arch.nodes import NO_PADDING, ONE, Conv, Head, Network, Node, Norm, Residual

# Blocks of res2 to res5; bottlenecks from 50 layers on.
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 152: (3, 8, 36, 3)}
BOTTLENECKS = (50, 152)

# The rule would give 83; both implementations have 45.
STEM_MIDDLE = 45


def r2plus1d(depth: int, vmz: bool, num_classes: int = 400, in_channels: int = 3) -> Network:
    """Describes a member of the family, with VMZ's widths and eps or torchvision's.

    `depth` is a key of `BLOCKS`. There are 512 features, 2048 with bottlenecks.
    """
    # Caffe2 keeps 0.9 of the running statistics, torch the same.
    norm = Norm(eps=1e-3 if vmz else 1e-5, momentum=0.1, scale=True)
    nodes: list[Node] = [
        Conv("conv1_spatial", STEM_MIDDLE, (1, 7, 7), (1, 2, 2), (0, 3, 3), norm=norm),
        Conv("conv1_temporal", 64, (3, 1, 1), ONE, (1, 0, 0), norm=norm),
    ]
    channels = 64
    for stage, blocks in enumerate(BLOCKS[depth], 2):
        inner = 64 * 2 ** (stage - 2)
        for index in range(blocks):
            stride = 2 if stage > 2 and index == 0 else 1
            of_block = _middle(channels, inner)
            of_second = _middle(inner, inner) if vmz else of_block
            if depth in BOTTLENECKS:
                out = 4 * inner
                middle = _halves("conv2", of_second, inner, norm, stride)
                body = (_unit("conv1", inner, norm), *middle, _unit("conv3", out, norm, relu=False))
            else:
                out = inner
                first = _halves("conv1", of_block, out, norm, stride)
                body = (*first, *_halves("conv2", of_second, out, norm, relu=False))
            shortcut = _unit("shortcut", out, norm, stride, relu=False) if channels != out else None
            nodes.append(Residual(f"res{stage}_{index}", body, shortcut))
            channels = out
    classifier = Conv("fc", num_classes, ONE, padding=NO_PADDING, bias=True, relu=False)
    nodes.append(Head(pool=None, dropout=0.0, conv=classifier))
    return Network(_name(depth, vmz), in_channels, tuple(nodes))


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


def _name(depth: int, vmz: bool) -> str:
    return f"r2plus1d_{depth}_vmz" if vmz else f"r2plus1d_{depth}"


R2PLUS1DS: dict[str, Callable[..., Network]] = {
    _name(depth, vmz): partial(r2plus1d, depth, vmz) for depth in BLOCKS for vmz in (False, True)
}
"""All members of the family by name."""
