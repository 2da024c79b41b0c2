"""A file's arrays as canonical ones, one at a time, and the checks of their values."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from common.io import CheckpointError, listing
from convert.dialects import Native
from convert.formats import release
from convert.layouts import to_canonical
from convert.lazy_arrays import LazyArrays


def from_native(
    native: Mapping[str, np.ndarray], places: Iterable[Native], path: Path
) -> tuple[LazyArrays, tuple[str, ...], tuple[str, ...]]:
    """The parameters of a file as float32 by canonical name.

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
        canonical = _canonical(array, place)
        arrays.add(place.canonical, canonical.shape, partial(_made, native, place))
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


def check_equal(
    expected: Mapping[str, np.ndarray], received: Mapping[str, np.ndarray], path: Path
) -> None:
    """Raises CheckpointError unless names are the same and arrays equal bit by bit."""
    wrong = expected.keys() ^ received.keys()
    wrong |= {
        name
        for name in expected.keys() & received.keys()
        if not _same(expected[name], received[name])
    }
    if wrong:
        raise CheckpointError(
            f"{path}: reading back what was written gave other values for {listing(wrong)};"
            " nothing was kept. Please report this."
        )


def _made(native: Mapping[str, np.ndarray], place: Native) -> np.ndarray:
    return _canonical(native[str(place.name)], place)


def _canonical(array: np.ndarray, place: Native) -> np.ndarray:
    layout = next(name for name, shape in place.shapes.items() if shape == array.shape)
    canonical = to_canonical(array, layout)
    if canonical.dtype == np.float32:
        return canonical
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
        converted = canonical.astype(np.float32)
    release(array)
    return converted


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether finite arrays are equal bit by bit: of equal values only zeros differ, in sign."""
    same = np.array_equal(one, other) and np.array_equal(np.signbit(one), np.signbit(other))
    release(one)
    release(other)
    return same
