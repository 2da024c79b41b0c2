"""The element types of all formats, and the step between raw bytes and values."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.formats._mapped_file import Bytes, release

Array = npt.NDArray[Any]

# The type of the stored bytes. NumPy has no bfloat16: its bits are read as uint16 and widened.
STORED: dict[str, np.dtype[Any]] = {
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "bfloat16": np.dtype("<u2"),
    "int8": np.dtype("i1"),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
    "bool": np.dtype("?"),
    "complex64": np.dtype("<c8"),
    "complex128": np.dtype("<c16"),
}


def elements(shape: Sequence[int]) -> int:
    """The number of elements of an array of `shape`; in Python integers, so nothing overflows.

    Raises:
        ValueError: A dimension is no integer in 0..2**62, or there are more than 32 of them.
    """
    if len(shape) > 32:
        raise ValueError(f"an array of {len(shape)} dimensions; expected at most 32")
    for size in shape:
        if type(size) is not int or not 0 <= size < 2**62:
            brief = str(size)[:40] if isinstance(size, int | float) else type(size).__name__
            raise ValueError(f"a dimension of {brief}; expected an integer from 0 on")
    return math.prod(shape)


def values(raw: Bytes, dtype: str, shape: Sequence[int]) -> Array:
    """The values of raw little-endian bytes: a view, except of bfloat16 (widened) and bool."""
    return widened(raw.view(STORED[dtype]).reshape(shape), dtype)


def widened(stored: Array, dtype: str) -> Array:
    """The values of an array of any shape and stride whose type is `STORED[dtype]`."""
    if dtype == "bfloat16":  # the upper half of a float32
        wide: Array = stored.astype(np.uint32)
        release(stored)
        wide <<= 16  # in place: one copy at a time
        return wide.view(np.float32)
    if dtype == "bool":  # NumPy misbehaves on a bool that is neither 0 nor 1
        truth: Array = stored.view(np.uint8) != 0
        return truth
    return stored


def name_of(array: Array, what: str) -> str:
    """The name in `STORED` of an array's type.

    Raises:
        ValueError: The array is not numeric; `what` names it in the text.
    """
    name = array.dtype.name
    if name not in STORED or name == "bfloat16":  # ml_dtypes' has bits unlike ours
        names = sorted(STORED.keys() - {"bfloat16"})
        raise ValueError(f"{what} has dtype {array.dtype}; expected one of {', '.join(names)}")
    return name


def raw_bytes(array: Array) -> Bytes:
    """[N] bytes of an array in C order, little-endian; a view if it is stored like that."""
    little: Array = array.astype(STORED[name_of(array, "the array")], order="C", copy=False)
    raw: Bytes = little.ravel(order="C").view(np.uint8)
    return raw
