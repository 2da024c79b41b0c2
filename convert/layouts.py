"""Axis orders of kernels and vectors, by name, and the way between them.

A kernel layout is a permutation of "OITHW" (out, in, time, height, width), which is the
canonical one. A vector layout is "C", the canonical one, or "1111C" for [1, 1, 1, 1, C].
"""

import numpy as np

CANONICAL_KERNEL = "OITHW"
CANONICAL_VECTOR = "C"


def from_canonical(array: np.ndarray, layout: str) -> np.ndarray:
    """A view of a canonical array in `layout`."""
    if set(layout) == set(CANONICAL_KERNEL):
        return array.transpose([CANONICAL_KERNEL.index(axis) for axis in layout])
    return array.reshape(native_shape(array.shape, layout))


def to_canonical(array: np.ndarray, layout: str) -> np.ndarray:
    """A view of an array in `layout` as a canonical one."""
    if set(layout) == set(CANONICAL_KERNEL):
        return array.transpose([layout.index(axis) for axis in CANONICAL_KERNEL])
    return array.reshape(array.shape[-1:])


def native_shape(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """The shape that a canonical array of `shape` has in `layout`."""
    if set(layout) == set(CANONICAL_KERNEL):
        return tuple(shape[CANONICAL_KERNEL.index(axis)] for axis in layout)
    return tuple(1 if axis == "1" else shape[0] for axis in layout)
