"""The processors of this machine, and what tells libraries how many of them to use."""

import os
from pathlib import Path

# Of OpenMP, of what numpy may stand on, of numba, of OpenCV.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)

# As Linux names what computes in float16, of Intel and AMD, and of ARM.
_FLOAT16 = {"avx512_fp16", "avx_ne_convert", "asimdhp"}
_CPUS = Path("/proc/cpuinfo")


def count() -> int:
    """Those that this process may use: in a container fewer than the machine has."""
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


def share() -> int:
    """Threads of this process's own, as who started it left them in the environment; else 1."""
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # OpenMP takes one a level
    return max(1, int(text)) if text.isdecimal() else 1


def take(count: int) -> None:
    """Says in the environment how many threads this process has; `share` and engines read it."""
    os.environ["OMP_NUM_THREADS"] = str(count)
