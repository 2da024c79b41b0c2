"""Measures conversions between every two formats as whole processes: seconds and peak memory.

    python benchmarks/conversion.py [--runs=3] [--source=rgb_scratch] [--results=FILE]

Each run starts `python -m convert` anew, in turn over all pairs, so that a slow moment of the
machine meets them all; the table holds the shortest time and the highest peak. What a process costs
that only imports NumPy stands beside them.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import processes
from absl import app, flags

from convert.exports import onnx
from convert.formats import FORMATS

RUNS = flags.DEFINE_integer("runs", 3, "Counted runs of each command.", lower_bound=1)
SOURCE = flags.DEFINE_string(
    "source", None, "What to convert, a name or a path; by default random weights of InceptionI3D."
)
RESULTS = flags.DEFINE_string("results", None, "A file for the table as well.")

SUFFIXES = {name: module.SUFFIXES[0] for name, module in FORMATS.items() if module.SUFFIXES}
TARGETS = {**SUFFIXES, onnx.NAME: onnx.SUFFIXES[0]}
PAIRS = [(source, target) for source in SUFFIXES for target in TARGETS]
FRAMEWORKS = ("tensorflow", "sonnet", "torch", "jax")

# The project's own aim for 50 MB, where neither side needs a framework.
MOST_SECONDS, MOST_MIB = 1.0, 250

# In a process of its own: a process that Linux starts counts what its parent has as its own.
_RANDOM = """
import sys
from common import arch
from convert import hub
from parity_tests import randomise
net = arch.inception_i3d()
hub.write(hub.Weights(net, randomise.arrays(net)), sys.argv[1])
"""


def prepare(folder: Path) -> dict[str, Path]:
    """The checkpoint in every format."""
    sources = {name: folder / f"source{suffix}" for name, suffix in SUFFIXES.items()}
    first = sources["safetensors"]
    if SOURCE.value:
        processes.run(processes.convert(SOURCE.value, first))
    else:
        processes.run([sys.executable, "-c", _RANDOM, str(first)])
    for path in sources.values():
        if path != first:
            processes.run(processes.convert(first, path))
    return sources


def imported(source: Path, target: Path) -> list[str]:
    """Which frameworks `python -m convert` has imported when it ends."""
    program = (
        "import runpy, sys; sys.argv[0] = 'convert'\n"
        "try: runpy.run_module('convert', run_name='__main__')\n"
        f"finally: print(*(m for m in {FRAMEWORKS} if m in sys.modules), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, *processes.convert(source, target)[3:]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stderr.splitlines()[-1].split()


def table(used: Mapping[tuple[str, str], Sequence[processes.Usage]]) -> list[str]:
    """Sources down, targets across."""
    lines = [f"| from \\ to | {' | '.join(TARGETS)} |", "| --- |" + " ---: |" * len(TARGETS)]
    for source in SUFFIXES:
        cells = [
            f"{_seconds(used[source, target]):.2f} s, {_peak(used[source, target]):.0f} MiB"
            for target in TARGETS
        ]
        lines.append(f"| {source} | {' | '.join(cells)} |")
    return lines


def _seconds(runs: Sequence[processes.Usage]) -> float:
    return min(run.seconds for run in runs)


def _peak(runs: Sequence[processes.Usage]) -> float:
    return max(run.resident for run in runs)


def main(argv: Sequence[str]) -> None:
    del argv
    bare: list[processes.Usage] = []
    used: dict[tuple[str, str], list[processes.Usage]] = {pair: [] for pair in PAIRS}
    with tempfile.TemporaryDirectory() as folder:
        sources = prepare(Path(folder))
        targets = {name: Path(folder, f"target{suffix}") for name, suffix in TARGETS.items()}
        size = sources["safetensors"].stat().st_size / 1e6
        for _ in range(RUNS.value):
            bare.append(processes.run([sys.executable, "-c", "import numpy"]))
            for source, target in PAIRS:
                command = processes.convert(sources[source], targets[target])
                used[source, target].append(processes.run(command))
        frameworks = imported(sources["tf1_checkpoint"], targets["torch_pt"])
    slowest = max(PAIRS, key=lambda pair: _seconds(used[pair]))
    largest = max(PAIRS, key=lambda pair: _peak(used[pair]))
    start = _seconds(bare)
    text = "\n".join(
        [
            f"{processes.machine()}.",
            "",
            f"A checkpoint of {size:.0f} MB, `python -m convert` as a whole process: the shortest"
            f" time of {RUNS.value} runs, the highest peak of resident memory.",
            "",
            *table(used),
            "",
            f"- slowest: {' to '.join(slowest)}, {_seconds(used[slowest]):.2f} s (aim:"
            f" {MOST_SECONDS:g} s), {_seconds(used[slowest]) / start:.1f} times a bare start",
            f"- largest: {' to '.join(largest)}, {_peak(used[largest]):.0f} MiB (aim:"
            f" {MOST_MIB} MiB)",
            f'- a bare start, `python -c "import numpy"`: {start:.2f} s, {_peak(bare):.0f} MiB',
            f"- frameworks imported by a conversion: {', '.join(frameworks) or 'none'}",
        ]
    )
    print(text)
    if RESULTS.value:
        Path(RESULTS.value).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
