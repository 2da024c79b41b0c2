"""Measures the TV-L1 flow engines: speed, and the difference from OpenCV's flow.

    I3D_DATA=FOLDER python benchmarks/flow.py [--pairs=4] [--runs=3] [--results=FILE]

The engines take turns on the same pairs in one process: one thread each, then all cores, and torch
on the best device. One video is generated; the others are samples in I3D_DATA.
"""

import dataclasses
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import cv2
import measuring
import numpy as np
from measuring import Work
from numpy.typing import NDArray

from common import command, flow, video
from common.preprocessing import frames
from common.settings import setting

SAMPLES = (
    "arm_wrestling.mp4",
    "apply_eye_makeup.avi",
    "person_hd.mp4",
    "v_CricketShot_g04_c01_rgb.gif",
)

Grey = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Measures the TV-L1 flow engines: speed, and the difference from OpenCV's flow."""

    pairs: int = setting("Pairs of frames of each video.", 4, minimum=1)
    runs: int = setting("Turns of each engine.", 3, minimum=1)
    torch_pairs: int = setting("Pairs in a batch on a GPU.", 64, minimum=1)
    results: Path | None = setting("File for the table.", None)


def decoded(path: Path, count: int) -> list[Grey]:
    """Returns frames as preparation reads them: 25 fps, short side 256, grey."""
    out = []
    for frame in video.read_frames(path, fps=25, max_frames=count):
        resized = np.rint(frames.resize_short_side(frame[None], 256)[0]).astype(np.uint8)
        out.append(cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY))
    return out


def run(greys: Sequence[Grey], engine: str, threads: int = 1) -> list[NDArray[np.float32]]:
    return list(flow.flows(greys, engine=engine, threads=threads, batch=len(greys)))


def row(name: str, greys: list[Grey], runs: int) -> list[str]:
    """Measures one video on one thread; returns the cells of a table's row."""
    works = {e: Work(lambda e=e: run(greys, e), kept=True) for e in ("opencv", "numba")}
    expected, found = (np.stack(work.run()) for work in works.values())
    taken = measuring.in_turn(works, runs)
    theirs, ours = (median(seconds) / (len(greys) - 1) for seconds in taken.values())
    distance = np.linalg.norm(found - expected, axis=-1)
    height, width = greys[0].shape
    speeds = [f"{theirs:.3f}", f"{ours:.4f}", f"{theirs / ours:.1f}"]
    errors = [f"{distance.mean():.4f}", f"{np.percentile(distance, 99):.3f}"]
    return [name, f"{width}x{height}", *speeds, *errors]


def on_all_cores(greys: list[Grey], runs: int) -> str:
    """Measures the compiled engine by number of threads."""
    cores = os.cpu_count() or 1
    works = {n: Work(lambda n=n: run(greys, "numba", n), kept=True) for n in (1, cores)}
    taken = measuring.in_turn(works, runs)
    one, many = ((len(greys) - 1) / median(taken[threads]) for threads in (1, cores))
    return (
        f"numba: {one:.1f} pairs a second on one thread, {many:.1f} on {cores}:"
        f" {many / one:.2f} times as fast."
    )


def by_torch(greys: list[Grey], settings: Settings) -> str:
    """Measures the torch engine on the best device."""
    try:
        import torch
    except ImportError:
        return "torch: not installed."
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    if cuda:
        greys = [greys[k % len(greys)] for k in range(settings.torch_pairs + 1)]
    work = Work(lambda: run(greys, "torch"), kept=True)
    took = median(measuring.in_turn({"torch": work}, settings.runs)["torch"])
    pairs = len(greys) - 1
    return f"torch: {pairs / took:.1f} pairs a second in batches of {pairs} ({device})."


def main(settings: Settings) -> None:
    cv2.setNumThreads(1)
    count = settings.pairs + 1
    with tempfile.TemporaryDirectory() as folder:
        generated = Path(folder, "generated.mp4")
        measuring.write_video(generated, 340, 256, 25, count)
        sources = {"a generated video": generated, **measuring.samples(*SAMPLES)}
        greys = {name: decoded(path, count) for name, path in sources.items()}
    moving = list(greys.values())[min(1, len(greys) - 1)]
    many = [moving[k % len(moving)] for k in range(8 * settings.pairs + 1)]
    report = measuring.Report(settings.results, "cpu")
    report.add(
        f"Seconds a pair on one thread, median of {settings.runs} runs over {settings.pairs} pairs,"
        " and the end-point difference of numba's flow from OpenCV's in pixels."
    )
    columns = ("video", "size", "OpenCV", "numba", "ratio", "mean", "99th percentile")
    rows = (row(name, each, settings.runs) for name, each in greys.items())
    report.add(*measuring.table(columns, rows))
    report.add(f"- {on_all_cores(many, settings.runs)}", f"- {by_torch(moving, settings)}")


if __name__ == "__main__":
    command.start(main, Settings)
