"""The weights at the end of a run in the names of other tools."""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common import arch
from common.errors import CheckpointError
from common.training.start import Start

_GLOBAL = "_global"

# What the files of those who own a dialect end in, where it is not torch's.
_SUFFIXES = {
    "kinetics_i3d": ".ckpt",
    "kinetics_i3d_600": ".ckpt",
    "sonnet": ".tf2.ckpt",
    "flax": ".pickle",
    "linen": ".pickle",
    "nonlocal_net": ".pkl",
    "pyslowfast_caffe2": ".pkl",
    "vmz": ".pkl",
    "caffe2": ".pkl",
    "mindspore": ".ms.ckpt",
    "mindspore_finetuned": ".ms.ckpt",
}


def check(begin: Start, dialects: Sequence[str]) -> None:
    """Refuses before a run what could not be written after it, by writing its first weights.

    Raises:
        ValueError: There is no such dialect, or it has no names for the network.
        CheckpointError: It cannot hold the network exactly.
    """
    from convert import hub

    with tempfile.TemporaryDirectory() as folder:
        weights = hub.Weights(_written(begin.net), begin.arrays)
        for dialect in dialects:
            path = Path(folder) / f"model_{dialect}{_suffix(dialect)}"
            try:
                hub.write(weights, path, dialect)
            except CheckpointError as error:
                raise CheckpointError(
                    f"--export={dialect}: {str(error).removeprefix(f'{path}: ')} A run does not: "
                    "leave the dialect out, and use `python -m convert` on the weights at its end."
                ) from error


def export(weights: Path, begin: Start, dialects: Sequence[str]) -> list[Path]:
    """Writes the weights of a run beside them, once in each dialect; returns the paths.

    Raises:
        CheckpointError: What was written reads differently.
    """
    from convert import hub

    written = []
    for dialect in dialects:
        path = weights.with_name(f"{weights.stem}_{dialect}{_suffix(dialect)}")
        read = hub.read(weights)
        hub.write(dataclasses.replace(read, net=_written(begin.net)), path, dialect, overwrite=True)
        written.append(path)
    return written


def _written(net: arch.Network) -> arch.Network:
    """The network that others know these weights as: how a head pools is in no file."""
    if not net.name.endswith(_GLOBAL):
        return net
    return dataclasses.replace(net, name=net.name.removesuffix(_GLOBAL))


def _suffix(dialect: str) -> str:
    return _SUFFIXES.get(dialect, ".pt")
