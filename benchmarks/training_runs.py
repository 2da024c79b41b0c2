"""Measures runs of training on a CPU: how fast they are, how they wait for data, and their memory.

    python benchmarks/training_runs.py [--steps=500] [--streams=rgb,flow] [--results=FILE]

Each run is `python -m i3d_X.train` as a process of its own, on rendered videos whose frames and
flow the commands of preparation have extracted. The network is whole, the clips are tiny. Rates
and waiting are those of the run's own log; memory is the kernel's, of the training process without
the workers, looked at whenever the log has a new line. A step alone is `benchmarks/train.py`.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import processes
from absl import app, flags

from common.demo import chain, motions
from common.training import journal, snapshots
from common.training.recipes import STREAMS
from common.training.snapshots import RunFolder

STEPS = flags.DEFINE_integer("steps", 500, "Of each run.", lower_bound=150)
NAMES = flags.DEFINE_list("streams", list(STREAMS), "rgb, flow or both.")
RESULTS = flags.DEFINE_string("results", None, "A file for the table as well.")

FRAMEWORKS = {"i3d_tf": "sonnet", "i3d_torch": "torch"}  # and what each needs
WORKERS = (0, 1, 4)
BATCH, FRAMES, SIDE = 2, 8, 32
SCENES = 4  # in eight videos each
NOTED = 10  # steps from one line of the log to the next
FIRST = 50  # steps that do not count: compilers, caches, workers that start
LAST = 5  # notes whose memory is compared with that of as many after the first steps
WRITES = 5  # of a snapshot
_SAMPLES = 0.01  # seconds between two looks at the log


class Run(NamedTuple):
    """What a run has shown.

    Attributes:
        rate: Clips a second.
        waited: Share of the time that was waited for data.
        peak: Of resident memory, MiB.
        growth: Of resident memory from the first steps to the last, MiB.
    """

    rate: float
    waited: float
    peak: float
    growth: float


def prepare(folder: Path) -> None:
    """Renders videos and extracts what is trained on, as the demonstration does."""
    options = chain.Options("", folder, train=SCENES, test=1)
    motions.render(motions.Options(folder, options.train, options.test))
    for module, *arguments in chain.commands(options):
        if module.startswith("common.prepare."):
            processes.run([sys.executable, "-m", module, *arguments])


def train(folder: Path, framework: str, stream: str, workers: int) -> Run:
    """Runs a training in folder/run to its end, which is not there before."""
    output = folder / "run"
    resident, peak = _watched(_command(folder, output, framework, stream, workers), output)
    notes = [note for note in journal.read_log(output) if "clips_per_second" in note]
    counted = [note for note in notes if note["step"] > FIRST]
    rates = np.array([note["clips_per_second"] for note in counted])
    waits = np.array([note["data_wait"] for note in counted])
    # The last note comes when the snapshot is about to be made.
    seen = [mib for step, mib in resident.items() if FIRST < step < STEPS.value]
    return Run(
        rate=len(rates) / (1 / rates).sum(),
        waited=np.average(waits, weights=1 / rates),
        peak=peak,
        growth=median(seen[-LAST:]) - median(seen[:LAST]),
    )


def snapshot_cost(folder: Path) -> tuple[float, float]:
    """MiB and seconds of the last snapshot of folder/run, written once more to the same disk."""
    found = max((folder / "run" / "snapshots").iterdir())
    snapshot, seconds = snapshots.read(found), []
    for k in range(WRITES):
        target = RunFolder(folder / f"again_{k}")
        target.path.joinpath("snapshots").mkdir(parents=True)
        began = time.perf_counter()
        target.write(snapshot)
        seconds.append(time.perf_counter() - began)
    return found.stat().st_size / processes.MIB, median(seconds)


def main(argv: Sequence[str]) -> None:
    del argv
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
    lines = [
        f"{processes.machine()}.",
        "",
        f"InceptionI3D, {STEPS.value} steps of {BATCH} clips of {FRAMES} frames, {SIDE} x {SIDE}"
        f" pixels; the first {FIRST} steps do not count. Resident memory of the training process,"
        " without the workers, in MiB: its peak, and by how much it grows from the first steps"
        " that count to the last.",
        "",
        "| framework | stream | workers | clips a second | waiting for data | peak | growth |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    print("\n".join(lines))
    costs = []
    with tempfile.TemporaryDirectory() as data:
        prepare(Path(data))
        for framework, stream, workers in _runs():
            with tempfile.TemporaryDirectory(dir=data) as folder:
                for name in ("frames", "flow", "motions.json"):
                    Path(folder, name).symlink_to(Path(data, name))
                run = train(Path(folder), framework, stream, workers)
                if not workers:
                    size, seconds = snapshot_cost(Path(folder))
                    costs.append(f"| {framework} | {stream} | {size:.0f} | {seconds:.2f} |")
            lines.append(
                f"| {framework} | {stream} | {workers} | {run.rate:.1f} | {run.waited:.1%} |"
                f" {run.peak:.0f} | {run.growth:+.0f} |"
            )
            print(lines[-1], flush=True)
    table = [
        "",
        f"Writing the last snapshot, weights and momentum; the median of {WRITES} times.",
        "",
        "| framework | stream | MiB | seconds |",
        "| --- | --- | ---: | ---: |",
        *costs,
    ]
    print("\n".join(table))
    if RESULTS.value:
        Path(RESULTS.value).write_text("\n".join(lines + table) + "\n", encoding="utf-8")


def _runs() -> Iterator[tuple[str, str, int]]:
    for framework, needed in FRAMEWORKS.items():
        if importlib.util.find_spec(needed):
            for stream in NAMES.value:
                yield from ((framework, stream, workers) for workers in WORKERS)


def _command(folder: Path, output: Path, framework: str, stream: str, workers: int) -> list[str]:
    fields = {
        "steps": STEPS.value,
        "batch": BATCH,
        "sample_duration": FRAMES,
        "short_side": f"{SIDE},{SIDE}",
        "crop": SIDE,
        "global_pool": "true",
        "log_every": NOTED,
        "snapshot_every": STEPS.value,
        "evaluate_every": STEPS.value,
    }
    return [
        *(sys.executable, "-m", f"{framework}.train", "--recipe=finetune", f"--streams={stream}"),
        *(f"--annotations={folder}/motions.json", f"--output={output}", f"--workers={workers}"),
        f"--rgb={folder}/frames" if stream == "rgb" else f"--flow={folder}/flow",
        *(f"--set={name}={value}" for name, value in fields.items()),
    ]


def _watched(command: Sequence[str], output: Path) -> tuple[Mapping[int, float], float]:
    """Runs a training; its resident memory in MiB at each step that was noted, and the peak."""
    log, seen, size, peak = output / journal.LOG, dict[int, float](), 0, 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            memory = processes.memory(process.pid)
            peak = max(peak, memory.get("VmHWM", 0.0))
            now = log.stat().st_size if log.exists() else 0
            if now > size and "VmRSS" in memory:
                size = now
                seen[journal.read_log(output)[-1]["step"]] = memory["VmRSS"]
            time.sleep(_SAMPLES)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    return seen, peak


if __name__ == "__main__":
    app.run(main)
