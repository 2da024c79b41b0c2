"""What to say where the memory of a device does not suffice."""

import contextlib
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

TRAINING = "Raise --set accumulate=..., lower --set batch=..., or --set precision=bfloat16"
INFERENCE = "Evaluate with fewer --views_at_a_time, or train with --set precision=bfloat16"


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
