"""NumPy arrays inside a pickle: stand-ins that record what the file says, and their validation.

NumPy pickles an array as `_reconstruct(ndarray, (0,), b"b")` and then sets its state: version,
shape, dtype, Fortran order, raw bytes. NumPy's own functions trust that state; these check it.
"""

import math
from typing import Any

import numpy as np

from convert.formats import _raw_values
from convert.formats._raw_values import Array

# Type codes that hold plain numbers: no objects, strings, records or dates.
_CODES = frozenset(dtype.str[1:] for dtype in _raw_values.STORED.values())


class Dict(dict[Any, Any]):
    """An OrderedDict of a file; attributes such as `_metadata` are dropped."""

    def __setstate__(self, state: object) -> None:
        pass


class PickledDtype:
    """What a file says about an element type."""

    __slots__ = ("_code", "_state")

    def __init__(self, code: object, *_: object) -> None:
        self._code = code
        self._state: object = None

    def __setstate__(self, state: object) -> None:
        self._state = state

    def resolve(self) -> np.dtype[Any]:
        """The real type.

        Raises:
            ValueError: It is not plain numbers, or its state is not what NumPy writes for those.
        """
        if type(self._code) is not str or self._code not in _CODES:
            raise ValueError(f"an array of dtype {str(self._code)[:40]!r}; expected plain numbers")
        order = "|"
        if self._state is not None:
            state = self._state
            if (
                not isinstance(state, tuple)
                or state[2:5] != (None, None, None)
                or state[1] not in ("<", ">", "|")
            ):
                raise ValueError(f"dtype {self._code} has a malformed state")
            order = state[1]
        elif self._code not in ("b1", "i1", "u1"):
            raise ValueError(f"dtype {self._code} has no byte order")
        return np.dtype(order + self._code)


class PickledArray:
    """What a file says about an array."""

    __slots__ = ("_axes", "_state")

    def __init__(self, axes: object = None) -> None:
        self._axes = axes  # the order of a transposed array's axes (protocol 5)
        self._state: object = None

    def __setstate__(self, state: object) -> None:
        if self._state is not None:
            raise ValueError("the state of an array is set twice")
        self._state = state

    def resolve(self) -> Array:
        """The array, a read-only view of the pickle's bytes.

        Raises:
            ValueError: Shape, dtype and number of bytes contradict each other.
        """
        state = self._state
        if type(state) is not tuple or len(state) not in (4, 5):
            raise ValueError("an array without a state, or with a malformed one")
        shape, dtype, fortran, raw = state[-4:]  # the version stands before, in all but the oldest
        if type(shape) is not tuple or type(dtype) is not PickledDtype:
            raise ValueError("the state of an array is malformed")
        array = _from_bytes(raw, dtype.resolve(), shape)
        if self._axes is not None:
            return array.reshape(shape).transpose(_checked_axes(self._axes, len(shape)))
        return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


class PickledScalar:
    """What a file says about a NumPy number."""

    __slots__ = ("_dtype", "_raw")

    def __init__(self, dtype: object, raw: object = None) -> None:
        self._dtype = dtype
        self._raw = raw

    def resolve(self) -> Array:
        """The number as an array of shape ().

        Raises:
            ValueError: Its bytes do not fit its type.
        """
        if type(self._dtype) is not PickledDtype:
            raise ValueError("a NumPy number without a dtype")
        return _from_bytes(self._raw, self._dtype.resolve(), ()).reshape(())


def _from_bytes(raw: object, dtype: np.dtype[Any], shape: tuple[Any, ...]) -> Array:
    """[N] elements of `raw`, which must be exactly those that `shape` needs."""
    if isinstance(raw, str):  # bytes of Python 2
        raw = raw.encode("latin1")
    if not isinstance(raw, (bytes, bytearray)):
        raise ValueError(f"an array whose data is a {type(raw).__name__}; expected bytes")
    expected = _raw_values.elements(shape) * dtype.itemsize
    if len(raw) != expected:
        raise ValueError(
            f"an array of {dtype.name} {list(shape)} needs {expected} bytes, not {len(raw)}"
        )
    if dtype == np.bool_:
        truth: Array = np.frombuffer(raw, np.uint8) != 0
        return truth
    return np.frombuffer(raw, dtype, math.prod(shape))


def _reconstruct(kind: object, shape: object, code: object) -> PickledArray:
    if kind != "ndarray":
        raise ValueError(f"an array of class {str(kind)[:40]!r}; expected numpy.ndarray")
    return PickledArray()


def _checked_axes(axes: object, count: int) -> tuple[int, ...]:
    if (
        type(axes) is not tuple
        or any(type(axis) is not int for axis in axes)
        or sorted(axes) != list(range(count))
    ):
        raise ValueError("an array whose axes are in a malformed order")
    return axes


def _frombuffer(
    raw: object, dtype: object, shape: object, order: object, axes: object = None
) -> PickledArray:
    """An array of protocol 5; `axes` comes with order "K", of newer NumPy."""
    if order not in ("C", "F", "K") or (order == "K") != (axes is not None):
        raise ValueError(
            f"an array in order {str(order)[:40]!r}; expected 'C', 'F', or 'K' and axes"
        )
    array = PickledArray(axes)
    array.__setstate__((shape, dtype, order == "F", raw))
    return array


def _encode(text: object, encoding: object) -> bytes:
    """`_codecs.encode`, with which protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes that are not written as latin1")
    return text.encode("latin1")


def _dict(pairs: object = ()) -> Dict:
    """An OrderedDict: Python 2 passes its entries, Python 3 fills an empty one."""
    if not isinstance(pairs, (list, tuple)) or any(
        # Any other key may collide with the rest, and the scan has not counted these.
        type(pair) not in (list, tuple) or len(pair) != 2 or type(pair[0]) is not str
        for pair in pairs
    ):
        raise ValueError("an OrderedDict of something else than names and values")
    return Dict(pairs)


# The table for `_unpickler.load`. NumPy 2 renamed numpy.core to numpy._core.
NUMPY_GLOBALS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): PickledDtype,
    ("collections", "OrderedDict"): _dict,
    ("_codecs", "encode"): _encode,
    **{
        (f"numpy.{core}.multiarray", name): stand_in
        for core in ("core", "_core")
        for name, stand_in in (("_reconstruct", _reconstruct), ("scalar", PickledScalar))
    },
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}
