"""Caffe2 blobs: of video-nonlocal-net, of VMZ, and of our own where those have no names.

`_riv` sounds like an inverse, but holds the running variance.
"""

from collections.abc import Mapping
from dataclasses import replace

from common import arch
from convert.dialects.dialect import Dialect, Path, Stems

_FIELDS: Mapping[arch.Field, str] = {
    "conv.weight": "{unit}_w",
    "conv.bias": "{unit}_b",
    "norm.weight": "{unit}_s",
    "norm.bias": "{unit}_b",
    "norm.running_mean": "{unit}_rm",
    "norm.running_var": "{unit}_riv",
}


def _of_nonlocal_net(net: arch.Network, path: Path) -> str | Stems:
    if path[0] == net.head.name:
        return "pred"
    if len(path) == 1:
        return Stems("conv1", "res_conv1_bn")
    unit = "_".join(path)
    # A non-local block has one norm, called after the block.
    return Stems(unit, f"{path[0]}_bn" if path[1] == "out" else f"{unit}_bn")


def _of_vmz(net: arch.Network, path: Path) -> str | Stems:
    if path[0] == net.head.name:
        return f"last_out_L{net.num_classes}"
    if len(path) == 1:
        stem = {"conv1_spatial": "conv1_middle", "conv1_temporal": "conv1"}[path[0]]
        return Stems(stem, f"{stem}_spatbn_relu")
    blocks = [node.name for node in net.nodes if isinstance(node, arch.Residual)]
    number = blocks.index(path[0])
    if path[1] == "shortcut":
        return Stems(f"shortcut_projection_{number}", f"shortcut_projection_{number}_spatbn")
    conv, _, half = path[1].partition("_")
    which = conv.removeprefix("conv") + ("_middle" if half == "spatial" else "")
    return Stems(f"comp_{number}_conv_{which}", f"comp_{number}_spatbn_{which}")


def _of_ours(net: arch.Network, path: Path) -> Stems:
    unit = "_".join(path)
    return Stems(unit, f"{unit}_bn")


NONLOCAL_NET = Dialect(
    name="nonlocal_net",
    about="facebookresearch/video-nonlocal-net (Caffe2)",
    unit=_of_nonlocal_net,
    fields=_FIELDS,
    architectures=tuple(name for name in arch.I3D_RESNETS if not name.endswith("_padded")),
    # The fully convolutional test net has a convolution for the linear layer.
    classifier=("OI", "OITHW"),
    ignored=("*_momentum", "lr", "model_iter"),
    # Loaders look for the blobs they know; one more does no harm, and says what the rest cannot.
    tag="architecture",
)

PYSLOWFAST_CAFFE2 = replace(
    NONLOCAL_NET,
    name="pyslowfast_caffe2",
    about="the Caffe2 pickles of facebookresearch/SlowFast's model zoo, whose pool1 pads",
    # Its C2D nets come with and without pool2, which no array shows.
    architectures=tuple(
        name for name in arch.I3D_RESNETS if name.startswith("i3d") and name.endswith("8x8_padded")
    ),
)

VMZ = replace(
    NONLOCAL_NET,
    name="vmz",
    about="facebookresearch/VMZ (Caffe2)",
    unit=_of_vmz,
    architectures=tuple(name for name in arch.R2PLUS1DS if name.endswith("_vmz")),
)

CAFFE2 = replace(
    NONLOCAL_NET,
    name="caffe2",
    about="this project: Caffe2 blobs of networks that Caffe2 never had",
    unit=_of_ours,
    architectures=tuple(arch.ARCHITECTURES),
)
