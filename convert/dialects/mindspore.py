"""The parameters of the I3D in MindSpore's models repository (research/cv/I3D)."""

from dataclasses import replace

from common import arch
from convert.dialects import piergiaj
from convert.dialects.dialect import Dialect, Path, Stems

HEAD = "logits_conv3d"


def _unit(net: arch.Network, path: Path) -> str | Stems:
    if path[0] == net.head.name:
        return HEAD
    if len(path) == 1:
        return Stems(path[0], f"{path[0]}_bn.bn2d")
    unit = f"{path[0]}_{piergiaj.UNITS[path[1], path[2]]}"
    return Stems(f"{unit}.conv3d", f"{unit}.bn.bn2d")


MINDSPORE = Dialect(
    name="mindspore",
    about="I3D of MindSpore's models repository",
    unit=_unit,
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
    exceptions={HEAD: f"logits.{HEAD}"},
)
