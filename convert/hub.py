"""Reads and writes weights of any format and dialect, with canonical arrays in the middle."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import arch
from common.errors import CheckpointError, listing
from common.files import check_target
from convert import detect, formats
from convert.dialects import DIALECTS, Dialect, has_scale, to_native
from convert.layouts import to_canonical
from convert.scale import fold_scale

STREAMS = {3: "rgb", 2: "flow"}

# What people who own files of a format expect in them; all others get our own names.
USUAL_DIALECT = {"tf1_checkpoint": "kinetics_i3d", "flax_pickle": "flax"}


@dataclass(frozen=True)
class Weights:
    """The weights of a network.

    Attributes:
        net: The network they belong to.
        arrays: float32 by canonical name in the canonical layout, in the network's order. They
            may be strided, read-only views of the file.
        format: The container they came in.
        dialect: The dialect of their names there.
        ignored: Names in the file that were passed over: optimiser slots and counters.
        narrowed: Names whose numbers were of a wider type than float32.
    """

    net: arch.Network
    arrays: Mapping[str, np.ndarray]
    format: str = "memory"
    dialect: str = "canonical"
    ignored: tuple[str, ...] = ()
    narrowed: tuple[str, ...] = ()

    @property
    def stream(self) -> str:
        """Rgb, flow, or how many channels the network takes."""
        return STREAMS.get(self.net.in_channels, f"{self.net.in_channels} channels")

    @property
    def numbers(self) -> int:
        """How many numbers the network holds, running statistics included."""
        return arch.count(self.net, trainable_only=False)


@dataclass(frozen=True)
class Report:
    """What a conversion did: `source` as read, `target` as read back from `path`."""

    source: Weights
    target: Weights
    path: Path
    folded_scale: bool


def load(checkpoint: str | os.PathLike[str]) -> Weights:
    """Reads a published checkpoint by name, or any checkpoint by path.

    Raises:
        CheckpointError: The file is damaged or fits no known network.
        FileNotFoundError: There is no such file, or no source of it answers.
    """
    from common import checkpoints  # Its second sources convert what they fetch.

    path, _ = checkpoints.resolve(os.fspath(checkpoint))
    return read(path)


def read(path: str | os.PathLike[str]) -> Weights:
    """Reads a checkpoint of any format, dialect, architecture and number of classes.

    Raises:
        CheckpointError: The file is damaged, or fits no known network, or holds values that are
            not finite.
        FileNotFoundError: There is no such file.
    """
    path = Path(path)
    container = formats.detect(path)
    native = container.read(path)
    found = detect.match(native, path)
    arrays, narrowed = {}, []
    for entry in found.natives:
        if entry.canonical is None:
            continue
        array = native[entry.name]
        layout = next(name for name, shape in entry.shapes.items() if shape == array.shape)
        if array.dtype.kind != "f":
            raise CheckpointError(
                f"{path}: {entry.name} is no floating-point array. Received: {array.dtype}."
            )
        if array.dtype.itemsize > 4:
            narrowed.append(entry.name)
        arrays[entry.canonical] = to_canonical(array, layout).astype(np.float32, copy=False)
    _check_finite(arrays, path)
    return Weights(
        found.net, arrays, container.NAME, found.dialect.name, found.ignored, tuple(narrowed)
    )


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    to: str | None = None,
    overwrite: bool = False,
) -> Report:
    """Converts a checkpoint; the file name of `target` says to which format.

    What was written is read back and compared, value by value, before it takes its place.

    Args:
        source: Name of a published checkpoint, or path of one in any format.
        target: The file to write, or for a TensorFlow checkpoint its prefix.
        to: The dialect; None takes the usual one of the format.
        overwrite: Whether an existing target may be replaced.

    Raises:
        CheckpointError: The source is damaged or unknown, or what was written reads differently.
        FileExistsError: The target exists and `overwrite` is false.
        OSError: The target is a folder, or its folder takes no files.
        FileNotFoundError: There is no such source.
        ValueError: The target's name or the dialect is not known.
    """
    return write(load(source), target, to, overwrite)


def write(
    weights: Weights,
    target: str | os.PathLike[str],
    to: str | None = None,
    overwrite: bool = False,
) -> Report:
    """Writes weights; see `convert`."""
    target = Path(target)
    container = formats.for_output(target)
    dialect = _dialect(to or USUAL_DIALECT.get(container.NAME, "canonical"), weights.net)
    for file in container.files(target):
        check_target(file, overwrite)
    net, arrays = weights.net, weights.arrays
    folds = has_scale(net) and not dialect.has_scale
    if folds:
        net, arrays = fold_scale(net, arrays)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        container.write(scratch / target.name, to_native(dialect, net, arrays))
        written = read(scratch / target.name)
        _check_equal(arrays, written.arrays, target)
        for file in container.files(scratch / target.name):
            os.replace(file, target.parent / file.name)
    finally:
        shutil.rmtree(scratch)
    return Report(weights, written, target, folds)


def _dialect(name: str, net: arch.Network) -> Dialect:
    if name not in DIALECTS:
        raise ValueError(
            f"no such dialect. Expected one of {', '.join(DIALECTS)}. Received: {name!r}."
        )
    dialect = DIALECTS[name]
    if net.name not in dialect.architectures:
        raise ValueError(
            f"the dialect {name} has no names for {net.name}, only for"
            f" {', '.join(dialect.architectures)}."
        )
    return dialect


def _check_finite(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    wrong = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if wrong:
        raise CheckpointError(
            f"{path}: values that are not finite in {listing(wrong)}; the training that wrote"
            " the file diverged, or the file is damaged."
        )


def _check_equal(
    expected: Mapping[str, np.ndarray], received: Mapping[str, np.ndarray], path: Path
) -> None:
    wrong = expected.keys() ^ received.keys()
    wrong |= {
        name
        for name in expected.keys() & received.keys()
        if not _same(expected[name], received[name])
    }
    if wrong:
        raise CheckpointError(
            f"{path}: reading back what was written gave other values for {listing(wrong)};"
            " nothing was kept. Please report this."
        )


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether finite arrays are equal bit by bit: of equal values only zeros differ, in sign."""
    return np.array_equal(one, other) and np.array_equal(np.signbit(one), np.signbit(other))
