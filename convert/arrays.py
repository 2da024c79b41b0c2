"""Arrays by name that are made on demand, and the axis orders of arrays.

The layout of a kernel is an order of "OITHW" (out, in, time, height, width), the canonical one, or
of some of these axes if others have size 1; of a vector "C", or "1111C" for [1, 1, 1, 1, C].
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

KERNEL = "OITHW"
VECTOR = "C"


class LazyArrays(Mapping[str, Array]):
    """A mapping whose arrays are made anew whenever asked for: one at a time is in memory."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}  # of each array, without making it
        self._makers: dict[str, Callable[[], Array]] = {}

    def add(self, name: str, shape: tuple[int, ...], make: Callable[[], Array]) -> None:
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
    if isinstance(arrays, LazyArrays):
        return arrays.shapes
    return {name: array.shape for name, array in arrays.items()}


def from_canonical(array: Array, layout: str) -> Array:
    """Returns a canonical array in `layout`, as a view."""
    kernel = array.transpose(_order(layout)) if "O" in layout else array
    return kernel.reshape(native_shape(array.shape, layout))


def to_canonical(array: Array, layout: str) -> Array:
    """Returns an array in `layout` as a canonical one, as a view."""
    if "O" not in layout:
        return array.reshape(array.shape[-1:])
    whole = array.reshape(array.shape + (1,) * (len(KERNEL) - array.ndim))
    return whole.transpose([_order(layout).index(axis) for axis in range(len(KERNEL))])


def _order(layout: str) -> list[int]:
    """Returns the canonical axes in the order of a layout, then those that it leaves out."""
    return [KERNEL.index(axis) for axis in (*layout, *(a for a in KERNEL if a not in layout))]


def native_shape(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """Returns the shape in `layout` of a canonical array of `shape`."""
    if "O" not in layout:
        return tuple(1 if axis == "1" else shape[0] for axis in layout)
    return tuple(shape[KERNEL.index(axis)] for axis in layout)
