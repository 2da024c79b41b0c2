"""A dialect: how a project names and lays out the parameters of a network; and our own dialects.

Native names are generated from canonical ones, never parsed; no layout is guessed from a shape.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

from common import arch
from common.io import CheckpointError, listing
from convert.arrays import (
    KERNEL,
    VECTOR,
    Array,
    LazyArrays,
    from_canonical,
    native_shape,
    to_canonical,
)
from convert.formats import release

Unit = tuple[str, ...]  # its path in the network: ("Mixed_3b", "Branch_0", "Conv3d_0a_1x1")
Names = Mapping[str, str]  # templates by the kind of unit: "CONVOLUTION NORM", or one for both
# The kinds that a unit is of, the most special first, and the values that templates may use.
Place = tuple[tuple[str, ...], dict[str, object]]


class Parts(tuple[str, ...]):
    """Parts of a name, which a template joins: `"{unit:/}"` by slashes."""

    def __format__(self, separator: str) -> str:
        return separator.join(self)


def fields(*templates: str) -> dict[arch.Field, str]:
    """Returns templates by field, given in the order of `arch.Field`; "" is a field it has not."""
    pairs = zip(get_args(arch.Field), templates, strict=True)
    return {name: template for name, template in pairs if template}


TORCH = fields("{}.weight", "{}.bias", "{}.weight", "{}.bias", "{}.running_mean", "{}.running_var")
MXNET = fields("{}.weight", "{}.bias", "{}.gamma", "{}.beta", "{}.running_mean", "{}.running_var")

TRACKED = ("*.num_batches_tracked",)  # of PyTorch's batch norms since 0.4.1


@dataclass(frozen=True)
class Native:
    """The place of one canonical parameter in a file of some dialect."""

    name: str | None  # None if the dialect has no place for it: it is then 0 everywhere
    shapes: Mapping[str, tuple[int, ...]]  # by layout, all that are read; the first is written
    canonical: str | None  # None for a scale that the network has not: it is then 1 everywhere
    aliases: tuple[str, ...] = ()  # other names under which the file may repeat the array


def place(net: arch.Network, unit: Unit) -> Place:
    """Returns the kinds of any unit: "head", "single" or "inner", then "unit"; and its path."""
    kind = "head" if unit[0] == net.head.name else "inner" if unit[1:] else "single"
    return (kind, "unit"), {"unit": Parts(unit), "outer": unit[0], "inner": Parts(unit[1:])}


@dataclass(frozen=True)
class Dialect:
    """The dialect of one or more architectures."""

    name: str  # on the command line
    about: str  # whose it is
    names: Names
    fields: Mapping[arch.Field, str]
    architectures: tuple[str, ...] = ("inception_i3d",)
    place: Callable[[arch.Network, Unit], Place] = place
    kernel: str = KERNEL  # its layout; without "T" of a 2-D network, whose kernels are inflated
    classifier: tuple[str, ...] = ()  # layouts of its kernel if others: all read, the first written
    vectors: Mapping[arch.Field, tuple[str, ...]] = field(default_factory=dict)  # layouts, likewise
    has_ones: bool = False  # whether batch norm has a scale of ones where a network has none
    absent: tuple[tuple[str, arch.Field], ...] = ()  # fields of units that have no place
    aliases: tuple[Names, ...] = ()  # names under which files repeat arrays
    # The prefix of every name, by the network's input channels.
    scopes: Mapping[int | None, str] = field(default_factory=lambda: {None: ""})
    ignored: tuple[str, ...] = ()  # fnmatch's patterns of names that are no parameters
    tag: str | None = None  # an array that holds the architecture's name in ASCII
    eps: float | None = None  # its owner's of batch norm, if not the one of the training
    change: Mapping[str, str] = field(default_factory=dict)  # in `convert.changes`, by architecture
    writable: bool = True

    @property
    def has_scale(self) -> bool:
        return "norm.weight" in self.fields

    @property
    def inflates(self) -> bool:
        return "T" not in self.kernel

    def natives(self, net: arch.Network, scope: str | None = None) -> list[Native]:
        """Returns all arrays of a file that holds `net`, in the order of its parameters.

        `scope` is the prefix of every name; None is the one that is written for the network.
        """
        if scope is None:
            scope = self.scopes.get(net.in_channels, self.scopes[None])
        adds_scale = self.has_ones and not has_scale(net)
        found = []
        for parameter in arch.parameters(net):
            if self.inflates and parameter.unit[0] == net.head.name:
                continue  # an image classifier is of no use
            if parameter.field == "norm.bias" and adds_scale:
                scale = arch.Parameter(parameter.unit, "norm.weight", parameter.shape)
                found.append(self.native(net, scope, scale, canonical=None))
            found.append(self.native(net, scope, parameter, parameter.name))
        return found

    def native(
        self, net: arch.Network, scope: str, parameter: arch.Parameter, canonical: str | None
    ) -> Native:
        layouts = self.vectors.get(parameter.field, (VECTOR,))
        if parameter.field == "conv.weight":
            is_classifier = parameter.unit[0] == net.head.name
            layouts = (is_classifier and self.classifier) or (self.kernel,)
        shapes = {layout: native_shape(parameter.shape, layout) for layout in layouts}
        if (parameter.unit[-1], parameter.field) in self.absent:
            return Native(None, shapes, canonical)
        name, *aliases = (scope + name for name in self._names(net, parameter))
        return Native(name, shapes, canonical, tuple(aliases))

    def _names(self, net: arch.Network, parameter: arch.Parameter) -> Iterator[str]:
        kinds, values = self.place(net, parameter.unit)
        for names in (self.names, *self.aliases):
            if template := next((names[kind] for kind in kinds if kind in names), None):
                conv, *norm = template.format(**values).split()
                stem = norm[0] if norm and parameter.field.startswith("norm") else conv
                yield self.fields[parameter.field].format(stem)


def has_scale(net: arch.Network) -> bool:
    return any(parameter.field == "norm.weight" for parameter in arch.parameters(net))


def to_native(dialect: Dialect, net: arch.Network, arrays: Mapping[str, Array]) -> LazyArrays:
    """Returns canonical arrays under a dialect's names and in its layouts, each made on demand.

    ValueError if the dialect has no place for a parameter that is not 0.
    """

    def native_of(name: str, layout: str) -> Array:
        return from_canonical(arrays[name], layout)

    result = LazyArrays()
    for native in dialect.natives(net):
        layout, shape = next(iter(native.shapes.items()))
        if native.name is None:
            if np.any(arrays[str(native.canonical)]):
                raise ValueError(f"{dialect.name} has no place for {native.canonical}")
        elif native.canonical is None:
            result.add(native.name, shape, partial(np.ones, shape, np.float32))
        else:
            result.add(native.name, shape, partial(native_of, native.canonical, layout))
    if dialect.tag:
        tag = np.frombuffer(net.name.encode("ascii"), np.uint8)
        result.add(dialect.tag, tag.shape, lambda: tag)
    return result


def from_native(
    native: Mapping[str, Array], places: Iterable[Native], path: Path
) -> tuple[LazyArrays, Counter[str]]:
    """Returns a file's parameters as float32 by canonical name, made on demand; and other types.

    These are counted. Arrays of no floating-point numbers, or not finite, are a CheckpointError.
    """
    arrays, wrong, types = LazyArrays(), [], Counter[str]()
    for place in places:
        if place.canonical is None:
            continue
        if place.name is None:
            shape = next(iter(place.shapes.values()))
            arrays.add(place.canonical, shape, partial(np.zeros, shape, np.float32))
            continue
        array = native[place.name]
        if array.dtype.kind != "f":
            raise CheckpointError(f"{path}: {place.name} is {array.dtype}, not floating-point.")
        types[array.dtype.name] += 1
        canonical = _canonical_array(array, place)
        arrays.add(place.canonical, canonical.shape, partial(_read, native, place))
        if not np.isfinite(canonical).all():
            wrong.append(place.canonical)
        release(array)
        del array, canonical  # before the next is made
    if wrong:
        raise CheckpointError(f"{path}: values that are not finite in {listing(wrong)}.")
    del types["float32"]
    return arrays, types


def _read(native: Mapping[str, Array], place: Native) -> Array:
    return _canonical_array(native[str(place.name)], place)


def _canonical_array(array: Array, place: Native) -> Array:
    layout = next(name for name, shape in place.shapes.items() if shape == array.shape)
    canonical = to_canonical(array, layout)
    if canonical.dtype == np.float32:
        return canonical
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        converted = canonical.astype(np.float32)
    release(array)
    return converted


# Our own have names for every architecture; some differ in strides alone, so that files have a tag.

CANONICAL = Dialect(
    name="canonical",
    about="this project: the state dict of i3d_torch",
    names={"unit": "{unit:.}.conv {unit:.}.norm"},
    fields=TORCH,
    architectures=tuple(arch.ARCHITECTURES),
    # The rest of a training run's snapshot; see `common.training`.
    ignored=("momentum/*", "average/*", "scaler/*", "run"),
    tag="architecture",
)

SONNET = Dialect(
    name="sonnet",
    about="this project: the variables of i3d_tf",
    # The object paths that tf.train.Checkpoint and SavedModel name variables by.
    names={
        "single": "layers/{outer}/conv layers/{outer}/norm",
        "unit": "layers/{outer}/parts/{inner:/}/conv layers/{outer}/parts/{inner:/}/norm",
    },
    fields=fields("{}/w", "{}/b", "{}/weight", "{}/bias", "{}/running_mean", "{}/running_var"),
    architectures=tuple(arch.ARCHITECTURES),
    kernel="THWIO",
    ignored=("save_counter", "step", "global_step", "optimizer/*", "*/.OPTIMIZER_SLOT/*"),
    tag="architecture",
)

LINEN = Dialect(
    name="linen",
    about="this project: nested as flax.linen nests its variables",
    names={"unit": "{unit::}:conv {unit::}:norm"},
    fields=fields(
        *("params:{}:kernel", "params:{}:bias", "params:{}:scale", "params:{}:bias"),
        *("batch_stats:{}:mean", "batch_stats:{}:var"),
    ),
    architectures=tuple(arch.ARCHITECTURES),
    kernel="THWIO",
    tag="meta:architecture",
)

CAFFE2 = Dialect(
    name="caffe2",
    about="this project: Caffe2 blobs of networks that Caffe2 never had",
    names={"unit": "{unit:_} {unit:_}_bn"},
    # `_riv` sounds like an inverse, but holds the running variance.
    fields=fields("{}_w", "{}_b", "{}_s", "{}_b", "{}_rm", "{}_riv"),
    architectures=tuple(arch.ARCHITECTURES),
    # The fully convolutional test net has a convolution in place of the linear layer.
    classifier=("OI", "OITHW"),
    ignored=("*_momentum", "lr", "model_iter"),
    # Loaders look for the blobs they know; one more does no harm.
    tag="architecture",
)
