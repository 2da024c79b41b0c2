"""Memory: of long runs, and what to say where that of a device does not suffice."""

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

TRAINING = "Raise --set accumulate=..., lower --set batch=..., or --set precision=bfloat16"
FEATURES = "Lower --batch_size, --chunk or --window, or --precision=bfloat16"
INFERENCE = "Evaluate with fewer --views_at_a_time, or train with --set precision=bfloat16"


# Parameters of mallopt, in malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def keep() -> None:
    """Lets glibc keep large blocks, for all threads, once they are free.

    What a network computes between its layers is freed at once, and of the next clip needed again:
    given back to the system each time, it comes as empty pages that have to be filled anew, which
    takes a third of the time. Other libraries are as they are.
    """
    parameters = {_MMAP_THRESHOLD: 2**30, _TRIM_THRESHOLD: 2**31 - 1, _ARENA_MAX: 1}
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for name, value in parameters.items():
            libc.mallopt(name, value)


@contextlib.contextmanager
def explained(error: type[Exception], clips: NDArray[Any], advice: str) -> Iterator[None]:
    """Turns a framework's error of memory that has run out into one that a user can put right.

    Args:
        error: The framework's.
        clips: What goes through the network, [B, T, H, W, C].
        advice: `TRAINING` or `INFERENCE`.

    Raises:
        ValueError: The memory has run out.
    """
    try:
        yield
    except error as found:
        count, *size, _ = clips.shape
        shape = " x ".join(map(str, size))
        raise ValueError(
            f"out of memory with {count} clips of {shape} (frames x height x width) at a time. "
            f"{advice}."
        ) from found
