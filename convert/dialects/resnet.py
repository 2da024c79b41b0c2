"""Dialects of the ResNets: I3D, non-local, R(2+1)D, and the image networks they start from."""

import re
from dataclasses import replace

from common import arch
from convert.dialects import dialect
from convert.dialects.dialect import CAFFE2, MXNET, TORCH, TRACKED, Dialect, Names, Place, Unit


def _place(net: arch.Network, unit: Unit) -> Place:
    """Adds the kinds of units to `dialect.place`, and what their names are made of.

    They are "stem", also with "_spatial" or "_temporal"; of a block "shortcut", "body", "spatial"
    and "temporal"; of a non-local block "theta", "phi", "g" and "out", then "non_local".
    """
    kinds, values = dialect.place(net, unit)
    values["classes"] = net.num_classes
    if kinds[0] == "single":
        return (unit[0].replace("conv1", "stem"), *kinds), values
    found = re.fullmatch(r"(res|nonlocal_conv)(\d)_(\d+)", unit[0])
    if not found:
        return kinds, values
    stage, part = int(found[2]), unit[1]
    values |= {"stage": stage, "index": int(found[3]), "part": part}
    values |= {"layer": stage - 1, "group": stage - 2, "trunk": 1 if stage == 2 else stage}
    if found[1] != "res":
        return (part, "non_local", *kinds), values
    blocks = [node.name for node in net.nodes if isinstance(node, arch.Residual)]
    values["block"] = blocks.index(unit[0])
    if part in ("branch1", "shortcut"):
        return ("shortcut", *kinds), values
    name, _, half = part.partition("_")  # "branch2a", "conv1" or "conv1_spatial"
    number = "abc".index(name[-1]) if name[-1] in "abc" else int(name[-1]) - 1
    # The convolution and the norm in a sequence of convolution, norm, ReLU.
    values |= {"number": number + 1, "letter": "abc"[number]}
    values |= {"conv": 3 * number, "norm": 3 * number + 1}
    return (half or "body", *kinds), values


def _nets(timing: str, *kinds: str) -> tuple[str, ...]:
    return tuple(f"i3d_resnet{depth}{kind}_{timing}" for depth in (50, 101) for kind in kinds)


# C2D nets come with and without pool2, which no array shows: PySlowFast's are left out.
_PADDED_8X8 = tuple(
    name for name in arch.I3D_RESNETS if name.startswith("i3d") and name.endswith("8x8_padded")
)


def _names(block: str, **units: str) -> Names:
    """Returns names of units by their kind; those of blocks start with `block`."""
    return {
        kind: names if kind[:4] in ("head", "stem") else block + names.replace(" ", " " + block)
        for kind, names in units.items()
    }


_LAYER = "layer{layer}.{index}."

NONLOCAL_NET = replace(
    CAFFE2,
    name="nonlocal_net",
    about="facebookresearch/video-nonlocal-net (Caffe2)",
    names={
        "head": "pred",
        "stem": "conv1 res_conv1_bn",
        "out": "{unit:_} {outer}_bn",  # the one norm of a non-local block
        "unit": "{unit:_} {unit:_}_bn",
    },
    architectures=tuple(name for name in arch.I3D_RESNETS if not name.endswith("_padded")),
    place=_place,
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
    names=_names(
        _LAYER,
        head="fc",
        stem="conv1 bn1",
        body="conv{number} bn{number}",
        shortcut="downsample.0 downsample.1",
        non_local="nl.{part} nl.bn",
    ),
    fields=TORCH,
    architectures=_nets("32x2", "", "_nl"),
    place=_place,
    classifier=("OI", "OITHW"),  # a linear layer, which some write as a convolution
    ignored=TRACKED,
)

CAOLIANGJIE_I3D = replace(
    RESNET3D,
    name="caoliangjie_i3d",
    about="i3d_nl of Caoliangjie/video-action-recognition-models",
    names={**RESNET3D.names, **_names(_LAYER, shortcut="conv_sc bn_sc")},
    architectures=_nets("8x8_padded", ""),
)

PYSLOWFAST = replace(
    RESNET3D,
    name="pyslowfast",
    about="facebookresearch/SlowFast",
    names=_names(
        "s{stage}.pathway0_",
        head="head.projection",
        stem="s1.pathway0_stem.conv s1.pathway0_stem.bn",
        body="res{index}.branch2.{letter} res{index}.branch2.{letter}_bn",
        shortcut="res{index}.branch1 res{index}.branch1_bn",
        non_local="nonlocal{index}.conv_{part} nonlocal{index}.bn",
    ),
    architectures=_PADDED_8X8,
)

