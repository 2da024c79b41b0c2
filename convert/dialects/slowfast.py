"""State dicts of PySlowFast and of PyTorchVideo: the 8x8 timing, with a pool1 that pads."""

from common import arch
from convert.dialects._torch import FIELDS, LINEAR, TRACKED, block
from convert.dialects.dialect import Dialect, Path, Stems


def _of_pyslowfast(net: arch.Network, path: Path) -> str | Stems:
    if path[0] == net.head.name:
        return "head.projection"
    if len(path) == 1:
        return Stems("s1.pathway0_stem.conv", "s1.pathway0_stem.bn")
    stage, index = block(path[0])
    if path[0].startswith("nonlocal"):
        nl = f"s{stage}.pathway0_nonlocal{index}"
        return Stems(f"{nl}.conv_{path[1]}", f"{nl}.bn")
    # branch2a is branch2.a there.
    branch = ".".join(filter(None, (path[1][:7], path[1][7:])))
    unit = f"s{stage}.pathway0_res{index}.{branch}"
    return Stems(unit, f"{unit}_bn")


def _of_pytorchvideo(net: arch.Network, path: Path) -> str | Stems:
    if path[0] == net.head.name:
        return "blocks.6.proj"
    if len(path) == 1:
        return Stems("blocks.0.conv", "blocks.0.norm")
    stage, index = block(path[0])
    # blocks.2 is pool2, which has no parameters.
    unit = f"blocks.{1 if stage == 2 else stage}.res_blocks.{index}"
    if path[1] == "branch1":
        return Stems(f"{unit}.branch1_conv", f"{unit}.branch1_norm")
    letter = path[1].removeprefix("branch2")
    return Stems(f"{unit}.branch2.conv_{letter}", f"{unit}.branch2.norm_{letter}")


PYSLOWFAST = Dialect(
    name="pyslowfast",
    about="facebookresearch/SlowFast",
    unit=_of_pyslowfast,
    fields=FIELDS,
    # Its C2D nets come with and without pool2, which no array shows.
    architectures=tuple(
        name for name in arch.I3D_RESNETS if name.startswith("i3d") and name.endswith("8x8_padded")
    ),
    classifier=LINEAR,
    ignored=TRACKED,
)

PYTORCHVIDEO = Dialect(
    name="pytorchvideo",
    about="facebookresearch/pytorchvideo",
    unit=_of_pytorchvideo,
    fields=FIELDS,
    architectures=("i3d_resnet50_8x8_padded", "i3d_resnet101_8x8_padded"),
    classifier=LINEAR,
    ignored=TRACKED,
)
