"""Functions on arrays that numba compiles; only what is run frame by frame is worth it."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any], fastmath: bool = False) -> Callable[..., Any]:
    """The function, compiled when it is first called, and kept on disk where that is possible.

    It runs without the interpreter's lock, and does not look for divisions by zero.

    Args:
        function: Of arrays and numbers.
        fastmath: Sums may be reordered, and no value is NaN or infinite.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        result: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that it may write to
        result = numba.njit(**options)(function)
    return result
