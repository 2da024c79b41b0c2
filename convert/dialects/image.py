"""2-D networks whose kernels are inflated into those of a video network. They are only read.

Their classifiers tell images apart, and are left behind.
"""

from common import arch
from convert.dialects._torch import FIELDS, TRACKED
from convert.dialects.dialect import Dialect, Path, Stems
from convert.dialects.kinetics_i3d import KINETICS_I3D
from convert.dialects.resnet3d import RESNET3D


def _of_slim(net: arch.Network, path: Path) -> str:
    return "/".join(["InceptionV1", *path]).replace("Conv3d", "Conv2d")


_GOOGLENET = {"Conv3d_1a_7x7": "conv1", "Conv3d_2b_1x1": "conv2", "Conv3d_2c_3x3": "conv3"}
_BRANCHES = {
    ("Branch_0", "Conv3d_0a_1x1"): "branch1",
    ("Branch_1", "Conv3d_0a_1x1"): "branch2.0",
    ("Branch_1", "Conv3d_0b_3x3"): "branch2.1",
    ("Branch_2", "Conv3d_0a_1x1"): "branch3.0",
    ("Branch_2", "Conv3d_0b_3x3"): "branch3.1",
    ("Branch_3", "Conv3d_0b_1x1"): "branch4.1",
}


def _of_googlenet(net: arch.Network, path: Path) -> Stems:
    if len(path) == 1:
        unit = _GOOGLENET[path[0]]
    else:
        # Mixed_3b is inception3a: their letters begin with the blocks, ours with the pool before.
        block = path[0].removeprefix("Mixed_")
        unit = f"inception{block[0]}{chr(ord(block[1]) - 1)}.{_BRANCHES[path[1], path[2]]}"
    return Stems(f"{unit}.conv", f"{unit}.bn")


SLIM_INCEPTION_V1 = Dialect(
    name="slim_inception_v1",
    about="TF-slim's Inception-v1, trained on ImageNet",
    unit=_of_slim,
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
    unit=_of_googlenet,
    fields=FIELDS,
    kernel="OIHW",
    fills={"norm.weight": 1.0},
    ignored=(*TRACKED, "aux1.*", "aux2.*", "fc.*"),
    writable=False,
)

RESNET_2D = Dialect(
    name="resnet_2d",
    about="torchvision's ResNet-50 and ResNet-101, trained on ImageNet",
    unit=RESNET3D.unit,
    fields=FIELDS,
    architectures=tuple(
        name for name in arch.I3D_RESNETS if "_nl_" not in name and "_affine" not in name
    ),
    kernel="OIHW",
    ignored=(*TRACKED, "fc.*"),
    writable=False,
)
