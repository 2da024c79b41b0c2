"""Compiles functions on arrays with numba, at their first call."""

import functools
from collections.abc import Callable
from typing import Any


def compiled(function: Callable[..., Any], fastmath: bool = False) -> Callable[..., Any]:
    """Returns a function that numba compiles when it is first called.

    Importing numba takes half a second, which modules that only define such functions do not pay.
    Machine code is cached on disk where a folder can be written. It runs without the interpreter's
    lock and does not check for division by zero.

    Args:
        function: Takes and returns arrays and numbers.
        fastmath: Lets the compiler reorder sums and assume that no value is NaN or infinite.
    """

    @functools.cache
    def machine_code() -> Callable[..., Any]:
        import numba

        options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
        try:
            result: Callable[..., Any] = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no writable folder for the cache
            result = numba.njit(**options)(function)
        return result

    return functools.wraps(function)(lambda *values: machine_code()(*values))
