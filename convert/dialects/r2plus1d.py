"""State dicts of PyTorch's R(2+1)D networks: torchvision's layout and Caoliangjie's."""

from common import arch
from convert.dialects._torch import FIELDS, LINEAR, TRACKED, block
from convert.dialects.dialect import Dialect, Path, Stems


def _of_torchvision(net: arch.Network, path: Path) -> str | Stems:
    if path[0] == net.head.name:
        return "fc"
    if len(path) == 1:
        first = 0 if path[0] == "conv1_spatial" else 3
        return Stems(f"stem.{first}", f"stem.{first + 1}")
    stage, index = block(path[0])
    layer = f"layer{stage - 1}.{index}"
    if path[1] == "shortcut":
        return Stems(f"{layer}.downsample.0", f"{layer}.downsample.1")
    conv, _, half = path[1].partition("_")
    # A pair of halves is a sequence of convolution, norm, ReLU, convolution.
    places = {"": ("0", "1"), "spatial": ("0.0", "0.1"), "temporal": ("0.3", "1")}
    return Stems(*(f"{layer}.{conv}.{place}" for place in places[half]))


def _of_caoliangjie(net: arch.Network, path: Path) -> str | Stems:
    if path[0] == net.head.name:
        return "fc"
    unit = path[-1].replace("_spatial", "_middle").replace("_temporal", "")
    if len(path) == 1:
        return Stems(unit, unit.replace("conv", "bn"))
    stage, index = block(path[0])
    outer = f"layer{stage - 1}.{index}.block"
    if unit == "shortcut":
        return Stems(f"{outer}.shortcut", f"{outer}.shortcut_bn")
    return Stems(f"{outer}.{unit}", f"{outer}.{unit.replace('conv', 'bn')}")


TORCHVISION = Dialect(
    name="torchvision",
    about="torchvision's video ResNets, moabitcoin/ig65m-pytorch, VMZ's PyTorch side",
    unit=_of_torchvision,
    fields=FIELDS,
    architectures=tuple(arch.R2PLUS1DS),
    classifier=LINEAR,
    ignored=TRACKED,
)

CAOLIANGJIE_R2PLUS1D = Dialect(
    name="caoliangjie_r2plus1d",
    about="r2plus1d of Caoliangjie/video-action-recognition-models",
    unit=_of_caoliangjie,
    fields=FIELDS,
    architectures=("r2plus1d_18_vmz", "r2plus1d_34_vmz"),
    classifier=LINEAR,
    ignored=TRACKED,
    # torch's default, over weights that VMZ trained with 1e-3.
    eps=1e-5,
)
