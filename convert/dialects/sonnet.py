"""The variables of `i3d_tf` by object path, as tf.train.Checkpoint and SavedModel name them."""

from common import arch
from convert.dialects.dialect import Dialect, Path


def _unit(net: arch.Network, path: Path) -> str:
    outer, *inner = path
    return "/".join(["layers", outer, *(["parts", *inner] if inner else [])])


SONNET = Dialect(
    name="sonnet",
    about="this project: the variables of i3d_tf",
    unit=_unit,
    fields={
        "conv.weight": "{unit}/conv/w",
        "conv.bias": "{unit}/conv/b",
        "norm.weight": "{unit}/norm/weight",
        "norm.bias": "{unit}/norm/bias",
        "norm.running_mean": "{unit}/norm/running_mean",
        "norm.running_var": "{unit}/norm/running_var",
    },
    architectures=tuple(arch.ARCHITECTURES),
    kernel="THWIO",
    # tf.train.Checkpoint(model=model), and the names that training code likes.
    other_scopes=("model/", "module/", "net/"),
    ignored=("save_counter", "step", "global_step", "optimizer/*", "*/.OPTIMIZER_SLOT/*"),
    tag="architecture",
)
