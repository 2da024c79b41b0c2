"""State dicts of PyTorch ports of the I3D ResNets, block by block as torchvision has them."""

from common import arch
from convert.dialects._torch import FIELDS, LINEAR, TRACKED, block
from convert.dialects.dialect import Dialect, Path, Stems

_DEPTHS = (50, 101)


def _layer(name: str) -> str:
    stage, index = block(name)
    return f"layer{stage - 1}.{index}"


def _branch2(path: Path) -> Stems:
    number = "abc".index(path[1].removeprefix("branch2")) + 1
    return Stems(f"{_layer(path[0])}.conv{number}", f"{_layer(path[0])}.bn{number}")


def _of_resnet3d(net: arch.Network, path: Path) -> str | Stems:
    if path[0] == net.head.name:
        return "fc"
    if len(path) == 1:
        return Stems("conv1", "bn1")
    if path[0].startswith("nonlocal"):
        nl = f"{_layer(path[0])}.nl"
        return Stems(f"{nl}.{path[1]}", f"{nl}.bn")
    if path[1] == "branch1":
        return Stems(f"{_layer(path[0])}.downsample.0", f"{_layer(path[0])}.downsample.1")
    return _branch2(path)


def _of_caoliangjie(net: arch.Network, path: Path) -> str | Stems:
    if path[-1] == "branch1":
        return Stems(f"{_layer(path[0])}.conv_sc", f"{_layer(path[0])}.bn_sc")
    return _of_resnet3d(net, path)


RESNET3D = Dialect(
    name="resnet3d",
    about="Tushar-N/pytorch-resnet3d and the feature extractors built on it",
    unit=_of_resnet3d,
    fields=FIELDS,
    architectures=tuple(f"i3d_resnet{d}{nl}_32x2" for d in _DEPTHS for nl in ("", "_nl")),
    classifier=LINEAR,
    ignored=TRACKED,
)

CAOLIANGJIE_I3D = Dialect(
    name="caoliangjie_i3d",
    about="i3d_nl of Caoliangjie/video-action-recognition-models",
    unit=_of_caoliangjie,
    fields=FIELDS,
    architectures=tuple(f"i3d_resnet{d}_8x8_padded" for d in _DEPTHS),
    classifier=LINEAR,
    ignored=TRACKED,
)
