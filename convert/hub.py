"""Reads and writes weights of any format and dialect, with canonical arrays in the middle."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np

from common import arch
from common.io import check_target, listing
from convert import changes, classifier, detect, exports, formats, inflation
from convert.canonical_arrays import check_equal, from_native
from convert.dialects import DIALECTS, Dialect, has_scale, lazily_native
from convert.scale import fold_scale

STREAMS = {3: "rgb", 2: "flow"}

# What people who own files of a format expect in them, the first that knows the architecture;
# all else gets our own names.
USUAL_DIALECTS = {
    "tf1_checkpoint": ("kinetics_i3d", "sonnet"),
    "tf2_checkpoint": ("sonnet",),
    "flax_pickle": ("flax", "linen"),
    "flax_msgpack": ("flax", "linen"),
    "caffe2_pkl": ("nonlocal_net", "pyslowfast_caffe2", "vmz", "caffe2"),
    "mindspore_ckpt": ("mindspore",),
}


@dataclass(frozen=True)
class Terms:
    """What a conversion is told, and what it is allowed to change.

    Attributes:
        architecture: Which the weights are of, where their names fit several.
        allow: Names of `convert.changes.CHANGES` that may be made.
        adjust_eps: Takes the difference between the eps of a dialect's owner and ours into the
            running variances, so that the function stays the same there.
        inflate: How 2-D kernels become 3-D: "repeat" or "centre".
        num_classes: Classes of the classifier that inflated weights get, or of a new one for
            others; None keeps what is there (400 where nothing is).
        seed: Of the random values of a new classifier.
    """

    architecture: str | None = None
    allow: frozenset[str] = frozenset()
    adjust_eps: bool = False
    inflate: inflation.How = "repeat"
    num_classes: int | None = None
    seed: int = 0


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
        widened: Names whose numbers were of a narrower one.
        notes: What was made of them on the way, a sentence each.
    """

    net: arch.Network
    arrays: Mapping[str, np.ndarray]
    format: str = "memory"
    dialect: str = "canonical"
    ignored: tuple[str, ...] = ()
    narrowed: tuple[str, ...] = ()
    widened: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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
    """What was written: `source` as given, `target` as read back from `path`.

    `notes` says what was made of the weights on the way, a sentence each.
    """

    source: Weights
    target: Weights
    path: Path
    notes: tuple[str, ...] = ()


def load(checkpoint: str | os.PathLike[str], terms: Terms = Terms()) -> Weights:
    """Reads a published checkpoint by name, or any checkpoint by path.

    Raises:
        CheckpointError: See `read`.
        FileNotFoundError: There is no such file, or no source of it answers.
    """
    from convert import checkpoints  # Its second sources convert what they fetch.

    path, _ = checkpoints.resolve(os.fspath(checkpoint))
    return read(path, terms)


def read(path: str | os.PathLike[str], terms: Terms = Terms()) -> Weights:
    """Reads a checkpoint of any format, dialect, architecture and number of classes.

    Raises:
        CheckpointError: The file is damaged, or fits no known network, or several, or holds
            values that are not finite, or its function cannot be kept and `terms` does not
            allow the change.
        FileNotFoundError: There is no such file.
        ValueError: There is no such architecture or inflation.
    """
    path = Path(path)
    weights = _read(path, terms)
    net, arrays, notes = weights.net, weights.arrays, list(weights.notes)
    dialect = DIALECTS[weights.dialect]
    if change := dialect.change.get(net.name):
        arrays = changes.require(change, terms.allow, path).reading(net, arrays)
        notes.append(changes.CHANGES[change].about)
    if dialect.eps is not None and terms.adjust_eps:
        arrays = changes.shift_variance(net, arrays, dialect.eps)
        notes.append(f"variances shifted from {dialect.name}'s eps of {dialect.eps:g}")
    if terms.num_classes is not None and terms.num_classes != net.num_classes:
        net, arrays = classifier.replace(net, arrays, terms.num_classes, terms.seed)
        notes.append(f"a new classifier of {net.num_classes} classes")
    return replace(weights, net=net, arrays=arrays, notes=tuple(notes))


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    to: str | None = None,
    overwrite: bool = False,
    terms: Terms = Terms(),
) -> Report:
    """Converts a checkpoint; the file name of `target` says to which format.

    What was written is read back and compared, value by value, before it takes its place.

    Args:
        source: Name of a published checkpoint, or path of one in any format.
        target: The file to write, or for a TensorFlow checkpoint its prefix.
        to: The dialect; None takes the usual one of the format.
        overwrite: Whether an existing target may be replaced.
        terms: What the files do not say, and what may change.

    Raises:
        CheckpointError: The source is damaged or unknown, or what was written reads differently.
        FileExistsError: The target exists and `overwrite` is false.
        OSError: The target is a folder, or its folder takes no files.
        FileNotFoundError: There is no such source.
        ValueError: The target's name or the dialect is not known.
    """
    return write(load(source, terms), target, to, overwrite, terms)


