"""Arrays by name that are made on demand, and the axis orders of arrays.

The layout of a kernel is an order of the axes "OITHW" (out, in, time, height, width), which is the
canonical one, or of some of them where the others have size 1: "OI" is a matrix. The layout of a
vector is "C", the canonical one, or "1111C" for [1, 1, 1, 1, C].
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

KERNEL = "OITHW"
VECTOR = "C"


class LazyArrays(Mapping[str, Array]):
    """A mapping whose arrays are made anew whenever they are asked for.

    Files may store numbers in another type or in parts. Converting one array at a time keeps one
    array in memory instead of the whole file; views of a file cost nothing either way.

    Attributes:
        shapes: The shape of each array by name; asking for them makes no array.
    """

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._makers: dict[str, Callable[[], Array]] = {}

    def add(self, name: str, shape: tuple[int, ...], make: Callable[[], Array]) -> None:
        """Adds an array of `shape` that `make` returns."""
        self.shapes[name] = shape
        self._makers[name] = make

    def __getitem__(self, name: str) -> Array:
        return self._makers[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._makers  # Mapping's own would make the array

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def renamed(arrays: Mapping[str, Array], names: Mapping[str, str]) -> LazyArrays:
    """Returns arrays under new names; `names` maps each new name to the old one."""
    found, sizes = LazyArrays(), shapes(arrays)
    for new, old in names.items():
        found.add(new, sizes[old], functools.partial(arrays.__getitem__, old))
    return found


def shapes(arrays: Mapping[str, Array]) -> Mapping[str, tuple[int, ...]]:
    """Returns the shape of each array, without making lazy ones."""
    if isinstance(arrays, LazyArrays):
        return arrays.shapes
    return {name: array.shape for name, array in arrays.items()}


def from_canonical(array: Array, layout: str) -> Array:
    """Returns a canonical array in `layout`, as a view."""
    shape = native_shape(array.shape, layout)
    if "O" not in layout:
        return array.reshape(shape)
    order = [*layout, *(axis for axis in KERNEL if axis not in layout)]
    return array.transpose([KERNEL.index(axis) for axis in order]).reshape(shape)


def to_canonical(array: Array, layout: str) -> Array:
    """Returns an array in `layout` as a canonical one, as a view."""
    if "O" not in layout:
        return array.reshape(array.shape[-1:])
    left_out = [axis for axis in KERNEL if axis not in layout]
    order = [*layout, *left_out]
    whole = array.reshape(array.shape + (1,) * len(left_out))
    return whole.transpose([order.index(axis) for axis in KERNEL])


def native_shape(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """Returns the shape in `layout` of a canonical array of `shape`."""
    if "O" not in layout:
        return tuple(1 if axis == "1" else shape[0] for axis in layout)
    return tuple(shape[KERNEL.index(axis)] for axis in layout)
