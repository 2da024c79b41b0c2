"""Our own names: the state dict of `i3d_torch`."""

from common import arch
from convert.dialects.dialect import Dialect

CANONICAL = Dialect(
    name="canonical",
    about="this project: the state dict of i3d_torch",
    unit=lambda net, path: ".".join(path),
    fields={
        "conv.weight": "{unit}.conv.weight",
        "conv.bias": "{unit}.conv.bias",
        "norm.weight": "{unit}.norm.weight",
        "norm.bias": "{unit}.norm.bias",
        "norm.running_mean": "{unit}.norm.running_mean",
        "norm.running_var": "{unit}.norm.running_var",
    },
    architectures=tuple(arch.ARCHITECTURES),
    # The rest of a training run's snapshot; see `common.training.snapshots`.
    ignored=("momentum/*", "average/*", "scaler/*", "run"),
    tag="architecture",
)
