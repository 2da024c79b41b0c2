"""Measures conversions between formats as whole processes: seconds and peak memory.

    python benchmarks/conversion.py [--runs=3] [--source=rgb_scratch] [--results=FILE]
    python benchmarks/conversion.py --architecture=r2plus1d_152_vmz --slots=6 \
        --formats=tf1_checkpoint,safetensors,mindspore_ckpt,torch_pt

Each run starts `python -m convert` in a new process, in turn over all pairs of formats. The table
holds the shortest time and the highest peak. A process that only imports NumPy is measured beside
them. With `--slots` the checkpoint is that of a training run, several GB large: it has as many
arrays of an optimiser for each parameter, which the converter skips.
"""

import dataclasses
import itertools
import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import measuring
import numpy as np
from measuring import Usage

from common import arch, command
from common.settings import setting
from convert.dialects import DIALECTS, to_native
from convert.formats import FORMATS
from convert.hub import EXPORTS

SUFFIXES = {name: module.SUFFIXES[0] for name, module in FORMATS.items() if module.SUFFIXES}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Measures conversions between formats as whole processes: seconds and peak memory."""

    runs: int = setting("Runs of each conversion.", 3, minimum=1)
    source: str | None = setting("Name or path of a checkpoint. Default: random weights.", None)
    architecture: str = setting("Network of the random weights.", "inception_i3d")
    slots: int = setting("Arrays of an optimiser for each parameter.", 0, minimum=0)
    formats: tuple[str, ...] = setting("Formats. Default: all.", (), choices=SUFFIXES)
    results: Path | None = setting("File for the table.", None)


def checkpoint(path: Path, name: str, slots: int) -> None:
    """Writes random weights with Sonnet's names, and `slots` copies as an optimiser's arrays."""
    net, rng = arch.make(name), np.random.default_rng(0)
    weights = {p.name: rng.random(p.shape, np.float32) for p in arch.parameters(net)}
    native = to_native(DIALECTS["sonnet"], net, weights)
    model = {key: np.ascontiguousarray(array) for key, array in native.items()}
    state = {f"optimizer/{i}/{key}": model[key] for i in range(slots) for key in model}
    FORMATS["safetensors"].write(path, model | state)


def convert(source: str | Path, target: Path, *options: str) -> Usage:
    """Runs one conversion in a new process."""
    files = [f"--input={source}", f"--output={target}", "--overwrite"]
    return measuring.run([sys.executable, "-m", "convert", *files, *options])


def measure(settings: Settings, folder: Path) -> tuple[float, dict[tuple[str, str], list[Usage]]]:
    """Returns the size of the checkpoint in MB, and the usages of each pair of formats."""
    names = settings.formats or tuple(SUFFIXES)
    first = folder / "first.safetensors"
    options = []
    if settings.source:
        convert(settings.source, first)
    else:
        # In a process of its own: Linux counts the memory of a parent as its children's.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(checkpoint, (first, settings.architecture, settings.slots))
        options = [f"--architecture={settings.architecture}"]
    sources = {"safetensors": first}
    for name in names:
        if name not in sources:
            sources[name] = folder / f"source{SUFFIXES[name]}"
            convert(first, sources[name], *options)
    targets = names if settings.slots else (*names, "onnx")
    suffixes = {**SUFFIXES, "onnx": EXPORTS["onnx"].suffix}
    pairs = list(itertools.product(names, targets))
    used: dict[tuple[str, str], list[Usage]] = {pair: [] for pair in pairs}
    for _, (source, target) in itertools.product(range(settings.runs), pairs):
        output = folder / f"target{suffixes[target]}"
        used[source, target].append(convert(sources[source], output, *options))
        output.unlink(missing_ok=True)
    return first.stat().st_size / 1e6, used


def _cell(usages: Sequence[Usage]) -> str:
    return f"{_seconds(usages):.2f} s, {max(usage.resident for usage in usages):.0f} MiB"


def _seconds(usages: Sequence[Usage]) -> float:
    return min(usage.seconds for usage in usages)


def main(settings: Settings) -> None:
    numpy = [sys.executable, "-c", "import numpy"]
    bare = [measuring.run(numpy) for _ in range(settings.runs)]
    with tempfile.TemporaryDirectory() as folder:
        size, used = measure(settings, Path(folder))
    report = measuring.Report(settings.results, "cpu")
    report.add(
        f"A checkpoint of {size:.0f} MB, `python -m convert` as a whole process: the shortest"
        f" time of {settings.runs} runs, the highest peak of resident memory."
    )
    targets = list(dict.fromkeys(target for _, target in used))
    rows = [
        [source, *(_cell(used[source, target]) for target in targets)]
        for source in dict.fromkeys(source for source, _ in used)
    ]
    report.add(*measuring.table(["from \\ to", *targets], rows))
    slowest = max(used, key=lambda pair: _seconds(used[pair]))
    largest = max(used, key=lambda pair: max(usage.resident for usage in used[pair]))
    report.add(
        f"- slowest: {' to '.join(slowest)}, {_cell(used[slowest])}",
        f"- largest: {' to '.join(largest)}, {_cell(used[largest])}",
        f'- `python -c "import numpy"`: {_cell(bare)}',
    )


if __name__ == "__main__":
    command.start(main, Settings)
