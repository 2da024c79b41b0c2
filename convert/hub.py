"""Reads and writes weights of any format and dialect, with canonical arrays in the middle."""

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common import arch
from common.io import CheckpointError, check_target, listing, scratch_folder
from common.settings import setting
from convert import changes, detect, formats, published
from convert.arrays import Array
from convert.dialects import DIALECTS, Dialect, from_native, has_scale, to_native
from convert.formats import FORMATS, release

STREAMS = {3: "rgb", 2: "flow"}

# The dialects that owners of a format expect in it: the first that knows the architecture is
# written, and our own names for all others.
USUAL_DIALECTS = {
    "tf2_checkpoint": ("sonnet",),
    "tf1_checkpoint": ("kinetics_i3d", "sonnet"),
    "flax_pickle": ("flax", "linen"),
    "flax_msgpack": ("flax", "linen"),
    "caffe2_pkl": ("nonlocal_net", "pyslowfast_caffe2", "vmz", "caffe2"),
    "mindspore_ckpt": ("mindspore",),
}


@dataclass(frozen=True)
class Export:
    """A format of whole models, which is only written."""

    suffix: str
    module: str  # with write(path, net, arrays), read_back(path, net) and run(path, clips)
    runtime: str  # the package that runs its models
    marker: str = ""  # a file by which a folder of this format is recognised


EXPORTS = {
    "onnx": Export(".onnx", "convert.onnx_model", "onnxruntime"),
    "saved_model": Export(".savedmodel", "i3d_tf.saved_model", "tensorflow", "saved_model.pb"),
}

SUFFIXES = {
    **{name: tuple(module.SUFFIXES) for name, module in FORMATS.items() if module.SUFFIXES},
    **{name: (export.suffix,) for name, export in EXPORTS.items()},
}
"""The endings of each format that can be written, exports included."""


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """What files do not say, and what may change on the way; the fields are flags, too."""

    architecture: str | None = setting(
        "Which network the weights are of, where their names fit several.",
        None,
        choices=arch.ARCHITECTURES,
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
    seed: int = 0  # of the random values of a new classifier


DEFAULTS = ConversionOptions()


@dataclass(frozen=True)
class Weights:
    net: arch.Network
    # float32 by canonical name, in the network's order; maybe strided, read-only views of the file.
    arrays: Mapping[str, Array]
    format: str = "memory"
    dialect: str = "canonical"
    ignored: tuple[str, ...] = ()  # names in the file that are no parameters: slots, counters
    notes: tuple[str, ...] = ()  # how they were changed on the way, a sentence each
    path: Path | None = None  # the file; for a TensorFlow checkpoint, its prefix
    row: published.Checkpoint | None = None  # what is known about a published checkpoint

    @property
    def stream(self) -> str:
        return STREAMS.get(self.net.in_channels, f"{self.net.in_channels} channels")

    @property
    def numbers(self) -> int:
        return arch.count(self.net, trainable_only=False)


def load(checkpoint: str | os.PathLike[str], options: ConversionOptions = DEFAULTS) -> Weights:
    """Reads a published checkpoint by name, or any checkpoint by path; see `read`."""
    path, row = published.resolve(os.fspath(checkpoint))
    if row and options.architecture is None:
        options = replace(options, architecture=row.architecture)
    return replace(read(path, options), row=row)


def read(path: str | os.PathLike[str], options: ConversionOptions = DEFAULTS) -> Weights:
    """Reads a checkpoint of any format, dialect, architecture and number of classes.

    CheckpointError if the file is damaged, fits no known network, or several, holds values that are
    not finite, or needs a change that is not allowed; FileNotFoundError if it is not there.
    """
    path = Path(path)
    module = formats.detect(path)
    return identify(module.read(path), path, module.NAME, options)


def identify(
    native: Mapping[str, Array], path: Path, format: str, options: ConversionOptions = DEFAULTS
) -> Weights:
    """Returns the weights of a file from its native arrays; see `read`."""
    found = detect.match(native, path, options.architecture, options.num_classes is not None)
    net, dialect = found.net, found.dialect
    read, types = from_native(native, found.natives, path)
    notes = [f"{n} of {len(read)} arrays are {name}, here float32" for name, n in types.items()]
    arrays, changed = _changed(net, read, dialect, options, path, reading=True)
    classes = options.num_classes or net.num_classes
    head = f"{net.head.name}.{net.head.conv.name}.conv.weight"
    if head not in read or classes != net.num_classes:
        net, arrays = changes.new_classifier(net, arrays, classes, options.seed)
        changed.append(f"a new classifier of {classes} classes")
    if dialect.inflates:
        kernels = {p.name: p.shape[2] for p in arch.parameters(net) if p.field == "conv.weight"}
        arrays = dict(arrays)
        for name in kernels.keys() & read.keys():
            arrays[name] = changes.inflate(read[name], kernels[name], options.inflate)
        changed.append(f"2-D kernels inflated ({options.inflate})")
    notes += changed
    return Weights(net, arrays, format, dialect.name, found.ignored, tuple(notes), path)


def average(checkpoints: Sequence[Weights]) -> Weights:
    """Returns the mean of weights of one network, statistics included, summed in float64."""
    nets = {weights.net: weights for weights in checkpoints}
    if len(nets) > 1:
        kinds = (f"{n.name} of {n.num_classes} classes ({w.stream})" for n, w in nets.items())
        raise CheckpointError(f"weights of several networks have no average: {', '.join(kinds)}")
    first, arrays = checkpoints[0], {}
    for name in first.arrays:
        total = sum(weights.arrays[name].astype(np.float64) for weights in checkpoints)
        arrays[name] = np.asarray(total / len(checkpoints), np.float32)
    notes = dict.fromkeys(note for weights in checkpoints for note in weights.notes)
    mean = f"the mean of {len(checkpoints)} checkpoints"
    return replace(first, arrays=arrays, notes=(*notes, mean))


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    to: str | None = None,
    overwrite: bool = False,
    options: ConversionOptions = DEFAULTS,
) -> Weights:
    """Converts a checkpoint, by published name or path; see `load` and `write`."""
    return write(load(source, options), target, to, overwrite, options)


