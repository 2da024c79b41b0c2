"""Runs a command as a process of its own and measures it; says on what machine."""

import contextlib
import dataclasses
import datetime
import os
import platform
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MIB = 2**20
_SAMPLES = 0.001  # seconds between two looks at a process's memory


@dataclasses.dataclass(frozen=True)
class Usage:
    """What one process took.

    Attributes:
        seconds: On the wall, from its start to its end.
        resident: Peak of all its resident memory in MiB, as the kernel counted it. That includes
            the pages of mapped files, which it takes back when it needs them.
        allocated: Peak of what the process itself allocated in MiB (RssAnon), as far as
            `sampled` saw; 0 where it was not asked to look.
        mapped: Likewise of the pages of mapped files, libraries among them (RssFile).
    """

    seconds: float
    resident: float
    allocated: float = 0
    mapped: float = 0


def run(command: Sequence[str], sampled: bool = False) -> Usage:
    """Runs a command to its end.

    Args:
        command: The program and its arguments.
        sampled: Whether its memory is looked at every millisecond (on Linux), which takes a part
            of one core.

    Raises:
        RuntimeError: It ends with another status than 0.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peaks: dict[str, float] = defaultdict(float)
    while sampled and not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        for name, value in memory(process.pid).items():
            peaks[name] = max(peaks[name], value)
        time.sleep(_SAMPLES)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    # In KiB on Linux. It begins with what this process has, which VmHWM does not.
    resident = usage.ru_maxrss / (1024 if sys.platform == "linux" else MIB)
    return Usage(seconds, peaks["VmHWM"] or resident, peaks["RssAnon"], peaks["RssFile"])


def memory(process: int) -> dict[str, float]:
    """What the kernel says about a process's memory, in MiB; nothing once it has ended."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if "kB" in line}
    return {}


def convert(source: str | Path, target: Path, *options: str) -> list[str]:
    """The command of a conversion."""
    files = [f"--input={source}", f"--output={target}", "--overwrite"]
    return [sys.executable, "-m", "convert", *files, *options]


def machine() -> str:
    """Date, processor and versions, a line."""
    return (
        f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores, {platform.system()},"
        f" Python {platform.python_version()}, NumPy {np.__version__}"
    )


def processor() -> str:
    """The name of the processor, as far as the system says it."""
    if (cpus := Path("/proc/cpuinfo")).is_file():
        names = [line for line in cpus.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0].partition(":")[2].strip()
    return platform.machine()