PYTORCHVIDEO = replace(
    RESNET3D,
    name="pytorchvideo",
    about="facebookresearch/pytorchvideo",
    names=_names(
        "blocks.{trunk}.res_blocks.{index}.",  # blocks.2 is pool2, which has no parameters
        head="blocks.6.proj",
        stem="blocks.0.conv blocks.0.norm",
        body="branch2.conv_{letter} branch2.norm_{letter}",
        shortcut="branch1_conv branch1_norm",
    ),
    architectures=_nets("8x8_padded", ""),
)

MMACTION2 = replace(
    RESNET3D,
    name="mmaction2",
    about="open-mmlab/mmaction2, of the 0.x and the 1.x line",
    names=_names(
        f"backbone.{_LAYER}",
        head="cls_head.fc_cls",
        stem="backbone.conv1.conv backbone.conv1.bn",
        body="conv{number}.conv conv{number}.bn",
        shortcut="downsample.conv downsample.bn",
        theta="non_local_block.theta.conv",
        out="non_local_block.conv_out.conv non_local_block.conv_out.bn",
        non_local="non_local_block.{part}.0.conv",  # before a pool
    ),
    architectures=_nets("32x2_padded", "", "_nl"),
    absent=(("out", "conv.bias"),),
    change=dict.fromkeys(_nets("32x2_padded", "_nl"), "mmaction2_nonlocal"),
)

_GLUONCV = "res_layers.{group}.{index}."

GLUONCV_RESNET = Dialect(
    name="gluoncv_resnet",
    about="GluonCV's i3d_resnet50_v1, i3d_resnet101_v1 and their non-local kin",
    names=_names(
        _GLUONCV,
        head="fc",
        stem="first_stage.0 first_stage.1",
        body="conv{number} bn{number}",
        shortcut="downsample.0 downsample.1",
        out="nonlocal_block.W nonlocal_block.bn",
        non_local="nonlocal_block.{part}",
    ),
    fields=MXNET,
    architectures=_nets("32x2_padded", "", "_nl"),
    place=_place,
    classifier=("OI",),
    # MXNet saves a sub-block under each name that it is registered by.
    aliases=(
        _names(
            f"{_GLUONCV}bottleneck.",
            head="head.1",
            body="{conv} {norm}",
            out="8.W 8.bn",
            non_local="8.{part}",
        ),
        *(
            _names(_GLUONCV + again, phi="sub_phi.0", g="sub_g.0", out="W_bn.0 W_bn.1")
            for again in ("nonlocal_block.", "bottleneck.8.")
        ),
    ),
    change=dict.fromkeys(_nets("32x2_padded", "_nl"), "gluoncv_nonlocal"),
    writable=False,
)

RESNET_2D = replace(
    RESNET3D,
    name="resnet_2d",
    about="torchvision's ResNet-50 and ResNet-101, trained on ImageNet",
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
    names={
        "head": "last_out_L{classes}",
        "stem_spatial": "conv1_middle conv1_middle_spatbn_relu",
        "stem_temporal": "conv1 conv1_spatbn_relu",
        "shortcut": "shortcut_projection_{block} shortcut_projection_{block}_spatbn",
        "spatial": "comp_{block}_conv_{number}_middle comp_{block}_spatbn_{number}_middle",
        "inner": "comp_{block}_conv_{number} comp_{block}_spatbn_{number}",
    },
    architectures=tuple(name for name in arch.R2PLUS1DS if name.endswith("_vmz")),
    place=_place,
)

TORCHVISION = replace(
    RESNET3D,
    name="torchvision",
    about="torchvision's video ResNets, moabitcoin/ig65m-pytorch, VMZ's PyTorch side",
    names=_names(
        _LAYER,
        head="fc",
        stem_spatial="stem.0 stem.1",
        stem_temporal="stem.3 stem.4",
        body="conv{number}.0 conv{number}.1",
        # A pair of halves is a sequence of convolution, norm, ReLU, convolution.
        spatial="conv{number}.0.0 conv{number}.0.1",
        temporal="conv{number}.0.3 conv{number}.1",
        shortcut="downsample.0 downsample.1",
    ),
    architectures=tuple(arch.R2PLUS1DS),
)

CAOLIANGJIE_R2PLUS1D = replace(
    TORCHVISION,
    name="caoliangjie_r2plus1d",
    about="r2plus1d of Caoliangjie/video-action-recognition-models",
    names=_names(
        f"{_LAYER}block.",
        head="fc",
        stem_spatial="conv1_middle bn1_middle",
        stem_temporal="conv1 bn1",
        spatial="conv{number}_middle bn{number}_middle",
        temporal="conv{number} bn{number}",
        shortcut="shortcut shortcut_bn",
    ),
    architectures=("r2plus1d_18_vmz", "r2plus1d_34_vmz"),
    # PyTorch's default, over weights that VMZ trained with 1e-3.
    eps=1e-5,
)
