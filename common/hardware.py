"""Processors of this machine, and how many of them libraries use."""

import os
from pathlib import Path

# Variables of OpenMP, of BLAS libraries under numpy, of numba, of OpenCV.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)

# How Linux names instructions that compute in float16, of Intel and AMD, and of ARM.
_FLOAT16 = {"avx512_fp16", "avx_ne_convert", "asimdhp"}
_CPUS = Path("/proc/cpuinfo")


def processors() -> int:
    """How many processors this process may use: in a container fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_float16() -> bool:
    """Whether this processor computes in float16; True where nothing says what it can."""
    try:
        return not _FLOAT16.isdisjoint(_CPUS.read_text().split())
    except OSError:
        return True


def own_threads() -> int:
    """Threads that this process may compute with: the environment's OMP_NUM_THREADS, else 1."""
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # OpenMP takes one a level
    return max(1, int(text)) if text.isdecimal() else 1
