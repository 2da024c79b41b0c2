"""Memory: of long runs, and what to say where that of a device does not suffice."""

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

TRAINING = "Raise --set accumulate=..., lower --set batch=..., or --set precision=bfloat16"
FEATURES = "Lower --batch_size, --chunk or --window, or --precision=bfloat16"
INFERENCE = "Evaluate with fewer --views_at_a_time, or train with --set precision=bfloat16"


_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE = 2**20  # bytes


def give_back() -> None:
    """Lets glibc give large blocks back to the system as soon as they are free.

    Left alone it keeps blocks as large as any that was freed before, and finds less and less room
    among them: in a long run, up to a fifth more memory. Other libraries are as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_THRESHOLD, _LARGE)


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
