"""Measures the extraction of features: peak memory and frames a second, by length of the video.

    python benchmarks/features.py [--seconds_short=30] [--seconds_long=600] [--results=FILE]

Each row is `python -m i3d_torch.extract_features` on a short video and on a long one, on a CPU, a
process each; the last is `benchmarks/naive_features.py`. The network is whole and its
weights are untrained. Crops are small, so that ten minutes of video take about one.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import processes
import videos
from absl import app, flags

from common import arch
from convert import hub

SHORT = flags.DEFINE_integer("seconds_short", 30, "Of the short video.", lower_bound=1)
LONG = flags.DEFINE_integer("seconds_long", 600, "Of the long video.", lower_bound=1)
RESULTS = flags.DEFINE_string("results", None, "A file for the table as well.")

ARCHITECTURE = "inception_i3d_global"  # which takes any size
WIDTH, HEIGHT, FPS = 320, 240, 25
SHORT_SIDE, CROP = 72, 64
WINDOW = 64  # of "segment"
BATCH = 5  # what "auto" takes of such windows with the network's own crops, 224 pixels
# Of "framewise", a row a second: one a frame takes the network 25 times as long. 21 is MS-TCN's.
MODES = {
    "segment": (f"--window={WINDOW}",),
    "dense": (),
    "framewise": ("--window=21", f"--frequency={FPS}"),
}
WORKERS = (1, 2)  # and as many videos
NAIVE = Path(__file__).with_name("naive_features.py")


class Run(NamedTuple):
    """What a process has taken and made.

    Attributes:
        resident: Peak of its memory, MiB.
        rate: Frames a second, from its start to its end.
        rows: Of a video.
    """

    resident: float
    rate: float
    rows: int


def extract(folder: Path, checkpoint: Path, mode: str, workers: int) -> Run:
    """Runs the command on as many videos of a folder as there are workers."""
    with tempfile.TemporaryDirectory() as output:
        arguments = {"input": folder, "output": output, "checkpoint": checkpoint, "mode": mode}
        arguments |= {"workers": workers, "limit": workers, "architecture": ARCHITECTURE}
        arguments |= {"short_side": SHORT_SIDE, "crop_size": CROP}
        arguments |= {} if mode == "dense" else {"batch_size": BATCH}
        options = [f"--{flag}={value}" for flag, value in arguments.items()]
        command = [sys.executable, "-m", "i3d_torch.extract_features", *options, *MODES[mode]]
        used = processes.run(command)
        frames = [json.loads(path.read_text())["frames"] for path in Path(output).glob("*.json")]
        (rows,) = {len(np.load(path)) for path in Path(output).glob("*.npy")}
    return Run(used.resident, sum(frames) / used.seconds, rows)


def extract_naively(folder: Path, checkpoint: Path, seconds: int) -> Run:
    """Runs the naive script on a video of a folder."""
    with tempfile.TemporaryDirectory() as output:
        rows = Path(output, "rows.npy")
        arguments = (checkpoint, folder / "0.mp4", rows, WINDOW, SHORT_SIDE, CROP)
        used = processes.run([sys.executable, str(NAIVE), *map(str, arguments)])
        return Run(used.resident, seconds * FPS / used.seconds, len(np.load(rows)))


def measured(short: Path, long: Path, checkpoint: Path) -> Iterator[str]:
    """A row of the table for each mode and number of workers, and for the naive script."""
    for mode in MODES:
        for workers in WORKERS:
            runs = (extract(folder, checkpoint, mode, workers) for folder in (short, long))
            yield _row(" ".join((mode, *MODES[mode])), workers, *runs)
    few = extract_naively(short, checkpoint, SHORT.value)
    yield _row("naive", 1, few, extract_naively(long, checkpoint, _repeats() * SHORT.value))


def prepare(folder: Path) -> tuple[Path, Path, Path]:
    """Renders videos and writes weights; folders of short and of long videos, and a checkpoint."""
    short, long = folder / "short", folder / "long"
    for each in (short, long):
        each.mkdir()
    videos.write(short / "0.mp4", WIDTH, HEIGHT, FPS, SHORT.value * FPS)
    videos.repeat(short / "0.mp4", long / "0.mp4", _repeats())
    for each in (short, long):
        for k in range(1, max(WORKERS)):
            shutil.copy(each / "0.mp4", each / f"{k}.mp4")
    net = arch.make(ARCHITECTURE)
    checkpoint = folder / "model.safetensors"
    hub.write(hub.Weights(net, arch.initial_arrays(net)), checkpoint)
    return short, long, checkpoint


def main(argv: Sequence[str]) -> None:
    del argv
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    lengths = [f"{seconds} s" for seconds in (SHORT.value, _repeats() * SHORT.value)]
    columns = ["what", "workers", "rows of the long one"]
    columns += [*(f"peak, {each}" for each in lengths), "ratio"]
    columns += [f"frames a second, {each}" for each in lengths]
    lines = [
        f"{processes.machine()}.",
        "",
        f"{ARCHITECTURE} in PyTorch on videos of {WIDTH} x {HEIGHT}, {FPS} frames a second. Crops"
        f" have {CROP} x {CROP} pixels: the network's own, 224 x 224, would take 12 times as long."
        f" {BATCH} windows at a time, or a part of a dense map; a video for each worker. Peak"
        " resident memory in MiB, and how many times as much the long video takes; frames of all"
        " videos a second, from the start of the process to its end. Rows stay in memory until"
        " their video ends, 4 KiB each. The naive script has all decoded frames in one array, and"
        f" runs one window of {WINDOW} at a time.",
        "",
        f"| {' | '.join(columns)} |",
        f"| --- |{' ---: |' * (len(columns) - 1)}",
    ]
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as folder:
        for line in measured(*prepare(Path(folder))):
            lines.append(line)
            print(line, flush=True)
    if RESULTS.value:
        Path(RESULTS.value).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _repeats() -> int:
    """How often the long video has what the short one has."""
    return max(1, LONG.value // SHORT.value)


def _row(what: str, workers: int, short: Run, long: Run) -> str:
    return (
        f"| {what} | {workers} | {long.rows} | {short.resident:.0f} | {long.resident:.0f} |"
        f" {long.resident / short.resident:.2f} | {short.rate:.0f} | {long.rate:.0f} |"
    )


if __name__ == "__main__":
    app.run(main)
