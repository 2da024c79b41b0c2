"""Dialects of the ResNets: I3D, non-local, R(2+1)D, and the image networks they start from."""

from dataclasses import replace

from common import arch
from convert.dialects.dialect import MXNET, TORCH, TRACKED, Dialect, Stems, Unit
from convert.dialects.ours import CAFFE2

LINEAR = ("OI", "OITHW")
"""Layouts of a linear layer, which some write as a convolution."""


def block(name: str) -> tuple[int, int]:
    """Returns stage and index of a residual block, or of the one before a non-local block.

    "res3_1" and "nonlocal_conv3_1" are (3, 1).
    """
    stage, _, index = name.removeprefix("nonlocal_conv").removeprefix("res").partition("_")
    return int(stage), int(index)


def _number(unit: Unit) -> int:
    """The place of "branch2a", "branch2b" or "branch2c" in its block, from 0."""
    return "abc".index(unit[1].removeprefix("branch2"))


def _nonlocal_net_unit(net: arch.Network, unit: Unit) -> str | Stems:
    if unit[0] == net.head.name:
        return "pred"
    if len(unit) == 1:
        return Stems("conv1", "res_conv1_bn")
    name = "_".join(unit)
    # A non-local block has one norm, named after the block.
    return Stems(name, f"{unit[0]}_bn" if unit[1] == "out" else f"{name}_bn")


def _resnet3d_unit(net: arch.Network, unit: Unit) -> str | Stems:
    if unit[0] == net.head.name:
        return "fc"
    if len(unit) == 1:
        return Stems("conv1", "bn1")
    stage, index = block(unit[0])
    layer = f"layer{stage - 1}.{index}"
    if unit[0].startswith("nonlocal"):
        return Stems(f"{layer}.nl.{unit[1]}", f"{layer}.nl.bn")
    if unit[1] == "branch1":
        return Stems(f"{layer}.downsample.0", f"{layer}.downsample.1")
    return Stems(f"{layer}.conv{_number(unit) + 1}", f"{layer}.bn{_number(unit) + 1}")


def _caoliangjie_unit(net: arch.Network, unit: Unit) -> str | Stems:
    if unit[-1] == "branch1":
        stage, index = block(unit[0])
        return Stems(f"layer{stage - 1}.{index}.conv_sc", f"layer{stage - 1}.{index}.bn_sc")
    return _resnet3d_unit(net, unit)


def _pyslowfast_unit(net: arch.Network, unit: Unit) -> str | Stems:
    if unit[0] == net.head.name:
        return "head.projection"
    if len(unit) == 1:
        return Stems("s1.pathway0_stem.conv", "s1.pathway0_stem.bn")
    stage, index = block(unit[0])
    if unit[0].startswith("nonlocal"):
        outer = f"s{stage}.pathway0_nonlocal{index}"
        return Stems(f"{outer}.conv_{unit[1]}", f"{outer}.bn")
    # branch2a is branch2.a there.
    branch = ".".join(filter(None, (unit[1][:7], unit[1][7:])))
    name = f"s{stage}.pathway0_res{index}.{branch}"
    return Stems(name, f"{name}_bn")


def _pytorchvideo_unit(net: arch.Network, unit: Unit) -> str | Stems:
    if unit[0] == net.head.name:
        return "blocks.6.proj"
    if len(unit) == 1:
        return Stems("blocks.0.conv", "blocks.0.norm")
    stage, index = block(unit[0])
    # blocks.2 is pool2, which has no parameters.
    outer = f"blocks.{1 if stage == 2 else stage}.res_blocks.{index}"
    if unit[1] == "branch1":
        return Stems(f"{outer}.branch1_conv", f"{outer}.branch1_norm")
    letter = unit[1].removeprefix("branch2")
    return Stems(f"{outer}.branch2.conv_{letter}", f"{outer}.branch2.norm_{letter}")


# phi and g are sequences of a convolution and a pool.
_MMACTION2 = {"theta": "theta", "phi": "phi.0", "g": "g.0", "out": "conv_out"}


def _mmaction2_unit(net: arch.Network, unit: Unit) -> str | Stems:
    if unit[0] == net.head.name:
        return "cls_head.fc_cls"
    if len(unit) == 1:
        name = "backbone.conv1"
    else:
        stage, index = block(unit[0])
        name = f"backbone.layer{stage - 1}.{index}"
        if unit[0].startswith("nonlocal"):
            name += f".non_local_block.{_MMACTION2[unit[1]]}"
        elif unit[1] == "branch1":
            name += ".downsample"
        else:
            name += f".conv{_number(unit) + 1}"
    return Stems(f"{name}.conv", f"{name}.bn")


def _gluoncv_unit(net: arch.Network, unit: Unit) -> str | Stems:
    if unit[0] == net.head.name:
        return "fc"
    if len(unit) == 1:
        return Stems("first_stage.0", "first_stage.1")
    outer = _gluoncv_block(unit)
    if unit[0].startswith("nonlocal"):
        return _gluoncv_nonlocal(f"{outer}.nonlocal_block", unit[1])
    if unit[1] == "branch1":
        return Stems(f"{outer}.downsample.0", f"{outer}.downsample.1")
    return Stems(f"{outer}.conv{_number(unit) + 1}", f"{outer}.bn{_number(unit) + 1}")


