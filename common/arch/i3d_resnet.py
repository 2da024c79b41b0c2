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
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

from common.arch.nodes import (
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

ONE = (1, 1, 1)
NO_PADDING = (0, 0, 0)

# Blocks of res2 to res5, and those of res3 and res4 that a non-local block follows.
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
NON_LOCAL = {50: {3: (1, 3), 4: (1, 3, 5)}, 101: {3: (1, 3), 4: (6, 13, 20)}}

# Caffe2 keeps 0.9 of the running statistics. The last norm of a residual branch starts at 0.
NORM = Norm(eps=1e-5, momentum=0.1, scale=True)
LAST_NORM = Norm(eps=1e-5, momentum=0.1, scale=True, initial_scale=0.0)

# Time steps that attend to each other in the non-local blocks after res3 of affine nets.
GROUP = 4


def i3d_resnet(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    depth: int = 50,
    timing: str = "8x8",
    temporal: bool = True,
    non_local: bool = False,
    affine: bool = False,
    padded: bool = False,
) -> Network:
    """Describes a member of the family: clips [T, H, W, C] to class scores, 2048 features.

    Args:
        num_classes: Number of classes.
        in_channels: 3 for RGB, 2 for flow.
        depth: 50 or 101 layers.
        timing: "8x8" or "32x2"; see above.
        temporal: With temporal kernels (I3D) or without (C2D).
        non_local: With the five non-local blocks.
        affine: With batch norm folded into scale and offset. The non-local blocks of these nets
            have none, and those after res3 attend to 4 time steps at a time.
        padded: Whether pool1 pads one cell in space.

    Raises:
        ValueError: There is no such member of the family.
    """
    name = _name(depth, timing, temporal, non_local, affine, padded)
    if name not in I3D_RESNETS:
        raise ValueError(
            f"no such network. Expected one of {', '.join(I3D_RESNETS)}. Received: {name}."
        )

    nodes: list[Node] = list(_stem(timing, temporal, padded, affine))
    channels = 64
    for stage, blocks in zip((2, 3, 4, 5), BLOCKS[depth], strict=True):
        for index in range(blocks):
            kt = 3 if temporal and _has_temporal_kernel(stage, index) else 1
            nodes.append(_block(stage, index, channels, kt, affine))
            channels = 256 * 2 ** (stage - 2)
            if non_local and index in NON_LOCAL[depth].get(stage, ()):
                nodes.append(_non_local_block(stage, index, channels, affine))
        if stage == 2:
            nodes.append(Pool("pool2", "max", (2, 1, 1), (2, 1, 1), NO_PADDING))
    nodes.append(
        Head(
            "Logits",
            features="Features",
            pool=None,
            dropout=0.5,
            conv=Conv("pred", num_classes, ONE, padding=NO_PADDING, bias=True, relu=False),
            predictions="Predictions",
        )
    )
    return Network(name, in_channels, tuple(nodes))


def _norm(affine: bool, last: bool = False) -> Norm | Affine:
    return Affine() if affine else LAST_NORM if last else NORM


def _block(stage: int, index: int, in_channels: int, kt: int, affine: bool) -> Residual:
    """Returns a bottleneck; `kt` is the length of its temporal kernel."""
    stride = (1, 2, 2) if stage > 2 and index == 0 else ONE
    inner = 64 * 2 ** (stage - 2)
    out, norm, last = 4 * inner, _norm(affine), _norm(affine, last=True)
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


def _stem(timing: str, temporal: bool, padded: bool, affine: bool) -> tuple[Conv, Pool]:
    halve = 2 if timing == "32x2" else 1
    kt = 5 if temporal else 1
    conv1 = Conv("conv1", 64, (kt, 7, 7), (halve, 2, 2), (kt // 2, 3, 3), norm=_norm(affine))
    # The original's temporal window equals its stride; padded variants have a window of 1.
    kernel: Triple = (1 if padded else halve, 3, 3)
    pad = (0, 1, 1) if padded else NO_PADDING
    return conv1, Pool("pool1", "max", kernel, (halve, 2, 2), pad)


def _has_temporal_kernel(stage: int, index: int) -> bool:
    """All blocks of res2, even ones of res3 and res4, odd ones of res5."""
    return stage == 2 or index % 2 == (stage == 5)


def _name(
    depth: int, timing: str, temporal: bool, non_local: bool, affine: bool, padded: bool
) -> str:
    parts = [
        f"{'i3d' if temporal else 'c2d'}_resnet{depth}",
        *(["nl"] if non_local else []),
        timing,
        *(["affine"] if affine else []),
        *(["padded"] if padded else []),
    ]
    return "_".join(parts)


def _all() -> dict[str, Callable[..., Network]]:
    names = ("depth", "timing", "temporal", "non_local", "affine", "padded")
    yes_no = (False, True)
    choices = ((50, 101), ("8x8", "32x2"), (True, False), yes_no, yes_no, yes_no)
    found: dict[str, Callable[..., Network]] = {}
    for values in itertools.product(*choices):
        options: dict[str, Any] = dict(zip(names, values, strict=True))
        # Only the original has affine nets, and only with temporal kernels.
        if not options["affine"] or (options["temporal"] and not options["padded"]):
            found[_name(**options)] = partial(i3d_resnet, **options)
    return found


I3D_RESNETS = _all()
"""All members of the family by name."""
