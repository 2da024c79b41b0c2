"""Dialects of the R(2+1)D networks."""

from dataclasses import replace

from common import arch
from convert.dialects.dialect import Stems, Unit
from convert.dialects.ours import CAFFE2
from convert.dialects.resnet import RESNET3D, block


def _vmz_unit(net: arch.Network, unit: Unit) -> str | Stems:
    if unit[0] == net.head.name:
        return f"last_out_L{net.num_classes}"
    if len(unit) == 1:
        stem = {"conv1_spatial": "conv1_middle", "conv1_temporal": "conv1"}[unit[0]]
        return Stems(stem, f"{stem}_spatbn_relu")
    blocks = [node.name for node in net.nodes if isinstance(node, arch.Residual)]
    number = blocks.index(unit[0])
    if unit[1] == "shortcut":
        return Stems(f"shortcut_projection_{number}", f"shortcut_projection_{number}_spatbn")
    conv, _, half = unit[1].partition("_")
    which = conv.removeprefix("conv") + ("_middle" if half == "spatial" else "")
    return Stems(f"comp_{number}_conv_{which}", f"comp_{number}_spatbn_{which}")


def _torchvision_unit(net: arch.Network, unit: Unit) -> str | Stems:
    if unit[0] == net.head.name:
        return "fc"
    if len(unit) == 1:
        first = 0 if unit[0] == "conv1_spatial" else 3
        return Stems(f"stem.{first}", f"stem.{first + 1}")
    stage, index = block(unit[0])
    layer = f"layer{stage - 1}.{index}"
    if unit[1] == "shortcut":
        return Stems(f"{layer}.downsample.0", f"{layer}.downsample.1")
    conv, _, half = unit[1].partition("_")
    # A pair of halves is a sequence of convolution, norm, ReLU, convolution.
    places = {"": ("0", "1"), "spatial": ("0.0", "0.1"), "temporal": ("0.3", "1")}
    return Stems(*(f"{layer}.{conv}.{place}" for place in places[half]))


def _caoliangjie_unit(net: arch.Network, unit: Unit) -> str | Stems:
    if unit[0] == net.head.name:
        return "fc"
    name = unit[-1].replace("_spatial", "_middle").replace("_temporal", "")
    if len(unit) == 1:
        return Stems(name, name.replace("conv", "bn"))
    stage, index = block(unit[0])
    outer = f"layer{stage - 1}.{index}.block"
    if name == "shortcut":
        return Stems(f"{outer}.shortcut", f"{outer}.shortcut_bn")
    return Stems(f"{outer}.{name}", f"{outer}.{name.replace('conv', 'bn')}")


VMZ = replace(
    CAFFE2,
    name="vmz",
    about="facebookresearch/VMZ (Caffe2)",
    unit=_vmz_unit,
    architectures=tuple(name for name in arch.R2PLUS1DS if name.endswith("_vmz")),
)

TORCHVISION = replace(
    RESNET3D,
    name="torchvision",
    about="torchvision's video ResNets, moabitcoin/ig65m-pytorch, VMZ's PyTorch side",
    unit=_torchvision_unit,
    architectures=tuple(arch.R2PLUS1DS),
)

CAOLIANGJIE_R2PLUS1D = replace(
    TORCHVISION,
    name="caoliangjie_r2plus1d",
    about="r2plus1d of Caoliangjie/video-action-recognition-models",
    unit=_caoliangjie_unit,
    architectures=("r2plus1d_18_vmz", "r2plus1d_34_vmz"),
    # PyTorch's default, over weights that VMZ trained with 1e-3.
    eps=1e-5,
)
