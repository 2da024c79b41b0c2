"""What a dialect is: a way to name and lay out the parameters of a network.

A dialect generates native names from canonical ones and is inverted by a dictionary; foreign
names are never parsed and no layout is guessed from a shape.
"""

import fnmatch
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from common import arch
from convert import layouts
from convert.lazy_arrays import LazyArrays

Path = tuple[str, ...]
"""Where a unit is in its network, from the outermost: ("Mixed_3b", "Branch_0", "Conv3d_0a_1x1")."""


class Stems(NamedTuple):
    """The native names of a unit whose batch norm is not called like its convolution."""

    conv: str
    norm: str


@dataclass(frozen=True)
class Native:
    """Where a file in some dialect keeps one canonical parameter.

    Attributes:
        name: The name in the file; None where the dialect has no place for the parameter, which
            is then 0 everywhere.
        shapes: The shapes it may have there, by layout; the first layout is the one written.
        canonical: The canonical name; None for an array the network has no parameter for,
            which holds `fill` everywhere.
        fill: The value that changes nothing, for such an array.
        aliases: Other names under which the file may repeat the array.
    """

    name: str | None
    shapes: Mapping[str, tuple[int, ...]]
    canonical: str | None
    fill: float | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dialect:
    """A dialect of one or more architectures.

    Attributes:
        name: Its name on the command line.
        about: Whose it is.
        unit: The native name of a unit of a network, or its two.
        fields: The native name of each field, as a template with "{unit}". A field that is not
            here does not exist in the dialect.
        architectures: The architectures it has names for.
        kernel: The layout of kernels. One without time is that of a 2-D network, whose kernels
            are inflated.
        classifier: Layouts of the classifier's kernel where they are not `kernel`; all are
            read, the first is written.
        vectors: Layouts of vectors by field where they are not "C"; likewise.
        exceptions: Native unit names that do not follow the rule, by the name that would.
        fills: The value that changes nothing, of fields that the dialect always has and a
            network may not.
        absent: Fields, by the name of their unit, that a network has and the dialect has not.
        aliases: Other native names of a unit, by which files repeat its arrays.
        scopes: What stands before every name, by the network's input channels (None: any other).
        other_scopes: What else may stand there in a file that is read.
        ignored: Patterns of names that are no parameters (optimiser slots, counters).
        tag: The name of an array that holds the architecture's name in ASCII; None without.
        eps: What its owner's code adds to the variance, where that is not what the weights were
            trained with.
        change: What becomes of the weights' function on the way, a name in `convert.changes`,
            by architecture.
        writable: Whether it can be written.
    """

    name: str
    about: str
    unit: Callable[[arch.Network, Path], str | Stems]
    fields: Mapping[arch.Field, str]
    architectures: tuple[str, ...] = ("inception_i3d",)
    kernel: str = layouts.CANONICAL_KERNEL
    classifier: tuple[str, ...] = ()
    vectors: Mapping[arch.Field, tuple[str, ...]] = field(default_factory=dict)
    exceptions: Mapping[str, str] = field(default_factory=dict)
    fills: Mapping[arch.Field, float] = field(default_factory=dict)
    absent: tuple[tuple[str, arch.Field], ...] = ()
    aliases: Callable[[arch.Network, Path], tuple[str | Stems, ...]] = lambda net, path: ()
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

    def scope(self, net: arch.Network) -> str:
        """The scope that is written for a network."""
        return self.scopes.get(net.in_channels, self.scopes[None])

    def natives(self, net: arch.Network, scope: str | None = None) -> list[Native]:
        """All arrays of a file that holds `net`, in the order of the network's parameters."""
        scope = self.scope(net) if scope is None else scope
        scaled = has_scale(net)
        found = []
        for parameter in arch.parameters(net):
            if self.inflates and parameter.unit[0] == net.head.name:
                continue  # It tells other classes apart.
            # A scale would stand before the offset.
            if parameter.field == "norm.bias" and "norm.weight" in self.fills and not scaled:
                fill = self.fills["norm.weight"]
                found.append(self._native(net, parameter, scope, "norm.weight", fill))
            found.append(self.native(net, parameter, scope))
        return found

    def native(self, net: arch.Network, parameter: arch.Parameter, scope: str = "") -> Native:
        """Where one parameter of `net` is."""
        return self._native(net, parameter, scope, parameter.field)

    def ignores(self, name: str) -> bool:
        """Whether an array of this name is no parameter."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.ignored)

    def _native(
        self,
        net: arch.Network,
        parameter: arch.Parameter,
        scope: str,
        which: arch.Field,
        fill: float | None = None,
    ) -> Native:
        options: tuple[str, ...] = self.vectors.get(which, (layouts.CANONICAL_VECTOR,))
        if which == "conv.weight":
            is_classifier = parameter.unit[0] == net.head.name
            options = (is_classifier and self.classifier) or (self.kernel,)
        shapes = {option: layouts.native_shape(parameter.shape, option) for option in options}
        if (parameter.unit[-1], which) in self.absent:
            return Native(None, shapes, parameter.name)
        names = [
            scope + self._name(unit, which)
            for unit in (self.unit(net, parameter.unit), *self.aliases(net, parameter.unit))
        ]
        canonical = parameter.name if fill is None else None
        return Native(names[0], shapes, canonical, fill, tuple(names[1:]))

    def _name(self, unit: str | Stems, which: arch.Field) -> str:
        stem = unit if isinstance(unit, str) else getattr(unit, which.split(".")[0])
        return self.fields[which].format(unit=self.exceptions.get(stem, stem))


def to_native(
    dialect: Dialect, net: arch.Network, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Canonical arrays under the dialect's names and layouts; views where that is possible.

    Raises:
        ValueError: The dialect has no place for a parameter that is not 0.
    """
    return dict(lazily_native(dialect, net, arrays))


def lazily_native(
    dialect: Dialect, net: arch.Network, arrays: Mapping[str, np.ndarray]
) -> LazyArrays:
    """As `to_native`, each array taken from `arrays` when it is asked for."""
    result = LazyArrays()
    for native in dialect.natives(net):
        layout, shape = next(iter(native.shapes.items()))
        if native.name is None:
            if np.any(arrays[str(native.canonical)]):
                raise ValueError(
                    f"{dialect.name} has no place for {native.canonical}, which is not 0"
                )
        elif native.canonical is None:
            fill = functools.partial(np.full, shape, native.fill, np.float32)
            result.add(native.name, shape, fill)
        else:
            make = functools.partial(_from_canonical, arrays, native.canonical, layout)
            result.add(native.name, shape, make)
    if dialect.tag:
        tag = np.frombuffer(net.name.encode("ascii"), np.uint8)
        result.add(dialect.tag, tag.shape, lambda: tag)
    return result


def _from_canonical(arrays: Mapping[str, np.ndarray], name: str, layout: str) -> np.ndarray:
    return layouts.from_canonical(arrays[name], layout)


def has_scale(net: arch.Network) -> bool:
    """Whether the network's batch norm has a scale."""
    return any(parameter.field == "norm.weight" for parameter in arch.parameters(net))
