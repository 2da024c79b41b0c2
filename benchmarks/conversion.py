"""Measures conversions as whole processes: seconds, peak memory, and which frameworks they import.

    python benchmarks/conversion.py [--runs=5] [--source=rgb_scratch]

Each run starts `python -m convert` anew, in turn over all targets, so that a slow moment of the
machine meets them all; the table holds medians. `python -c pass` stands beside them: what a
process costs that does nothing.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

RUNS = flags.DEFINE_integer("runs", 5, "Counted runs of each command.", lower_bound=1)
SOURCE = flags.DEFINE_string("source", "rgb_scratch", "What to convert: a name or a path.")

TARGETS = {
    "tf1 -> .pt": "model.pt",
    "tf1 -> .pt (piergiaj)": "model.pt --to=piergiaj",
    "tf1 -> .safetensors": "model.safetensors",
    "tf1 -> flax .pkl": "model.pkl",
    "tf1 -> tf1": "copy.ckpt",
}
FRAMEWORKS = ("tensorflow", "sonnet", "torch", "jax")


def measure(command: Sequence[str]) -> tuple[float, float]:
    """Seconds on the wall, and MiB of peak resident memory, of one process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    return seconds, usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def imported(arguments: Sequence[str]) -> list[str]:
    """Which frameworks `python -m convert` has imported when it ends."""
    program = (
        "import runpy, sys; sys.argv[0] = 'convert'\n"
        "try: runpy.run_module('convert', run_name='__main__')\n"
        f"finally: print(*(m for m in {FRAMEWORKS} if m in sys.modules), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.splitlines()[-1].split()


def main(argv: Sequence[str]) -> None:
    del argv
    commands = {"python -c pass": [sys.executable, "-c", "pass"]}
    with tempfile.TemporaryDirectory() as folder:
        for name, target in TARGETS.items():
            output, *options = target.split()
            flags_ = [f"--input={SOURCE.value}", f"--output={Path(folder, output)}", "--overwrite"]
            commands[name] = [sys.executable, "-m", "convert", *flags_, *options]
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for run in range(RUNS.value + 1):
            for name, command in commands.items():
                result = measure(command)
                if run:  # the first one warms up the disk's cache
                    found[name].append(result)
        frameworks = imported(commands["tf1 -> .pt"][3:])
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'':24}{'seconds':>9}{'min':>7}{'max':>7}{'peak MiB':>10}")
    for name, results in found.items():
        seconds, peaks = zip(*results, strict=True)
        print(
            f"{name:24}{statistics.median(seconds):9.2f}{min(seconds):7.2f}{max(seconds):7.2f}"
            f"{max(peaks):10.0f}"
        )
    print(f"frameworks imported by a conversion: {', '.join(frameworks) or 'none'}")


if __name__ == "__main__":
    app.run(main)
