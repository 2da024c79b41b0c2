"""Processors and memory of this machine, and how much of them libraries use."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

# Variables of OpenMP, of BLAS libraries under numpy, of numba, of OpenCV.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)

TRAINING = "Raise --set accumulate=..., lower --set batch=..., or --set precision=bfloat16"
FEATURES = "Lower --batch_size, --chunk or --window, or --precision=bfloat16"
INFERENCE = "Evaluate with fewer --views_at_a_time, or train with --set precision=bfloat16"

# How Linux names instructions that compute in float16, of Intel and AMD, and of ARM.
_FLOAT16 = {"avx512_fp16", "avx_ne_convert", "asimdhp"}
_CPUS = Path("/proc/cpuinfo")

# Parameters of mallopt, in malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def processors() -> int:
    """How many processors this process may use: in a container fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_float16() -> bool:
    """Whether this processor computes in float16; True where nothing says what it can."""
    try:
        words = set(_CPUS.read_text().split())
    except OSError:
        return True
    return bool(_FLOAT16 & words)


def own_threads() -> int:
    """Threads that this process may compute with: the environment's OMP_NUM_THREADS, else 1."""
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # OpenMP takes one a level
    return max(1, int(text)) if text.isdecimal() else 1


def set_own_threads(count: int) -> None:
    """Puts the number of threads of this process into the environment, for `own_threads`."""
    os.environ["OMP_NUM_THREADS"] = str(count)


def keep_freed_memory() -> None:
    """Keeps freed activation memory in the process (glibc; elsewhere nothing changes).

    Returning it to the kernel and faulting it back in costs a third of the run time.
    """
    parameters = {_MMAP_THRESHOLD: 2**30, _TRIM_THRESHOLD: 2**31 - 1, _ARENA_MAX: 1}
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for name, value in parameters.items():
            libc.mallopt(name, value)


@contextlib.contextmanager
def explained(error: type[Exception], clips: NDArray[Any], advice: str) -> Iterator[None]:
    """Turns a framework's out-of-memory error into one that says what to do.

    Args:
        error: The framework's.
        clips: The clips that go through the network, [B, T, H, W, C].
        advice: `TRAINING`, `FEATURES` or `INFERENCE`.

    Raises:
        ValueError: The memory did not suffice.
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
