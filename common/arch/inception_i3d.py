"""InceptionI3D, the inflated Inception-v1 of "Quo Vadis, Action Recognition?".

Carreira and Zisserman, CVPR 2017, https://arxiv.org/abs/1705.07750. Names, widths, padding and
batch norm are those of DeepMind's release (google-deepmind/kinetics-i3d), with one exception: the
release calls the second unit of `Mixed_5b/Branch_2` `Conv3d_0a_3x3`. Here it is `Conv3d_0b_3x3`, as
in every other block; the dialects that follow the release handle this.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from common.arch.nodes import (
    NO_PADDING,
    ONE,
    Branches,
    Conv,
    Head,
    Network,
    Norm,
    Padding,
    Pool,
    Triple,
)


@dataclass(frozen=True)
class _Layers:
    """Makes the layers of a variant; `symmetric` padding is the same on both sides."""

    norm: Norm
    symmetric: bool

    def padding(self, kernel: Triple) -> Padding:
        t, h, w = kernel
        return ((t - 1) // 2, (h - 1) // 2, (w - 1) // 2) if self.symmetric else "same"

    def unit(self, name: str, out_channels: int, kernel: Triple, stride: Triple = ONE) -> Conv:
        return Conv(name, out_channels, kernel, stride, self.padding(kernel), norm=self.norm)

    def max_pool(self, name: str, kernel: Triple, stride: Triple) -> Pool:
        return Pool(name, "max", kernel, stride, self.padding(kernel))

    def mixed(
        self, name: str, b0: int, b1a: int, b1b: int, b2a: int, b2b: int, b3: int
    ) -> Branches:
        unit, size = self.unit, (3, 3, 3)
        branches = (
            (unit("Conv3d_0a_1x1", b0, ONE),),
            (unit("Conv3d_0a_1x1", b1a, ONE), unit("Conv3d_0b_3x3", b1b, size)),
            (unit("Conv3d_0a_1x1", b2a, ONE), unit("Conv3d_0b_3x3", b2b, size)),
            (self.max_pool("MaxPool3d_0a_3x3", size, ONE), unit("Conv3d_0b_1x1", b3, ONE)),
        )
        return Branches(name, tuple((f"Branch_{k}", each) for k, each in enumerate(branches)))


def inception_i3d(
    num_classes: int = 400,
    in_channels: int = 3,
    scale: bool = False,
    symmetric: bool = False,
    global_pool: bool = False,
) -> Network:
    """Describes InceptionI3D: clips [T, H, W, C] of at least 9 x 193 x 193 to class scores.

    Args:
        num_classes: 400 for Kinetics-400.
        in_channels: 3 for RGB in [-1, 1], 2 for TV-L1 flow (x, y) / 20 px in [-1, 1].
        scale: Whether batch norm has a trainable scale: not in the release, but in checkpoints
            that were fine-tuned in PyTorch.
        symmetric: GluonCV's variant `inception_i3d_symmetric`, with equal padding on both sides
            and a head that averages over all positions.
        global_pool: Our variant `inception_i3d_global`, whose head averages over all positions,
            for training at other sizes than 224.
    """
    # Sonnet 1's defaults, with which the release was trained: eps 1e-3, decay 0.999.
    layers = _Layers(Norm(eps=1e-3, momentum=1e-3, scale=scale), symmetric)
    unit, max_pool, mixed = layers.unit, layers.max_pool, layers.mixed
    window = Pool("AvgPool3d_0a_7x7", "average", (2, 7, 7), ONE, NO_PADDING)
    # fmt: off
    nodes = (
        unit("Conv3d_1a_7x7", 64, (7, 7, 7), (2, 2, 2)),
        max_pool("MaxPool3d_2a_3x3", (1, 3, 3), (1, 2, 2)),
        unit("Conv3d_2b_1x1", 64, (1, 1, 1)),
        unit("Conv3d_2c_3x3", 192, (3, 3, 3)),
        max_pool("MaxPool3d_3a_3x3", (1, 3, 3), (1, 2, 2)),
        #                  b0  b1a  b1b b2a  b2b   b3
        mixed("Mixed_3b",  64,  96, 128, 16,  32,  32),
        mixed("Mixed_3c", 128, 128, 192, 32,  96,  64),
        max_pool("MaxPool3d_4a_3x3", (3, 3, 3), (2, 2, 2)),
        mixed("Mixed_4b", 192,  96, 208, 16,  48,  64),
        mixed("Mixed_4c", 160, 112, 224, 24,  64,  64),
        mixed("Mixed_4d", 128, 128, 256, 24,  64,  64),
        mixed("Mixed_4e", 112, 144, 288, 32,  64,  64),
        mixed("Mixed_4f", 256, 160, 320, 32, 128, 128),
        max_pool("MaxPool3d_5a_2x2", (2, 2, 2), (2, 2, 2)),
        mixed("Mixed_5b", 256, 160, 320, 32, 128, 128),
        mixed("Mixed_5c", 384, 192, 384, 48, 128, 128),
        Head(
            pool=None if symmetric or global_pool else window,
            dropout=0.5,
            conv=Conv("Conv3d_0c_1x1", num_classes, ONE, bias=True, relu=False),
        ),
    )
    # fmt: on
    variant = "_symmetric" if symmetric else "_global" if global_pool else ""
    return Network(f"inception_i3d{variant}", in_channels, nodes)


INCEPTIONS: dict[str, Callable[..., Network]] = {
    "inception_i3d": inception_i3d,
    "inception_i3d_symmetric": partial(inception_i3d, symmetric=True),
    "inception_i3d_global": partial(inception_i3d, global_pool=True),
}
