"""The state dict of open-mmlab/mmaction2's I3D ResNets, of the 0.x and the 1.x line."""

from common import arch
from convert.dialects._torch import FIELDS, LINEAR, TRACKED, block
from convert.dialects.dialect import Dialect, Path, Stems

# phi and g are sequences of a convolution and a pool.
_NON_LOCAL = {"theta": "theta", "phi": "phi.0", "g": "g.0", "out": "conv_out"}


def _unit(net: arch.Network, path: Path) -> str | Stems:
    if path[0] == net.head.name:
        return "cls_head.fc_cls"
    if len(path) == 1:
        unit = "backbone.conv1"
    else:
        stage, index = block(path[0])
        unit = f"backbone.layer{stage - 1}.{index}"
        if path[0].startswith("nonlocal"):
            unit += f".non_local_block.{_NON_LOCAL[path[1]]}"
        elif path[1] == "branch1":
            unit += ".downsample"
        else:
            unit += f".conv{'abc'.index(path[1].removeprefix('branch2')) + 1}"
    return Stems(f"{unit}.conv", f"{unit}.bn")


MMACTION2 = Dialect(
    name="mmaction2",
    about="open-mmlab/mmaction2",
    unit=_unit,
    fields=FIELDS,
    architectures=tuple(f"i3d_resnet{d}{nl}_32x2_padded" for d in (50, 101) for nl in ("", "_nl")),
    classifier=LINEAR,
    absent=(("out", "conv.bias"),),
    ignored=TRACKED,
    change={f"i3d_resnet{d}_nl_32x2_padded": "mmaction2_nonlocal" for d in (50, 101)},
)
