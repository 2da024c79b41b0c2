"""What the benchmarks of speed share: turns, allocation, peaks of memory, and results as JSON.

A result is {"machine": ..., "rounds": N, ...}; `benchmarks/report.py` makes tables of it.
"""

import contextlib
import ctypes
import datetime
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import processes
from absl import app, flags
from numpy.typing import ArrayLike

from common import memory, processors
from common.io import write_text

Run = Callable[[], Any]
Key = TypeVar("Key", bound=Hashable)

PACKAGES = ("numpy", "torch", "tensorflow", "onnxruntime", "openvino", "opencv-contrib-python")

# malloc.h, and what glibc arrives at by itself once it has freed a block of 32 MiB (mallopt(3)).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_USUAL = {_M_MMAP_THRESHOLD: 32 * 2**20, _M_TRIM_THRESHOLD: 64 * 2**20, _M_MMAP_MAX: 65536}


class Work(NamedTuple):
    """Something that is measured.

    Attributes:
        run: Does it once, to its end.
        kept: Whether freed memory stays with the process, as in the project's commands; else it
            goes back to the system as usual.
    """

    run: Run
    kept: bool


def in_turn(works: Mapping[Key, Work], rounds: int) -> dict[Key, list[float]]:
    """Seconds of each work in each round, in which each has its turn.

    So a slow moment of the machine meets them all. A turn begins with a call that does not count:
    after somebody else's turn, memory and caches are not as they are within a loop of its own.
    """
    taken: dict[Key, list[float]] = {key: [] for key in works}
    for _ in range(rounds):
        for key, work in works.items():
            allocate(work.kept)
            work.run()
            began = time.perf_counter()
            work.run()
            taken[key].append(time.perf_counter() - began)
    return taken


def allocate(kept: bool) -> None:
    """Has glibc keep freed memory (`Work.kept`), or give it back as it does when left alone."""
    if kept:
        memory.keep()
        return
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for parameter, value in _USUAL.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)


def peak_memory(kept: bool, make: Callable[..., Run], *arguments: object) -> float:
    """Peak of a process of its own that does a work twice, MiB.

    Resident memory; of the GPU, where PyTorch or TensorFlow has used one.

    Args:
        kept: See `Work`.
        make: A function of a module, which makes the work there.
        arguments: What it is called with.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (kept, make, arguments))


def relative_error(found: ArrayLike, expected: ArrayLike) -> float:
    """Largest difference as a share of the largest value that was expected."""
    difference = np.abs(np.asarray(found, np.float64) - np.asarray(expected, np.float64))
    return float(difference.max() / np.abs(expected).max())


def machine(device: str) -> dict[str, Any]:
    """The machine, as JSON has it.

    Args:
        device: "cpu" or "gpu", of which PyTorch knows the name.
    """
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    found = {
        "date": str(datetime.date.today()),
        "processor": processes.processor(),
        "cores": processors.count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": versions,
    }
    if device == "gpu":
        import torch

        found["gpu"] = torch.cuda.get_device_name()
        found["cuda"] = torch.version.cuda
    return found


def check_names(flag: flags.FlagHolder[list[str]], known: Iterable[str]) -> None:
    """Refuses what is not among the names that a flag may list.

    Raises:
        UsageError: There is such a name.
    """
    if unknown := set(flag.value).difference(known):
        raise app.UsageError(
            f"--{flag.name} must be of {', '.join(known)}. Received: {', '.join(unknown)}."
        )


def begin(device: str) -> None:
    """Hides all GPUs for "cpu"; for "gpu", has float32 mean float32 there.

    Call it before a framework is imported, whose threads share memory from their beginning.

    Raises:
        ValueError: There is no GPU.
    """
    allocate(kept=True)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # of cuBLAS and cuDNN, whoever calls them
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"  # TensorFlow shares the GPU with PyTorch
    import torch

    if not torch.cuda.is_available():
        raise ValueError("there is no CUDA device that PyTorch can use. Leave out --device=gpu.")


def write(path: str | None, result: Mapping[str, Any]) -> None:
    """Writes a result, all or nothing; None is nowhere."""
    if path:
        write_text(path, json.dumps(result, indent=1) + "\n")


def read(path: Path) -> dict[str, Any] | None:
    """A result; None where nothing was measured."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _peak(kept: bool, make: Callable[..., Run], arguments: tuple[object, ...]) -> float:
    allocate(kept)
    run = make(*arguments)
    run()
    run()
    used = [_of_torch(), _of_tensorflow()]
    if any(used):
        return max(used) / processes.MIB
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1024 if sys.platform == "linux" else processes.MIB
    return processes.memory(os.getpid()).get("VmHWM", resident / unit)


def _of_torch() -> int:
    torch = sys.modules.get("torch")
    return torch.cuda.max_memory_allocated() if torch and torch.cuda.is_available() else 0


def _of_tensorflow() -> int:
    tf = sys.modules.get("tensorflow")
    if not tf or not tf.config.list_physical_devices("GPU"):
        return 0
    return tf.config.experimental.get_memory_info("GPU:0")["peak"]
