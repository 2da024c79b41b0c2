"""I3D and C2D ResNets with and without non-local blocks, as in "Non-local Neural Networks".

Wang, Girshick, Gupta and He, CVPR 2018, https://arxiv.org/abs/1711.07971. Names and sizes are
those of the release (facebookresearch/video-nonlocal-net). The weights fit every timing, which is
therefore part of the architecture's name:

    i3d_resnet50_8x8            8 frames, every 8th; full temporal resolution up to pool2
    i3d_resnet50_32x2           32 frames, every 2nd; conv1 and pool1 have a temporal stride of 2
    i3d_resnet50_nl_8x8         with five non-local blocks
    i3d_resnet50_8x8_affine     batch norm folded into its scale and offset
    i3d_resnet50_8x8_padded     pool1 pads one cell, as in PySlowFast, PyTorchVideo and mmaction2
    c2d_resnet50_8x8            without temporal kernels

The non-local blocks of affine networks have no norm, and those after res3 attend to 4 time steps at
a time.
"""

from collections.abc import Callable
from functools import partial

from common.arch.nodes import (
    NO_PADDING,
    ONE,
    Affine,
    Conv,
    Head,
    Network,
    Node,
    NonLocal,
    Norm,
    Pool,
    Residual,
    Triple,
)

# Blocks of res2 to res5, and those of res3 and res4 that a non-local block follows.
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
NON_LOCAL = {50: {3: (1, 3), 4: (1, 3, 5)}, 101: {3: (1, 3), 4: (6, 13, 20)}}

# Caffe2 keeps 0.9 of the running statistics. The last norm of a residual branch starts at 0.
NORM = Norm(eps=1e-5, momentum=0.1, scale=True)
LAST_NORM = Norm(eps=1e-5, momentum=0.1, scale=True, initial_scale=0.0)

# Time steps that attend to each other in the non-local blocks after res3 of affine nets.
GROUP = 4


def i3d_resnet(name: str, num_classes: int = 400, in_channels: int = 3) -> Network:
    """Describes the member of the family that has the name: 2048 features."""
    depth = 101 if "101" in name else 50
    temporal, affine = name.startswith("i3d"), name.endswith("affine")
    norm, last = (Affine(), Affine()) if affine else (NORM, LAST_NORM)
    nodes: list[Node] = _stem("32x2" in name, temporal, name.endswith("padded"), norm)
    channels = 64
    for stage, blocks in enumerate(BLOCKS[depth], 2):
        for index in range(blocks):
            # All blocks of res2, even ones of res3 and res4, odd ones of res5.
            extended = temporal and (stage == 2 or index % 2 == (stage == 5))
            nodes.append(_block(stage, index, channels, 3 if extended else 1, norm, last))
            channels = 256 * 2 ** (stage - 2)
            if "_nl_" in name and index in NON_LOCAL[depth].get(stage, ()):
                nodes.append(_non_local_block(stage, index, channels, affine))
        if stage == 2:
            nodes.append(Pool("pool2", "max", (2, 1, 1), (2, 1, 1), NO_PADDING))
    classifier = Conv("pred", num_classes, ONE, padding=NO_PADDING, bias=True, relu=False)
    nodes.append(Head(pool=None, dropout=0.5, conv=classifier))
    return Network(name, in_channels, tuple(nodes))


def _stem(halve: bool, temporal: bool, padded: bool, norm: Norm | Affine) -> list[Node]:
    kt, stride = 5 if temporal else 1, (2 if halve else 1, 2, 2)
    # The original's temporal window equals its stride; padded variants have a window of 1.
    kernel: Triple = (2 if halve and not padded else 1, 3, 3)
    return [
        Conv("conv1", 64, (kt, 7, 7), stride, (kt // 2, 3, 3), norm=norm),
        Pool("pool1", "max", kernel, stride, (0, 1, 1) if padded else NO_PADDING),
    ]


def _block(
    stage: int, index: int, in_channels: int, kt: int, norm: Norm | Affine, last: Norm | Affine
) -> Residual:
    """Returns a bottleneck; `kt` is the length of its temporal kernel."""
    stride = (1, 2, 2) if stage > 2 and index == 0 else ONE
    inner = 64 * 2 ** (stage - 2)
    out = 4 * inner
    body = (
        Conv("branch2a", inner, (kt, 1, 1), padding=(kt // 2, 0, 0), norm=norm),
        Conv("branch2b", inner, (1, 3, 3), stride, (0, 1, 1), norm=norm),
        Conv("branch2c", out, ONE, padding=NO_PADDING, norm=last, relu=False),
    )
    shortcut = Conv("branch1", out, ONE, stride, NO_PADDING, norm=norm, relu=False)
    return Residual(f"res{stage}_{index}", body, shortcut if in_channels != out else None)


def _non_local_block(stage: int, index: int, channels: int, affine: bool) -> NonLocal:
    def project(name: str, width: int, norm: Norm | None = None) -> Conv:
        return Conv(name, width, ONE, padding=NO_PADDING, bias=True, norm=norm, relu=False)

    theta, phi, g = (project(name, channels // 2) for name in ("theta", "phi", "g"))
    return NonLocal(
        f"nonlocal_conv{stage}_{index}",
        theta=theta,
        pool=Pool("pool", "max", (1, 2, 2), (1, 2, 2), NO_PADDING),
        phi=phi,
        g=g,
        out=project("out", channels, None if affine else LAST_NORM),
        group=GROUP if affine and stage == 3 else None,
    )


# Only the original has affine nets, and only with temporal kernels.
I3D_RESNETS: dict[str, Callable[..., Network]] = {
    name: partial(i3d_resnet, name)
    for depth in BLOCKS
    for timing in ("8x8", "32x2")
    for kind, forms in (("i3d", ("", "_padded", "_affine")), ("c2d", ("", "_padded")))
    for block in ("", "_nl")
    for form in forms
    for name in [f"{kind}_resnet{depth}{block}_{timing}{form}"]
}
"""All members of the family by name."""
