"""What a dialect is: a way to name and lay out the parameters of a network.

A dialect generates native names from canonical ones and is inverted by a dictionary; foreign
names are never parsed and no layout is guessed from a shape.
"""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from common import arch
from convert import layouts


@dataclass(frozen=True)
class Native:
    """Where a file in some dialect keeps one canonical parameter.

    Attributes:
        name: The name in the file.
        shapes: The shapes it may have there, by layout; the first layout is the one written.
        canonical: The canonical name; None for an array the network has no parameter for,
            which holds `fill` everywhere.
        fill: The value that changes nothing, for such an array.
    """

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    canonical: str | None
    fill: float | None = None


@dataclass(frozen=True)
class Dialect:
    """A dialect of one or more architectures.

    Attributes:
        name: Its name on the command line.
        about: Whose it is.
        unit: The native name of a unit, from its path in the network.
        fields: The native name of each field, as a template with "{unit}". A field that is not
            here does not exist in the dialect.
        kernel: The layout of kernels.
        vectors: Layouts of vectors by field where they are not "C"; all are read, the first is
            written.
        exceptions: Native unit names that do not follow the rule, by the name that would.
        fills: The value that changes nothing, of fields that the dialect always has and a
            network may not.
        scopes: What stands before every name, by the network's input channels (None: any other).
        ignored: Patterns of names that are no parameters (optimiser slots, counters).
        architectures: The architectures it knows.
    """

    name: str
    about: str
    unit: Callable[[tuple[str, ...]], str]
    fields: Mapping[arch.Field, str]
    kernel: str = layouts.CANONICAL_KERNEL
    vectors: Mapping[arch.Field, tuple[str, ...]] = field(default_factory=dict)
    exceptions: Mapping[str, str] = field(default_factory=dict)
    fills: Mapping[arch.Field, float] = field(default_factory=dict)
    scopes: Mapping[int | None, str] = field(default_factory=lambda: {None: ""})
    ignored: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ("inception_i3d",)

    @property
    def has_scale(self) -> bool:
        """Whether batch norm has a scale here."""
        return "norm.weight" in self.fields

    def scope(self, net: arch.Network) -> str:
        """The scope that is written for a network."""
        return self.scopes.get(net.in_channels, self.scopes[None])

    def natives(self, net: arch.Network, scope: str | None = None) -> list[Native]:
        """All arrays of a file that holds `net`, in the order of the network's parameters."""
        scope = self.scope(net) if scope is None else scope
        scaled = has_scale(net)
        found = []
        for parameter in arch.parameters(net):
            # A scale would stand before the offset.
            if parameter.field == "norm.bias" and "norm.weight" in self.fills and not scaled:
                fill = self.fills["norm.weight"]
                found.append(self._native(scope, parameter, "norm.weight", fill))
            found.append(self._native(scope, parameter, parameter.field))
        return found

    def ignores(self, name: str) -> bool:
        """Whether an array of this name is no parameter."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.ignored)

    def _native(
        self, scope: str, parameter: arch.Parameter, which: arch.Field, fill: float | None = None
    ) -> Native:
        regular = self.unit(parameter.unit)
        name = self.fields[which].format(unit=self.exceptions.get(regular, regular))
        options = (self.kernel,) if which == "conv.weight" else self.vectors.get(which, ("C",))
        shapes = {option: layouts.native_shape(parameter.shape, option) for option in options}
        return Native(scope + name, shapes, parameter.name if fill is None else None, fill)


def to_native(
    dialect: Dialect, net: arch.Network, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Canonical arrays under the dialect's names and layouts; views where that is possible."""
    result = {}
    for native in dialect.natives(net):
        layout, shape = next(iter(native.shapes.items()))
        if native.canonical is None:
            result[native.name] = np.full(shape, native.fill, np.float32)
        else:
            result[native.name] = layouts.from_canonical(arrays[native.canonical], layout)
    return result


def has_scale(net: arch.Network) -> bool:
    """Whether the network's batch norm has a scale."""
    return any(parameter.field == "norm.weight" for parameter in arch.parameters(net))
