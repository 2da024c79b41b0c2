"""Reads and writes weights of any format and dialect, with canonical arrays in the middle."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np

from common import arch
from common.io import CheckpointError, check_target, listing, scratch_folder
from common.settings import setting
from convert import changes, detect, formats, published
from convert.arrays import Array
from convert.dialects import DIALECTS, Dialect, from_native, has_scale, to_native
from convert.exports import EXPORTS, Export
from convert.formats import FORMATS, release

STREAMS = {3: "rgb", 2: "flow"}

# The dialects that owners of a format expect in it: the first that knows the architecture is
# written, and our own names for all others.
USUAL_DIALECTS = {
    "tf1_checkpoint": ("kinetics_i3d", "sonnet"),
    "tf2_checkpoint": ("sonnet",),
    "flax_pickle": ("flax", "linen"),
    "flax_msgpack": ("flax", "linen"),
    "caffe2_pkl": ("nonlocal_net", "pyslowfast_caffe2", "vmz", "caffe2"),
    "mindspore_ckpt": ("mindspore",),
}


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """What files do not say, and what may change on the way; the fields are flags, too.

    Attributes:
        seed: Of the random values of a new classifier.
    """

    architecture: str | None = setting(
        "Which network the weights are of, where their names fit several.",
        None,
        choices=lambda: arch.ARCHITECTURES,
    )
    allow: tuple[str, ...] = setting(
        "Changes that may be made where a conversion cannot be exact. "
        + " ".join(f"{name}: {change.about}." for name, change in changes.CHANGES.items()),
        (),
        choices=tuple(changes.CHANGES),
        repeated=True,
    )
    adjust_eps: bool = setting(
        "Take the difference between both sides' eps of batch norm into the running variances.",
        False,
    )
    num_classes: int | None = setting(
        "Replace the classifier by a new one of this many classes.", None, minimum=1
    )
    inflate: str = setting(
        "How 2-D kernels become 3-D ones: divided by their length and repeated, or in the centre.",
        "repeat",
        choices=changes.INFLATIONS,
    )
    seed: int = 0


DEFAULTS = ConversionOptions()


@dataclass(frozen=True)
class Weights:
    """The weights of a network.

    Attributes:
        net: The network they belong to.
        arrays: float32 by canonical name in the canonical layout, in the network's order. They
            may be strided, read-only views of the file.
        format: The format of their file.
        dialect: The dialect of their names there.
        ignored: Names in the file that are no parameters: optimiser slots and counters.
        narrowed: Names whose numbers were of a wider type than float32.
        widened: Names whose numbers were of a narrower one.
        notes: How they were changed on the way, a sentence each.
        path: The file they were read from (for a TensorFlow checkpoint, its prefix).
        row: What is known about a published checkpoint.
    """

    net: arch.Network
    arrays: Mapping[str, Array]
    format: str = "memory"
    dialect: str = "canonical"
    ignored: tuple[str, ...] = ()
    narrowed: tuple[str, ...] = ()
    widened: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    path: Path | None = None
    row: published.Checkpoint | None = None

    @property
    def stream(self) -> str:
        """Either rgb, flow, or how many channels the network takes."""
        return STREAMS.get(self.net.in_channels, f"{self.net.in_channels} channels")

    @property
    def numbers(self) -> int:
        """How many numbers the network holds, running statistics included."""
        return arch.count(self.net, trainable_only=False)


@dataclass(frozen=True)
class Report:
    """A conversion: the weights as given, and as read back from `path`.

    Attributes:
        source: The weights before it.
        target: The weights in the file that was written.
        path: That file.
        notes: How the weights were changed on the way, a sentence each.
    """

    source: Weights
    target: Weights
    path: Path
    notes: tuple[str, ...] = ()


def load(checkpoint: str | os.PathLike[str], options: ConversionOptions = DEFAULTS) -> Weights:
    """Reads a published checkpoint by name, or any checkpoint by path.

    Raises:
        CheckpointError, ValueError: See `read`.
        FileNotFoundError: There is no such file, or no source of it answers.
    """
    path, row = published.resolve(os.fspath(checkpoint))
    return replace(read(path, options), row=row)


def read(path: str | os.PathLike[str], options: ConversionOptions = DEFAULTS) -> Weights:
    """Reads a checkpoint of any format, dialect, architecture and number of classes.

    Raises:
        CheckpointError: The file is damaged, or fits no known network, or several, or holds
            values that are not finite, or its function cannot be kept and `options` does not
            allow the change.
        FileNotFoundError: There is no such file.
        ValueError: There is no such architecture or inflation.
    """
    path = Path(path)
    module = formats.detect(path)
    return identify(module.read(path), path, module.NAME, options)


def identify(
    native: Mapping[str, Array], path: Path, format: str, options: ConversionOptions = DEFAULTS
) -> Weights:
    """Returns the weights of a file from its arrays, as its format `format` reads them.

    The changes that `options` asks for are made. Raises what `read` raises.
    """
    weights = _as_stored(native, path, format, options)
    net, arrays, notes = weights.net, weights.arrays, list(weights.notes)
    dialect = DIALECTS[weights.dialect]
    if change := dialect.change.get(net.name):
        arrays = changes.require(change, options.allow, path).reading(net, arrays)
        notes.append(changes.CHANGES[change].about)
    if dialect.eps is not None and options.adjust_eps:
        arrays = changes.shift_variance(net, arrays, dialect.eps - changes.norm_eps(net))
        notes.append(f"variances shifted from {dialect.name}'s eps of {dialect.eps:g}")
    if options.num_classes is not None and options.num_classes != net.num_classes:
        net, arrays = changes.new_classifier(net, arrays, options.num_classes, options.seed)
        notes.append(f"a new classifier of {net.num_classes} classes")
    return replace(weights, net=net, arrays=arrays, notes=tuple(notes))


def average(checkpoints: Sequence[Weights]) -> Weights:
    """Returns the mean of weights of one network, statistics included, summed in float64.

    Raises:
        CheckpointError: They are not of one network.
    """
    first, *others = checkpoints
    for other in others:
        if other.net != first.net:
            raise CheckpointError(
                "only weights of one network can be averaged. Received: "
                + " and ".join(
                    f"{w.net.name} of {w.net.num_classes} classes ({w.stream})"
                    for w in (first, other)
                )
            )
    arrays = {}
    for name in first.arrays:
        total = np.zeros(first.arrays[name].shape, np.float64)
        for weights in checkpoints:
            total += weights.arrays[name]
        arrays[name] = (total / len(checkpoints)).astype(np.float32)
    notes = dict.fromkeys(note for weights in checkpoints for note in weights.notes)
    mean = f"the mean of {len(checkpoints)} checkpoints"
    return replace(first, arrays=arrays, notes=(*notes, mean))


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    to: str | None = None,
    overwrite: bool = False,
    options: ConversionOptions = DEFAULTS,
) -> Report:
    """Converts a checkpoint; the file name of `target` says to which format.

    The file is read back and compared, value by value, before it takes its place.

    Args:
        source: Name of a published checkpoint, or path of one in any format.
        target: The file to write, or for a TensorFlow checkpoint its prefix.
        to: The dialect; None takes the usual one of the format.
        overwrite: Whether an existing target may be replaced.
        options: What the files do not say, and what may change.

    Raises:
        CheckpointError: The source is damaged or unknown, or what was written reads differently.
        OSError: There is no such source, or the target exists or cannot be written.
        ValueError: The target's name or the dialect is not known.
    """
    return write(load(source, options), target, to, overwrite, options)


def write(
    weights: Weights,
    target: str | os.PathLike[str],
    to: str | None = None,
    overwrite: bool = False,
    options: ConversionOptions = DEFAULTS,
    format: str | None = None,
) -> Report:
    """Writes weights; see `convert`. `format` names the format where the target's name does not."""
    target = Path(target)
    module = _format(target, format)
    if isinstance(module, Export):
        if to is not None:
            raise ValueError(
                f"{target}: {module.name} has names of its own; leave out the dialect {to!r}"
            )
        return _export(weights, module, target, overwrite)
    dialect = _dialect(to, module.NAME, weights.net)
    for file in module.files(target):
        check_target(file, overwrite)
    net, arrays, notes = _adapted(weights, dialect, options, target)
    with scratch_folder(target) as folder:
        scratch = folder / target.name
        module.write(scratch, to_native(dialect, net, arrays))
        name = ConversionOptions(architecture=net.name)
        written = _as_stored(module.read(scratch), scratch, module.NAME, name)
        check_equal(arrays, written.arrays, target)
        for file in module.files(scratch):
            os.replace(file, target.parent / file.name)
    return Report(weights, replace(written, path=target), target, notes)


