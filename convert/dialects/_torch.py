"""What the state dicts of PyTorch projects have in common."""

from collections.abc import Mapping

from common import arch

FIELDS: Mapping[arch.Field, str] = {
    "conv.weight": "{unit}.weight",
    "conv.bias": "{unit}.bias",
    "norm.weight": "{unit}.weight",
    "norm.bias": "{unit}.bias",
    "norm.running_mean": "{unit}.running_mean",
    "norm.running_var": "{unit}.running_var",
}

# A counter that torch adds to every batch norm since 0.4.1.
TRACKED = ("*.num_batches_tracked",)

# A linear layer; some write it as a convolution.
LINEAR = ("OI", "OITHW")


def block(name: str) -> tuple[int, int]:
    """Stage and index of a residual block, or of the one before a non-local block.

    "res3_1" and "nonlocal_conv3_1" are (3, 1).
    """
    stage, _, index = name.removeprefix("nonlocal_conv").removeprefix("res").partition("_")
    return int(stage), int(index)
