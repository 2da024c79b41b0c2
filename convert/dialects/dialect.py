"""A dialect: how a project names and lays out the parameters of a network.

A dialect generates native names from canonical ones and is inverted by a dictionary; foreign names
are never parsed, and no layout is guessed from a shape.
"""

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

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

Unit = tuple[str, ...]
"""The path of a unit in its network, outermost first: ("Mixed_3b", "Branch_0", "Conv3d_0a_1x1")."""

TORCH: Mapping[arch.Field, str] = {
    "conv.weight": "{unit}.weight",
    "conv.bias": "{unit}.bias",
    "norm.weight": "{unit}.weight",
    "norm.bias": "{unit}.bias",
    "norm.running_mean": "{unit}.running_mean",
    "norm.running_var": "{unit}.running_var",
}
"""The fields of PyTorch's layers."""

MXNET: Mapping[arch.Field, str] = {
    **TORCH,
    "norm.weight": "{unit}.gamma",
    "norm.bias": "{unit}.beta",
}
"""The fields of MXNet's layers."""

TRACKED = ("*.num_batches_tracked",)
"""A counter that PyTorch adds to every batch norm since 0.4.1."""


class Stems(NamedTuple):
    """The native names of a unit whose batch norm is not named like its convolution."""

    conv: str
    norm: str


@dataclass(frozen=True)
class Native:
    """The place of one canonical parameter in a file of some dialect.

    Attributes:
        name: The name in the file; None where the dialect has no place for the parameter, which
            is then 0 everywhere.
        shapes: The shapes it may have there, by layout; the first layout is the one written.
        canonical: The canonical name; None for an array that the network has no parameter for
            and that holds `fill` everywhere.
        fill: The neutral value of such an array.
        aliases: Other names under which the file may repeat the array.
    """

    name: str | None
    shapes: Mapping[str, tuple[int, ...]]
    canonical: str | None
    fill: float | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dialect:
    """The dialect of one or more architectures.

    Attributes:
        name: Its name on the command line.
        about: Whose it is.
        unit: Returns the native name of a unit of a network, or its two.
        fields: The native name of each field, as a template with "{unit}". A field that is not
            here does not exist in the dialect.
        architectures: The architectures it has names for.
        kernel: The layout of kernels. Without "T" it is that of a 2-D network, whose kernels are
            inflated.
        classifier: Layouts of the classifier's kernel where they are not `kernel`; all are read,
            the first is written.
        vectors: Layouts of vectors by field where they are not "C"; likewise.
        exceptions: Irregular native unit names, by the regular ones.
        fills: The neutral value of fields that the dialect always has and a network may not have.
        absent: Fields, with the last part of their unit, that a network has and the dialect has
            not.
        aliases: Returns other native names of a unit, under which files repeat its arrays.
        scopes: The prefix of every name, by the network's input channels (None: any other).
        other_scopes: Further prefixes that are read.
        ignored: Patterns of names that are no parameters (optimiser slots, counters).
        tag: The name of an array that holds the architecture's name in ASCII; None without.
        eps: The eps of batch norm in its owner's code, where the weights were not trained with it.
        change: The change that the weights' function undergoes, a name in `convert.changes`, by
            architecture.
        writable: Whether it can be written.
    """

    name: str
    about: str
    unit: Callable[[arch.Network, Unit], str | Stems]
    fields: Mapping[arch.Field, str]
    architectures: tuple[str, ...] = ("inception_i3d",)
    kernel: str = KERNEL
    classifier: tuple[str, ...] = ()
    vectors: Mapping[arch.Field, tuple[str, ...]] = field(default_factory=dict)
    exceptions: Mapping[str, str] = field(default_factory=dict)
    fills: Mapping[arch.Field, float] = field(default_factory=dict)
    absent: tuple[tuple[str, arch.Field], ...] = ()
    aliases: Callable[[arch.Network, Unit], tuple[str | Stems, ...]] = lambda net, unit: ()
    scopes: Mapping[int | None, str] = field(default_factory=lambda: {None: ""})
    other_scopes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    tag: str | None = None
    eps: float | None = None
    change: Mapping[str, str] = field(default_factory=dict)
    writable: bool = True

    @property
    def has_scale(self) -> bool:
        """Whether batch norm has a scale here."""
        return "norm.weight" in self.fields

    @property
    def inflates(self) -> bool:
        """Whether its kernels have no time axis."""
        return "T" not in self.kernel

    def natives(self, net: arch.Network, scope: str | None = None) -> list[Native]:
        """Returns all arrays of a file that holds `net`, in the order of its parameters.

        Args:
            net: The network.
            scope: The prefix of every name; None is the one that is written for the network.
        """
        if scope is None:
            scope = self.scopes.get(net.in_channels, self.scopes[None])
        adds_scale = "norm.weight" in self.fills and not has_scale(net)
        found = []
        for parameter in arch.parameters(net):
            if self.inflates and parameter.unit[0] == net.head.name:
                continue  # an image classifier is of no use
            if parameter.field == "norm.bias" and adds_scale:
                scale = arch.Parameter(parameter.unit, "norm.weight", parameter.shape)
                found.append(self.native(net, scale, scope, self.fills["norm.weight"]))
            found.append(self.native(net, parameter, scope))
        return found

    def native(
        self,
        net: arch.Network,
        parameter: arch.Parameter,
        scope: str = "",
        fill: float | None = None,
    ) -> Native:
        """Returns the place of one parameter of `net`, or of one it lacks that holds `fill`."""
        layouts = self.vectors.get(parameter.field, (VECTOR,))
        if parameter.field == "conv.weight":
            is_classifier = parameter.unit[0] == net.head.name
            layouts = (is_classifier and self.classifier) or (self.kernel,)
        shapes = {layout: native_shape(parameter.shape, layout) for layout in layouts}
        if (parameter.unit[-1], parameter.field) in self.absent:
            return Native(None, shapes, parameter.name)
        units = (self.unit(net, parameter.unit), *self.aliases(net, parameter.unit))
        name, *aliases = (scope + self._name(unit, parameter.field) for unit in units)
        canonical = parameter.name if fill is None else None
        return Native(name, shapes, canonical, fill, tuple(aliases))

    def ignores(self, name: str) -> bool:
        """Returns whether an array of this name is no parameter."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.ignored)

    def _name(self, unit: str | Stems, which: arch.Field) -> str:
        stem = unit if isinstance(unit, str) else getattr(unit, which.split(".")[0])
        return self.fields[which].format(unit=self.exceptions.get(stem, stem))


def has_scale(net: arch.Network) -> bool:
    """Returns whether the network's batch norm has a scale."""
    return any(parameter.field == "norm.weight" for parameter in arch.parameters(net))