def check_equal(
    expected: Mapping[str, Array], received: Mapping[str, Array], path: Path | str
) -> None:
    """Raises CheckpointError unless names are the same and arrays equal bit by bit."""
    wrong = expected.keys() ^ received.keys()
    for name in expected.keys() & received.keys():
        one, other = expected[name], received[name]
        # Of finite numbers that are equal, only zeros differ: in their sign.
        if not (np.array_equal(one, other) and np.array_equal(np.signbit(one), np.signbit(other))):
            wrong |= {name}
        release(one)
        release(other)
    if wrong:
        raise CheckpointError(
            f"{path}: reading back what was written gave other values for {listing(wrong)};"
            " nothing was kept. Please report this."
        )


def _format(target: Path, format: str | None) -> ModuleType | Export:
    """Returns the format or export of that name; None goes by the ending of `target`."""
    if format is None:
        name = target.name.lower()
        export = next((e for e in EXPORTS.values() if name.endswith(e.suffix)), None)
        return export or formats.for_output(target)
    writable = {name: module for name, module in FORMATS.items() if module.SUFFIXES} | EXPORTS
    if format not in writable:
        raise ValueError(
            f"no such format to write. Expected one of {', '.join(writable)}. Received: {format!r}."
        )
    return writable[format]


def _as_stored(
    native: Mapping[str, Array], path: Path, format: str, options: ConversionOptions
) -> Weights:
    """Returns the weights of a file as they are there; those of 2-D networks are inflated."""
    found = detect.match(native, path, options.architecture, options.num_classes is not None)
    read, narrowed, widened = from_native(native, found.natives, path)
    net, inflates, notes = found.net, found.dialect.inflates, list[str]()
    arrays: Mapping[str, Array] = read
    if inflates or found.headless:
        classes = options.num_classes or net.num_classes
        net, whole = changes.new_classifier(net, read, classes, options.seed)
        for p in arch.parameters(net):
            if inflates and p.field == "conv.weight" and p.name in read:
                whole[p.name] = changes.inflate(read[p.name], p.shape[2], options.inflate)
        arrays = whole
        new = f"a new classifier of {classes} classes"
        how = f"2-D kernels inflated ({options.inflate}); {new}"
        notes.append(how if inflates else f"{new}; the file has none")
    kinds = found.ignored, narrowed, widened
    return Weights(net, arrays, format, found.dialect.name, *kinds, tuple(notes), path)


