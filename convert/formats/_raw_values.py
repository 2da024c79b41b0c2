"""Element types that every format shares, and the step between raw bytes and values."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.formats._mapped_file import Bytes, release

Array = npt.NDArray[Any]

# What the bytes are stored as. NumPy has no bfloat16: its bits are read as uint16 and widened.
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
    """How many elements an array of `shape` has; Python integers, so nothing overflows.

    Raises:
        ValueError: A dimension is no integer in 0..2**62, or there are more than 32 of them.
    """
    if len(shape) > 32:
        raise ValueError(f"an array of {len(shape)} dimensions; expected at most 32")
    for size in shape:
        if type(size) is not int or not 0 <= size < 2**62:
            raise ValueError(f"a dimension of {str(size)[:40]}; expected an integer from 0 on")
    return math.prod(shape)


def values(raw: Bytes, dtype: str, shape: Sequence[int]) -> Array:
    """The values of raw little-endian bytes: a view, but bfloat16 (widened exactly) and bool."""
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
        ValueError: The type is not plain numbers; `what` names the array in the text.
    """
    name = array.dtype.name
    if name not in STORED or name == "bfloat16":  # a type of another package, whose bits we lack
        names = sorted(STORED.keys() - {"bfloat16"})
        raise ValueError(f"{what} has dtype {array.dtype}; expected one of {', '.join(names)}")
    return name


def raw_bytes(array: Array) -> Bytes:
    """[N] bytes of an array in C order, little-endian: a view where it is stored like that."""
    little: Array = array.astype(STORED[name_of(array, "the array")], order="C", copy=False)
    raw: Bytes = little.ravel(order="C").view(np.uint8)
    return raw
