"""The state dict of hassony2/kinetics_i3d_pytorch, which v-iashin/video_features ships too."""

from common import arch
from convert.dialects._torch import TRACKED
from convert.dialects.dialect import Dialect, Path

# Branches of more than one layer are sequences; the pool of the last one is its item 0.
UNITS = {
    ("Branch_0", "Conv3d_0a_1x1"): "branch_0",
    ("Branch_1", "Conv3d_0a_1x1"): "branch_1.0",
    ("Branch_1", "Conv3d_0b_3x3"): "branch_1.1",
    ("Branch_2", "Conv3d_0a_1x1"): "branch_2.0",
    ("Branch_2", "Conv3d_0b_3x3"): "branch_2.1",
    ("Branch_3", "Conv3d_0b_1x1"): "branch_3.1",
}


def _unit(net: arch.Network, path: Path) -> str:
    if path[0] == "Logits":
        return path[1].lower()
    return ".".join([path[0].lower(), *([UNITS[path[1], path[2]]] if path[1:] else [])])


HASSONY2 = Dialect(
    name="hassony2",
    about="hassony2/kinetics_i3d_pytorch, v-iashin/video_features",
    unit=_unit,
    fields={
        "conv.weight": "{unit}.conv3d.weight",
        "conv.bias": "{unit}.conv3d.bias",
        "norm.weight": "{unit}.batch3d.weight",
        "norm.bias": "{unit}.batch3d.bias",
        "norm.running_mean": "{unit}.batch3d.running_mean",
        "norm.running_var": "{unit}.batch3d.running_var",
    },
    fills={"norm.weight": 1.0},
    ignored=TRACKED,
)