def write(
    weights: Weights,
    target: str | os.PathLike[str],
    to: str | None = None,
    overwrite: bool = False,
    options: ConversionOptions = DEFAULTS,
    format: str | None = None,
) -> Weights:
    """Writes weights, which are read back and compared before the file takes its place.

    `target` is the file, or for a TensorFlow checkpoint its prefix; its ending chooses the format
    where `format` is None. `to` is the dialect, by default the usual one of the format. Returns the
    weights in the file, with notes on how they were changed on the way.

    CheckpointError if the dialect cannot hold them exactly, or they read back differently,
    ValueError if the target's ending or the dialect is not known.
    """
    target = Path(target)
    format = format or format_of(target)
    if format in EXPORTS:
        if to is not None:
            raise ValueError(f"{format} has names of its own; leave out the dialect {to!r}.")
        return _export(weights, format, target, overwrite)
    module, dialect = FORMATS[format], _dialect(to, format, weights.net)
    for file in module.files(target):
        check_target(file, overwrite)
    net, arrays, notes = weights.net, weights.arrays, [*weights.notes]
    if has_scale(net) and not dialect.has_scale:
        notes.append(changes.require("fold_scale", options.allow, target).about)
        net, arrays = changes.fold_scale(net, arrays)
    arrays, changed = _changed(net, arrays, dialect, options, target, reading=False)
    with scratch_folder(target) as folder:
        scratch = folder / target.name
        module.write(scratch, to_native(dialect, net, arrays))
        native = module.read(scratch)
        found = detect.match(native, scratch, net.name)
        written, _ = from_native(native, found.natives, scratch)
        check_equal(arrays, written, target)
        for file in module.files(scratch):
            os.replace(file, target.parent / file.name)
    kinds = format, found.dialect.name
    return Weights(found.net, written, *kinds, notes=(*notes, *changed), path=target)


def format_of(target: Path) -> str:
    """Returns the format that the ending of a file to write asks for; ValueError for others."""
    endings = {ending: name for name, suffixes in SUFFIXES.items() for ending in suffixes}
    for ending in sorted(endings, key=len, reverse=True):  # .tf2.ckpt before .ckpt
        if target.name.lower().endswith(ending):
            return endings[ending]
    known = ", ".join(sorted(endings))
    raise ValueError(f"{target}: the ending chooses the format; expected one of {known}")


def check_equal(
    expected: Mapping[str, Array], received: Mapping[str, Array], path: Path | str
) -> None:
    """Raises CheckpointError unless names are the same and arrays equal bit by bit."""
    wrong = expected.keys() ^ received.keys()
    for name in expected.keys() & received.keys():
        one, other = (np.asarray(each[name], np.float32) for each in (expected, received))
        if not np.array_equal(one.view(np.int32), other.view(np.int32)):
            wrong |= {name}
        release(one)
        release(other)
    if wrong:
        raise CheckpointError(f"{path}: reading back gave other values for {listing(wrong)}.")


def _changed(
    net: arch.Network,
    arrays: Mapping[str, Array],
    dialect: Dialect,
    options: ConversionOptions,
    path: Path,
    reading: bool,
) -> tuple[Mapping[str, Array], list[str]]:
    notes = []
    if name := dialect.change.get(net.name):
        change = changes.require(name, options.allow, path)
        arrays = (change.reading if reading else change.writing)(net, arrays)
        notes.append(change.about)
    if dialect.eps is not None and options.adjust_eps:
        shift = dialect.eps - changes.norm_eps(net)
        arrays = changes.shift_variance(net, arrays, shift if reading else -shift)
        way = "from" if reading else "to"
        notes.append(f"variances shifted {way} {dialect.name}'s eps of {dialect.eps:g}")
    return arrays, notes


def _export(weights: Weights, name: str, target: Path, overwrite: bool) -> Weights:
    export = EXPORTS[name]
    replaces = overwrite and (target / export.marker).is_file()
    if not replaces:
        check_target(target, overwrite)
    module = importlib.import_module(export.module)  # an ImportError says what to install
    with scratch_folder(target) as folder:
        scratch = folder / target.name
        module.write(scratch, weights.net, weights.arrays)
        arrays = module.read_back(scratch, weights.net)
        check_equal(weights.arrays, arrays, target)
        if replaces:
            os.replace(target, folder / "old")  # a folder with content cannot be replaced
        os.replace(scratch, target)
    return Weights(weights.net, arrays, name, notes=weights.notes, path=target)


def _dialect(to: str | None, format: str, net: arch.Network) -> Dialect:
    for name in (to,) if to else (*USUAL_DIALECTS.get(format, ()), "canonical"):
        dialect = DIALECTS.get(name)
        if dialect and dialect.writable and net.name in dialect.architectures:
            return dialect
    if to is None or to not in DIALECTS:
        raise ValueError(f"no such dialect: {to!r}. Expected one of {', '.join(DIALECTS)}.")
    lacks = f"has no names for {net.name}" if DIALECTS[to].writable else "can only be read"
    raise ValueError(f"the dialect {to} {lacks}.")
