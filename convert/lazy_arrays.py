"""Arrays by name that are made when they are asked for."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class LazyArrays(Mapping[str, Array]):
    """Arrays by name, each made anew whenever it is asked for.

    A file may store its numbers in another type or in parts. If every array were converted at
    once, the whole file would be in memory; like this, one array is. Those that are views of a
    file cost nothing either way.

    Attributes:
        shapes: The shape of each array by name, for which none has to be made.
    """

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._makers: dict[str, Callable[[], Array]] = {}

    def add(self, name: str, shape: tuple[int, ...], make: Callable[[], Array]) -> None:
        """Adds the array of `shape` that `make` gives."""
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
    """Arrays under other names, the old ones given by the new ones."""
    found, sizes = LazyArrays(), shapes(arrays)
    for new, old in names.items():
        found.add(new, sizes[old], functools.partial(arrays.__getitem__, old))
    return found


def shapes(arrays: Mapping[str, np.ndarray]) -> Mapping[str, tuple[int, ...]]:
    """The shape of each array; of lazy ones without making them."""
    if isinstance(arrays, LazyArrays):
        return arrays.shapes
    return {name: array.shape for name, array in arrays.items()}
