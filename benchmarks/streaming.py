"""Measures the memory that conversions of a checkpoint of several GB take.

    python benchmarks/streaming.py [--slots=6] [--dtype=float32] [--results=FILE]

The checkpoint is that of a training run: R(2+1)D-152 and some arrays of an optimiser for each
parameter, which are passed over. Each format is converted to each other. The table has what the
process allocated itself, the mapped pages of files that it held at a time, and the peak of both as
the kernel counted it, beside the largest tensor.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import processes
from absl import app, flags

from common import arch
from convert.dialects import DIALECTS, to_native
from convert.formats import FORMATS

SLOTS = flags.DEFINE_integer("slots", 6, "Arrays of the optimiser for a parameter.", lower_bound=0)
DTYPE = flags.DEFINE_enum("dtype", "float32", ["float16", "float32", "float64"], "Type of all.")
RESULTS = flags.DEFINE_string("results", None, "A file for the table as well.")

CONTAINERS = ("tf1_checkpoint", "safetensors", "mindspore_ckpt", "torch_pt")
ARCHITECTURE = "r2plus1d_152_vmz"


def training_run(slots: int, dtype: str) -> dict[str, np.ndarray]:
    """Weights with the names and layouts of Sonnet, and `slots` times as much to pass over."""
    net, rng = arch.make(ARCHITECTURE), np.random.default_rng(0)
    weights = {p.name: rng.random(p.shape, np.float32) for p in arch.parameters(net)}
    native = to_native(DIALECTS["sonnet"], net, weights)
    model = {name: np.ascontiguousarray(array, dtype) for name, array in native.items()}
    # The same memory again and again: what is measured is the process that reads the file.
    state = {f"optimizer/{i}/{name}": model[name] for i in range(slots) for name in model}
    return model | state


def main(argv: Sequence[str]) -> None:
    del argv
    arrays = training_run(SLOTS.value, DTYPE.value)
    size = sum(array.nbytes for array in arrays.values()) / processes.MIB
    largest = max(array.nbytes for array in arrays.values()) / processes.MIB
    lines = [
        f"{processes.machine()}.",
        "",
        f"{ARCHITECTURE} with {SLOTS.value} arrays of an optimiser for each, {DTYPE.value}: a file"
        f" of {size:.0f} MiB, its largest tensor {largest:.0f} MiB. Memory in MiB.",
        "",
        "| from | to | seconds | allocated | mapped pages | peak of both |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    print("\n".join(lines))
    for container in CONTAINERS:
        # One source at a time: a temporary folder may have less room than four of them take.
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, f"source{FORMATS[container].SUFFIXES[0]}")
            FORMATS[container].write(source, arrays)
            for target in CONTAINERS:
                output = Path(folder, f"target{FORMATS[target].SUFFIXES[0]}")
                options = f"--architecture={ARCHITECTURE}", f"--format={target}"
                used = processes.run(processes.convert(source, output, *options), sampled=True)
                lines.append(
                    f"| {container} | {target} | {used.seconds:.1f} | {used.allocated:.0f}"
                    f" | {used.mapped:.0f} | {used.resident:.0f} |"
                )
                print(lines[-1], flush=True)
    if RESULTS.value:
        Path(RESULTS.value).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