def write(
    weights: Weights,
    target: str | os.PathLike[str],
    to: str | None = None,
    overwrite: bool = False,
    terms: Terms = Terms(),
    container: str | None = None,
) -> Report:
    """Writes weights; see `convert`. `container` names a format that the target's name does not."""
    target = Path(target)
    module = _module(target, container)
    if module.NAME in exports.EXPORTS:
        return _export(weights, module, target, to, overwrite)
    dialect = _dialect(to, module.NAME, weights.net)
    for file in module.files(target):
        check_target(file, overwrite)
    net, arrays, notes = _adapted(weights, dialect, terms, target)
    with _beside(target) as scratch:
        module.write(scratch, lazily_native(dialect, net, arrays))
        written = _read(scratch, Terms(architecture=net.name))
        check_equal(arrays, written.arrays, target)
        for file in module.files(scratch):
            os.replace(file, target.parent / file.name)
    return Report(weights, written, target, notes)


def _module(target: Path, container: str | None) -> ModuleType:
    """The format, or export, of that name; None goes by the ending of `target`."""
    if container is None:
        return exports.for_output(target) or formats.for_output(target)
    known = {**formats.FORMATS, **exports.EXPORTS}
    writable = {name: module for name, module in known.items() if module.SUFFIXES}
    if container not in writable:
        raise ValueError(
            f"no such format to write. Expected one of {', '.join(writable)}. Received:"
            f" {container!r}."
        )
    return writable[container]


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A path of the target's name in a folder beside it, which is gone afterwards."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield folder / target.name
    finally:
        shutil.rmtree(folder)


def _read(path: Path, terms: Terms) -> Weights:
    """What a file holds, as it is there."""
    container = formats.detect(path)
    native = container.read(path)
    found = detect.match(native, path, terms.architecture, terms.num_classes is not None)
    read, narrowed, widened = from_native(native, found.natives, path)
    arrays: Mapping[str, np.ndarray] = read
    notes = []
    net = found.net
    if found.headless:
        net = arch.with_classes(net, terms.num_classes or net.num_classes)
        arrays = {**arrays, **classifier.fresh(net, terms.seed)}
        notes.append(f"a new classifier of {net.num_classes} classes; the file has none")
    if found.dialect.inflates:
        net, arrays = _inflated(net, arrays, terms)
        notes.append(
            f"2-D kernels inflated ({terms.inflate}); a new classifier of {net.num_classes} classes"
        )
    return Weights(
        net,
        arrays,
        container.NAME,
        found.dialect.name,
        found.ignored,
        narrowed,
        widened,
        tuple(notes),
    )


def _inflated(
    net: arch.Network, arrays: Mapping[str, np.ndarray], terms: Terms
) -> tuple[arch.Network, dict[str, np.ndarray]]:
    """2-D arrays as those of the video network, with a new classifier."""
    net = arch.with_classes(net, terms.num_classes or net.num_classes)
    whole = {**arrays, **classifier.fresh(net, terms.seed)}
    for parameter in arch.parameters(net):
        if parameter.field == "conv.weight" and parameter.name in arrays:
            kernel = whole[parameter.name]
            whole[parameter.name] = inflation.inflate(kernel, parameter.shape[2], terms.inflate)
    return net, whole


def _adapted(
    weights: Weights, dialect: Dialect, terms: Terms, target: Path
) -> tuple[arch.Network, Mapping[str, np.ndarray], tuple[str, ...]]:
    """The weights as the dialect can hold them, and what was done to them."""
    net, arrays, notes = weights.net, weights.arrays, list(weights.notes)
    if has_scale(net) and not dialect.has_scale:
        notes.append(changes.require("fold_scale", terms.allow, target).about)
        net, arrays = fold_scale(net, arrays)
    if change := dialect.change.get(net.name):
        arrays = changes.require(change, terms.allow, target).writing(net, arrays)
        notes.append(changes.CHANGES[change].about)
    if dialect.eps is not None and terms.adjust_eps:
        arrays = changes.shift_variance(net, arrays, dialect.eps, back=True)
        notes.append(f"variances shifted to {dialect.name}'s eps of {dialect.eps:g}")
    return net, arrays, tuple(notes)


def _export(
    weights: Weights, module: ModuleType, target: Path, to: str | None, overwrite: bool
) -> Report:
    """Writes a whole model, which has no dialects."""
    if to is not None:
        raise ValueError(
            f"{target}: {module.NAME} has names of its own; leave out the dialect {to!r}"
        )
    replaces = overwrite and module.replaceable(target)
    if not replaces:
        check_target(target, overwrite)
    with _beside(target) as scratch:
        module.write(scratch, weights.net, weights.arrays)
        written = Weights(weights.net, module.read_back(scratch, weights.net), module.NAME)
        check_equal(weights.arrays, written.arrays, target)
        if replaces:
            os.replace(target, scratch.with_name("old"))
        os.replace(scratch, target)
    return Report(weights, written, target, weights.notes)


def _dialect(to: str | None, container: str, net: arch.Network) -> Dialect:
    """The dialect of that name, or the usual one of a format for a network."""
    names = [to] if to else [*USUAL_DIALECTS.get(container, ()), "canonical"]
    for name in names:
        if name not in DIALECTS:
            raise ValueError(
                f"no such dialect. Expected one of {', '.join(DIALECTS)}. Received: {name!r}."
            )
        dialect = DIALECTS[name]
        if net.name in dialect.architectures and dialect.writable:
            return dialect
    reason = (
        f"has no names for {net.name}, only for {listing(dialect.architectures)}"
        if dialect.writable
        else "can only be read"
    )
    raise ValueError(f"the dialect {name} {reason}.")
