"""Axis orders of kernels and vectors, by name, and the way between them.

A kernel layout is a permutation of "OITHW" (out, in, time, height, width), which is the
canonical one, or of some of these axes where the others are 1: "OI" is a matrix. A vector layout
is "C", the canonical one, or "1111C" for [1, 1, 1, 1, C].
"""

import numpy as np

CANONICAL_KERNEL = "OITHW"
CANONICAL_VECTOR = "C"


def from_canonical(array: np.ndarray, layout: str) -> np.ndarray:
    """A view of a canonical array in `layout`."""
    if not _is_kernel(layout):
        return array.reshape(native_shape(array.shape, layout))
    kept = [CANONICAL_KERNEL.index(axis) for axis in layout]
    left_out = tuple(axis for axis in range(5) if axis not in kept)
    moved = array.transpose([*kept, *left_out])
    return moved.reshape(moved.shape[: len(kept)]) if left_out else moved


def to_canonical(array: np.ndarray, layout: str) -> np.ndarray:
    """A view of an array in `layout` as a canonical one."""
    if not _is_kernel(layout):
        return array.reshape(array.shape[-1:])
    left_out = [axis for axis in CANONICAL_KERNEL if axis not in layout]
    whole = array.reshape(array.shape + (1,) * len(left_out))
    order = [*layout, *left_out]
    return whole.transpose([order.index(axis) for axis in CANONICAL_KERNEL])


def native_shape(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """The shape that a canonical array of `shape` has in `layout`."""
    if not _is_kernel(layout):
        return tuple(1 if axis == "1" else shape[0] for axis in layout)
    return tuple(shape[CANONICAL_KERNEL.index(axis)] for axis in layout)


def _is_kernel(layout: str) -> bool:
    return "O" in layout