def _adapted(
    weights: Weights, dialect: Dialect, options: ConversionOptions, target: Path
) -> tuple[arch.Network, Mapping[str, Array], tuple[str, ...]]:
    """Returns the weights as the dialect can hold them, and how they were changed for it."""
    net, arrays, notes = weights.net, weights.arrays, list(weights.notes)
    if has_scale(net) and not dialect.has_scale:
        notes.append(changes.require("fold_scale", options.allow, target).about)
        net, arrays = changes.fold_scale(net, arrays)
    if change := dialect.change.get(net.name):
        arrays = changes.require(change, options.allow, target).writing(net, arrays)
        notes.append(changes.CHANGES[change].about)
    if dialect.eps is not None and options.adjust_eps:
        arrays = changes.shift_variance(net, arrays, changes.norm_eps(net) - dialect.eps)
        notes.append(f"variances shifted to {dialect.name}'s eps of {dialect.eps:g}")
    return net, arrays, tuple(notes)


def _export(weights: Weights, export: Export, target: Path, overwrite: bool) -> Report:
    """Writes a whole model, which has no dialects."""
    replaces = overwrite and export.is_at(target)
    if not replaces:
        check_target(target, overwrite)
    module = export.load()
    with scratch_folder(target) as folder:
        scratch = folder / target.name
        module.write(scratch, weights.net, weights.arrays)
        arrays = module.read_back(scratch, weights.net)
        check_equal(weights.arrays, arrays, target)
        if replaces:
            os.replace(target, folder / "old")  # a folder with content cannot be replaced
        os.replace(scratch, target)
    written = Weights(weights.net, arrays, export.name, path=target)
    return Report(weights, written, target, weights.notes)


def _dialect(to: str | None, format: str, net: arch.Network) -> Dialect:
    """Returns the dialect of that name, or the usual one of a format for a network."""
    names = [to] if to else [*USUAL_DIALECTS.get(format, ()), "canonical"]
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