def _gluoncv_aliases(net: arch.Network, unit: Unit) -> tuple[str | Stems, ...]:
    """Names under which MXNet saves a sub-block that is registered twice."""
    if unit[0] == net.head.name:
        return ("head.1",)
    if len(unit) == 1 or unit[1] == "branch1":
        return ()
    outer = _gluoncv_block(unit)
    if not unit[0].startswith("nonlocal"):
        first = 3 * _number(unit)
        return (Stems(f"{outer}.bottleneck.{first}", f"{outer}.bottleneck.{first + 1}"),)
    inner = {"phi": "sub_phi.0", "g": "sub_g.0"}
    blocks = (f"{outer}.nonlocal_block", f"{outer}.bottleneck.8")
    again: list[str | Stems] = [_gluoncv_nonlocal(blocks[1], unit[1])]
    for name in blocks:
        if unit[1] in inner:
            again.append(f"{name}.{inner[unit[1]]}")
        elif unit[1] == "out":
            again.append(Stems(f"{name}.W_bn.0", f"{name}.W_bn.1"))
    return tuple(again)


def _gluoncv_block(unit: Unit) -> str:
    stage, index = block(unit[0])
    return f"res_layers.{stage - 2}.{index}"


def _gluoncv_nonlocal(outer: str, name: str) -> Stems:
    return Stems(f"{outer}.{'W' if name == 'out' else name}", f"{outer}.bn")


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


def _caoliangjie_r2plus1d_unit(net: arch.Network, unit: Unit) -> str | Stems:
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


def _nets(timing: str, *kinds: str) -> tuple[str, ...]:
    return tuple(f"i3d_resnet{depth}{kind}_{timing}" for depth in (50, 101) for kind in kinds)


# C2D nets come with and without pool2, which no array shows: PySlowFast's are left out.
_PADDED_8X8 = tuple(
    name for name in arch.I3D_RESNETS if name.startswith("i3d") and name.endswith("8x8_padded")
)

NONLOCAL_NET = replace(
    CAFFE2,
    name="nonlocal_net",
    about="facebookresearch/video-nonlocal-net (Caffe2)",
    unit=_nonlocal_net_unit,
    architectures=tuple(name for name in arch.I3D_RESNETS if not name.endswith("_padded")),
)

PYSLOWFAST_CAFFE2 = replace(
    NONLOCAL_NET,
    name="pyslowfast_caffe2",
    about="the Caffe2 pickles of facebookresearch/SlowFast's model zoo, whose pool1 pads",
    architectures=_PADDED_8X8,
)

RESNET3D = Dialect(
    name="resnet3d",
    about="Tushar-N/pytorch-resnet3d and the feature extractors built on it",
    unit=_resnet3d_unit,
    fields=TORCH,
    architectures=_nets("32x2", "", "_nl"),
    classifier=LINEAR,
    ignored=TRACKED,
)

CAOLIANGJIE_I3D = replace(
    RESNET3D,
    name="caoliangjie_i3d",
    about="i3d_nl of Caoliangjie/video-action-recognition-models",
    unit=_caoliangjie_unit,
    architectures=_nets("8x8_padded", ""),
)

PYSLOWFAST = replace(
    RESNET3D,
    name="pyslowfast",
    about="facebookresearch/SlowFast",
    unit=_pyslowfast_unit,
    architectures=_PADDED_8X8,
)

PYTORCHVIDEO = replace(
    RESNET3D,
    name="pytorchvideo",
    about="facebookresearch/pytorchvideo",
    unit=_pytorchvideo_unit,
    architectures=_nets("8x8_padded", ""),
)

MMACTION2 = replace(
    RESNET3D,
    name="mmaction2",
    about="open-mmlab/mmaction2, of the 0.x and the 1.x line",
    unit=_mmaction2_unit,
    architectures=_nets("32x2_padded", "", "_nl"),
    absent=(("out", "conv.bias"),),
    change=dict.fromkeys(_nets("32x2_padded", "_nl"), "mmaction2_nonlocal"),
)

GLUONCV_RESNET = Dialect(
    name="gluoncv_resnet",
    about="GluonCV's i3d_resnet50_v1, i3d_resnet101_v1 and their non-local kin",
    unit=_gluoncv_unit,
    fields=MXNET,
    architectures=_nets("32x2_padded", "", "_nl"),
    classifier=("OI",),
    aliases=_gluoncv_aliases,
    change=dict.fromkeys(_nets("32x2_padded", "_nl"), "gluoncv_nonlocal"),
    writable=False,
)

RESNET_2D = Dialect(
    name="resnet_2d",
    about="torchvision's ResNet-50 and ResNet-101, trained on ImageNet",
    unit=_resnet3d_unit,
    fields=TORCH,
    architectures=tuple(
        name for name in arch.I3D_RESNETS if "_nl_" not in name and "_affine" not in name
    ),
    kernel="OIHW",
    ignored=(*TRACKED, "fc.*"),
    writable=False,
)

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
    unit=_caoliangjie_r2plus1d_unit,
    architectures=("r2plus1d_18_vmz", "r2plus1d_34_vmz"),
    # PyTorch's default, over weights that VMZ trained with 1e-3.
    eps=1e-5,
)
