"""This project's own dialects, one a family of formats; they have names for every architecture.

Each file says which architecture it is of, because some differ in strides and padding alone.
"""

from common import arch
from convert.dialects.dialect import Dialect, Stems, Unit

_ALL = tuple(arch.ARCHITECTURES)


def _sonnet_unit(net: arch.Network, unit: Unit) -> str:
    outer, *inner = unit
    return "/".join(["layers", outer, *(["parts", *inner] if inner else [])])


def _caffe2_unit(net: arch.Network, unit: Unit) -> Stems:
    name = "_".join(unit)
    return Stems(name, f"{name}_bn")


CANONICAL = Dialect(
    name="canonical",
    about="this project: the state dict of i3d_torch",
    unit=lambda net, unit: ".".join(unit),
    fields={
        "conv.weight": "{unit}.conv.weight",
        "conv.bias": "{unit}.conv.bias",
        "norm.weight": "{unit}.norm.weight",
        "norm.bias": "{unit}.norm.bias",
        "norm.running_mean": "{unit}.norm.running_mean",
        "norm.running_var": "{unit}.norm.running_var",
    },
    architectures=_ALL,
    # The rest of a training run's snapshot; see `common.training`.
    ignored=("momentum/*", "average/*", "scaler/*", "run"),
    tag="architecture",
)

SONNET = Dialect(
    name="sonnet",
    about="this project: the variables of i3d_tf",
    # The object paths that tf.train.Checkpoint and SavedModel name variables by.
    unit=_sonnet_unit,
    fields={
        "conv.weight": "{unit}/conv/w",
        "conv.bias": "{unit}/conv/b",
        "norm.weight": "{unit}/norm/weight",
        "norm.bias": "{unit}/norm/bias",
        "norm.running_mean": "{unit}/norm/running_mean",
        "norm.running_var": "{unit}/norm/running_var",
    },
    architectures=_ALL,
    kernel="THWIO",
    # tf.train.Checkpoint(model=model), and other usual names.
    other_scopes=("model/", "module/", "net/"),
    ignored=("save_counter", "step", "global_step", "optimizer/*", "*/.OPTIMIZER_SLOT/*"),
    tag="architecture",
)

LINEN = Dialect(
    name="linen",
    about="this project: nested as flax.linen nests its variables",
    unit=lambda net, unit: ":".join(unit),
    fields={
        "conv.weight": "params:{unit}:conv:kernel",
        "conv.bias": "params:{unit}:conv:bias",
        "norm.weight": "params:{unit}:norm:scale",
        "norm.bias": "params:{unit}:norm:bias",
        "norm.running_mean": "batch_stats:{unit}:norm:mean",
        "norm.running_var": "batch_stats:{unit}:norm:var",
    },
    architectures=_ALL,
    kernel="THWIO",
    tag="meta:architecture",
)

# `_riv` sounds like an inverse, but holds the running variance.
CAFFE2 = Dialect(
    name="caffe2",
    about="this project: Caffe2 blobs of networks that Caffe2 never had",
    unit=_caffe2_unit,
    fields={
        "conv.weight": "{unit}_w",
        "conv.bias": "{unit}_b",
        "norm.weight": "{unit}_s",
        "norm.bias": "{unit}_b",
        "norm.running_mean": "{unit}_rm",
        "norm.running_var": "{unit}_riv",
    },
    architectures=_ALL,
    # The fully convolutional test net has a convolution in place of the linear layer.
    classifier=("OI", "OITHW"),
    ignored=("*_momentum", "lr", "model_iter"),
    # Loaders look for the blobs they know; one more does no harm.
    tag="architecture",
)
