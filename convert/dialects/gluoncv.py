"""GluonCV's I3D models in MXNet, where a sub-block may be registered and saved twice."""

from collections.abc import Mapping

from common import arch
from convert.dialects._torch import block
from convert.dialects.dialect import Dialect, Path, Stems

_FIELDS: Mapping[arch.Field, str] = {
    "conv.weight": "{unit}.weight",
    "conv.bias": "{unit}.bias",
    "norm.weight": "{unit}.gamma",
    "norm.bias": "{unit}.beta",
    "norm.running_mean": "{unit}.running_mean",
    "norm.running_var": "{unit}.running_var",
}

# The place of each unit in `features`; the pools stand between them.
_FEATURES = (
    *("Conv3d_1a_7x7", "", "Conv3d_2b_1x1", "Conv3d_2c_3x3", ""),
    *("Mixed_3b", "Mixed_3c", ""),
    *("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f", ""),
    *("Mixed_5b", "Mixed_5c"),
)


def _of_inception(net: arch.Network, path: Path) -> str | Stems:
    if path[0] == net.head.name:
        return "output"
    unit = f"features.{_FEATURES.index(path[0])}"
    if len(path) > 1:
        # The second of a branch, behind a 1x1 convolution or a pool, is its item 1.
        unit += f".{path[1].removeprefix('Branch_')}.{int('0b' in path[2])}"
    return Stems(f"{unit}.0", f"{unit}.1")


def _head_again(net: arch.Network, path: Path) -> tuple[str | Stems, ...]:
    return ("head.1",) if path[0] == net.head.name else ()


def _block(name: str) -> str:
    stage, index = block(name)
    return f"res_layers.{stage - 2}.{index}"


def _of_resnet(net: arch.Network, path: Path) -> str | Stems:
    if path[0] == net.head.name:
        return "fc"
    if len(path) == 1:
        return Stems("first_stage.0", "first_stage.1")
    if path[0].startswith("nonlocal"):
        return _non_local(f"{_block(path[0])}.nonlocal_block", path[1])
    if path[1] == "branch1":
        return Stems(f"{_block(path[0])}.downsample.0", f"{_block(path[0])}.downsample.1")
    number = "abc".index(path[1].removeprefix("branch2")) + 1
    return Stems(f"{_block(path[0])}.conv{number}", f"{_block(path[0])}.bn{number}")


def _resnet_again(net: arch.Network, path: Path) -> tuple[str | Stems, ...]:
    if len(path) == 1 or path[0] == net.head.name:
        return _head_again(net, path)
    sequence = f"{_block(path[0])}.bottleneck"
    if path[0].startswith("nonlocal"):
        inner = {"phi": "sub_phi.0", "g": "sub_g.0"}
        blocks = (f"{_block(path[0])}.nonlocal_block", f"{sequence}.8")
        again: list[str | Stems] = [_non_local(blocks[1], path[1])]
        for outer in blocks:
            if path[1] in inner:
                again.append(f"{outer}.{inner[path[1]]}")
            elif path[1] == "out":
                again.append(Stems(f"{outer}.W_bn.0", f"{outer}.W_bn.1"))
        return tuple(again)
    if path[1] == "branch1":
        return ()
    first = 3 * "abc".index(path[1].removeprefix("branch2"))
    return (Stems(f"{sequence}.{first}", f"{sequence}.{first + 1}"),)


def _non_local(outer: str, name: str) -> Stems:
    return Stems(f"{outer}.{'W' if name == 'out' else name}", f"{outer}.bn")


GLUONCV_INCEPTION = Dialect(
    name="gluoncv_inception",
    about="GluonCV's i3d_inceptionv1",
    unit=_of_inception,
    fields=_FIELDS,
    architectures=("inception_i3d_symmetric",),
    classifier=("OI",),
    fills={"norm.weight": 1.0},
    aliases=_head_again,
    writable=False,
)

GLUONCV_RESNET = Dialect(
    name="gluoncv_resnet",
    about="GluonCV's i3d_resnet50_v1, i3d_resnet101_v1 and their non-local kin",
    unit=_of_resnet,
    fields=_FIELDS,
    architectures=tuple(f"i3d_resnet{d}{nl}_32x2_padded" for d in (50, 101) for nl in ("", "_nl")),
    classifier=("OI",),
    aliases=_resnet_again,
    change={f"i3d_resnet{d}_nl_32x2_padded": "gluoncv_nonlocal" for d in (50, 101)},
    writable=False,
)