def to_native(dialect: Dialect, net: arch.Network, arrays: Mapping[str, Array]) -> LazyArrays:
    """Returns canonical arrays under a dialect's names and in its layouts, each made on demand.

    Raises:
        ValueError: The dialect has no place for a parameter that is not 0.
    """
    result = LazyArrays()
    for native in dialect.natives(net):
        layout, shape = next(iter(native.shapes.items()))
        if native.name is None:
            if np.any(arrays[str(native.canonical)]):
                raise ValueError(
                    f"{dialect.name} has no place for {native.canonical}, which is not 0"
                )
        elif native.canonical is None:
            result.add(native.name, shape, partial(np.full, shape, native.fill, np.float32))
        else:
            make = partial(_native_array, arrays, native.canonical, layout)
            result.add(native.name, shape, make)
    if dialect.tag:
        tag = np.frombuffer(net.name.encode("ascii"), np.uint8)
        result.add(dialect.tag, tag.shape, lambda: tag)
    return result


def from_native(
    native: Mapping[str, Array], places: Iterable[Native], path: Path
) -> tuple[LazyArrays, tuple[str, ...], tuple[str, ...]]:
    """Returns the parameters of a file as float32 by canonical name.

    Args:
        native: The file's arrays.
        places: Where each parameter is, of the right shape.
        path: The file, for the error.

    Returns:
        The arrays, views of the file where its numbers are float32, and the names of those whose
        numbers are of a wider type, and of a narrower one.

    Raises:
        CheckpointError: An array is not of floating-point numbers, or one is not finite.
    """
    arrays, wrong = LazyArrays(), []
    narrowed, widened = [], []
    for place in places:
        if place.canonical is None:
            continue
        if place.name is None:
            shape = next(iter(place.shapes.values()))
            arrays.add(place.canonical, shape, partial(np.zeros, shape, np.float32))
            continue
        array = native[place.name]
        if array.dtype.kind != "f":
            raise CheckpointError(
                f"{path}: {place.name} is no floating-point array. Received: {array.dtype}."
            )
        if array.dtype.itemsize > 4:
            narrowed.append(place.name)
        elif array.dtype.itemsize < 4:
            widened.append(place.name)
        canonical = _canonical_array(array, place)
        arrays.add(place.canonical, canonical.shape, partial(_read_again, native, place))
        if not np.isfinite(canonical).all():
            wrong.append(place.canonical)
        release(array)
        del array, canonical  # before the next is made
    if wrong:
        raise CheckpointError(
            f"{path}: values that are not finite in {listing(wrong)}; the training that wrote"
            " the file diverged, or the file is damaged."
        )
    return arrays, tuple(narrowed), tuple(widened)


def _native_array(arrays: Mapping[str, Array], name: str, layout: str) -> Array:
    return from_canonical(arrays[name], layout)


def _read_again(native: Mapping[str, Array], place: Native) -> Array:
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
