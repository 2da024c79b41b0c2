"""Measures functions in turn and whole processes, describes the machine, and writes tables."""

import contextlib
import ctypes
import datetime
import importlib.metadata
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import av
import cv2
import numpy as np
from numpy.typing import ArrayLike

from common import hardware, models
from common.io import write_text
from convert import published

Run = Callable[[], Any]
Key = TypeVar("Key", bound=Hashable)

PACKAGES = ("numpy", "torch", "tensorflow", "opencv-contrib-python")
MIB = 2**20

# From malloc.h, and the values that glibc reaches after freeing a block of 32 MiB (mallopt(3)).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_USUAL = {_M_MMAP_THRESHOLD: 32 * MIB, _M_TRIM_THRESHOLD: 64 * MIB, _M_MMAP_MAX: 65536}


class Work(NamedTuple):
    """A function to measure.

    Attributes:
        run: Does the work once, to its end.
        kept: Whether freed memory stays with the process, as in the project's commands, or returns
            to the system as usual.
    """

    run: Run
    kept: bool


class Usage(NamedTuple):
    """Wall-clock seconds of a process, and its peak resident memory in MiB."""

    seconds: float
    resident: float


def in_turn(works: Mapping[Key, Work], rounds: int) -> dict[Key, list[float]]:
    """Returns the seconds of each work in each round; every round runs all works.

    A slow moment of the machine therefore affects all of them. A turn begins with an uncounted
    call, because another work has left its own data in the caches and in memory.
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
    """Makes glibc keep freed memory, or return it to the system as it does by default."""
    if kept:
        models.keep_freed_memory()
        return
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for parameter, value in _USUAL.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)


def peak_memory(kept: bool, make: Callable[..., Run], *arguments: object) -> float:
    """Returns the peak memory in MiB of a new process that does a work twice.

    It is the resident memory, or the GPU's if PyTorch or TensorFlow has used one.

    Args:
        kept: See `Work`.
        make: Module-level function that makes the work in that process.
        arguments: Its arguments.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (kept, make, arguments))


def _peak(kept: bool, make: Callable[..., Run], arguments: tuple[object, ...]) -> float:
    allocate(kept)
    work = make(*arguments)
    work()
    work()
    used = 0
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        used = torch.cuda.max_memory_allocated()
    if (tf := sys.modules.get("tensorflow")) and tf.config.list_physical_devices("GPU"):
        used = max(used, tf.config.experimental.get_memory_info("GPU:0")["peak"])
    if used:
        return used / MIB
    # The kernel hands the maximum of getrusage on from the process that started this one.
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


def run(command: Sequence[str | os.PathLike[str]]) -> Usage:
    """Runs a command to its end; RuntimeError if it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        text = " ".join(map(os.fspath, command))
        raise RuntimeError(f"{text} ended with status {process.returncode}")
    return Usage(seconds, usage.ru_maxrss / 1024)


def relative_error(found: ArrayLike, expected: ArrayLike) -> float:
    """Returns the largest difference as a share of the largest expected value."""
    difference = np.abs(np.asarray(found, np.float64) - np.asarray(expected, np.float64))
    return float(difference.max() / np.abs(expected).max())


def begin(device: str) -> None:
    """Hides all GPUs for "cpu"; for "gpu", disables TF32.

    Call it before a framework is imported.

    Raises:
        ValueError: There is no GPU.
    """
    allocate(kept=True)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # for cuBLAS and cuDNN in both frameworks
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"  # TensorFlow shares the GPU with PyTorch
    import torch

    if not torch.cuda.is_available():
        raise ValueError("PyTorch finds no CUDA device. Leave out --device=gpu.")


class Report:
    """Markdown that is printed, and written to a file if there is a path.

    It begins with a line on the machine. The file is written at each addition, because the next
    measurement may take long.
    """

    def __init__(self, path: Path | None, device: str, note: str = ""):
        self._path = path
        self._lines: list[str] = []
        self.add(f"{_machine(device)} {note}".strip())

    def add(self, *lines: str) -> None:
        """Adds a paragraph."""
        new = [*([""] if self._lines else []), *lines]
        self._lines += new
        print("\n".join(new), flush=True)
        if self._path:
            write_text(self._path, "\n".join(self._lines) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> list[str]:
    """Returns a Markdown table whose first `texts` columns are texts."""
    aligned = [*["---"] * texts, *["---:"] * (len(columns) - texts)]
    return [f"| {' | '.join(cells)} |" for cells in (columns, aligned, *rows)]


def number(value: float) -> str:
    """Formats three digits, or all digits before the point."""
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def write_video(path: Path, width: int, height: int, fps: int, count: int) -> None:
    """Writes an H.264 video with B-frames of a coloured texture that rotates and drifts."""
    noise = np.random.default_rng(0).normal(size=(height, width, 3)).astype(np.float32)
    smooth = sum(
        cv2.GaussianBlur(noise, (0, 0), sigma * height / 256) * sigma for sigma in (1, 2, 4, 8)
    )
    texture = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(count):
            matrix = cv2.getRotationMatrix2D((width / 2, height / 2), k, 1)  # a degree a frame
            matrix[0, 2] += k * height / 256
            size = (width, height)
            frame = cv2.warpAffine(texture, matrix, size, borderMode=cv2.BORDER_REFLECT)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))


def samples(*names: str) -> dict[str, Path]:
    """Returns the samples of these names that exist in I3D_DATA or data/."""
    folders = [folder / "samples" for folder in published.local_folders()]
    return {name: folder / name for name in names for folder in folders if (folder / name).exists()}


def _machine(device: str) -> str:
    parts = [str(datetime.date.today())]
    if device == "gpu":
        import torch

        parts += [torch.cuda.get_device_name(), f"CUDA {torch.version.cuda}"]
    cpu = platform.machine()
    if (cpus := Path("/proc/cpuinfo")).is_file():
        names = [line for line in cpus.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    parts += [cpu, f"{hardware.processors()} cores", platform.system()]
    parts.append(f"Python {platform.python_version()}")
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            parts.append(f"{package} {importlib.metadata.version(package)}")
    return f"{', '.join(parts)}."
