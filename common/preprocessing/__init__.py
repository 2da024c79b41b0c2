"""Pure functions on arrays: which frames, which part of them, how large, in which range."""

import functools
from collections.abc import Callable
from typing import Any


def compiled(function: Callable[..., Any], fastmath: bool = False) -> Callable[..., Any]:
    """Returns a function on arrays and numbers that numba compiles when it is first called.

    Machine code is cached on disk where a folder can be written. It runs without the interpreter's
    lock and does not check for division by zero. `fastmath` lets it reorder sums, without NaN.
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
