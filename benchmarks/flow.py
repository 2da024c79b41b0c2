"""Measures the engines of TV-L1 flow side by side: speed, and how far they are from OpenCV's.

    I3D_DATA=FOLDER python benchmarks/flow.py [--pairs=4] [--runs=3] [--results=FILE]

The engines work on the same pairs in turn, within one process, so that a slow moment of the machine
meets them all. One thread each, then all cores; torch on the best device there is. Videos come from
I3D_DATA; a generated one, where a texture turns, is always among them.
"""

import itertools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import processes
from absl import app, flags
from numpy.typing import NDArray

from common import assets, flow, video
from common.preprocessing import frames

PAIRS = flags.DEFINE_integer("pairs", 4, "Pairs of frames of each video.", lower_bound=1)
RUNS = flags.DEFINE_integer("runs", 3, "Counted runs of each engine.", lower_bound=1)
TORCH_PAIRS = flags.DEFINE_integer("torch_pairs", 64, "Pairs of a batch on a GPU.", lower_bound=1)
RESULTS = flags.DEFINE_string("results", None, "A file for the table as well.")

VIDEOS = (
    "arm_wrestling.mp4",
    "apply_eye_makeup.avi",
    "person_hd.mp4",
    "v_CricketShot_g04_c01_rgb.gif",
)
GENERATED = "a turning texture"

Grey = NDArray[np.uint8]


def generated(count: int) -> list[Grey]:
    """Frames of 256x340 that turn by a degree each and move by a pixel."""
    noise = np.random.default_rng(0).normal(size=(400, 500)).astype(np.float32)
    smooth = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (2, 4, 8))
    picture = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)
    out = []
    for k in range(count):
        matrix = cv2.getRotationMatrix2D((250 + k, 200), k, 1)
        turned = cv2.warpAffine(picture, matrix, (500, 400), flags=cv2.INTER_CUBIC)
        out.append(np.clip(np.rint(turned[72:328, 80:420]), 0, 255).astype(np.uint8))
    return out


def decoded(path: Path, count: int) -> list[Grey]:
    """Frames as preparation makes them: 25 a second, short side 256, grey."""
    out = []
    for frame in video.read_frames(path, fps=25, max_frames=count):
        resized = np.rint(frames.resize_short_side(frame[None], 256)[0]).astype(np.uint8)
        out.append(cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY))
    return out


def pictures(count: int) -> dict[str, list[Grey]]:
    """By name, frames of every video that is there."""
    found = {GENERATED: generated(count)}
    for name in VIDEOS:
        paths = [folder / "samples" / name for folder in assets.local_folders()]
        if path := next((path for path in paths if path.exists()), None):
            found[name] = decoded(path, count)
    return found


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def run(greys: Sequence[Grey], engine: str, threads: int = 1) -> list[NDArray[np.float32]]:
    return list(flow.flows(greys, engine=engine, threads=threads, batch=len(greys)))


def row(name: str, greys: list[Grey]) -> str:
    """One video on one thread."""
    pairs = len(greys) - 1
    expected, found = np.stack(run(greys, "opencv")), np.stack(run(greys, "numba"))
    times: dict[str, list[float]] = {"opencv": [], "numba": []}
    for _, engine in itertools.product(range(RUNS.value), times):
        times[engine].append(seconds(lambda engine=engine: run(greys, engine)) / pairs)
    theirs, ours = (median(times[engine]) for engine in ("opencv", "numba"))
    distance = np.linalg.norm(found - expected, axis=-1)
    height, width = greys[0].shape
    return (
        f"| {name} | {width}x{height} | {theirs:.3f} | {ours:.4f} | {theirs / ours:.1f} |"
        f" {distance.mean():.4f} | {np.percentile(distance, 99):.3f} |"
    )


def on_all_cores(greys: list[Grey]) -> str:
    """Pairs a second of the compiled engine by threads."""
    cores = os.cpu_count() or 1
    run(greys, "numba", cores)
    times: dict[int, list[float]] = {1: [], cores: []}
    for _, threads in itertools.product(range(RUNS.value), times):
        times[threads].append(seconds(lambda threads=threads: run(greys, "numba", threads)))
    one, all_of_them = (median(times[threads]) for threads in (1, cores))
    pairs = len(greys) - 1
    return (
        f"numba: {pairs / one:.1f} pairs a second on one thread, {pairs / all_of_them:.1f} on"
        f" {cores}: {one / all_of_them:.2f} times as fast."
    )


def by_torch(greys: list[Grey]) -> str:
    """Pairs a second of the torch engine on the best device."""
    try:
        import torch
    except ImportError:
        return "torch: not installed."
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    if cuda:
        greys = [greys[k % len(greys)] for k in range(TORCH_PAIRS.value + 1)]
    run(greys, "torch")  # compiles
    took = median(seconds(lambda: run(greys, "torch")) for _ in range(RUNS.value))
    pairs = len(greys) - 1
    return f"torch: {pairs / took:.1f} pairs a second in batches of {pairs} ({device})."


def main(argv: Sequence[str]) -> None:
    del argv
    cv2.setNumThreads(1)
    sources = pictures(PAIRS.value + 1)
    lines = [row(name, greys) for name, greys in sources.items()]
    moving = sources.get(VIDEOS[0], sources[GENERATED])
    many = [moving[k % len(moving)] for k in range(8 * PAIRS.value + 1)]
    text = "\n".join(
        [
            f"{processes.machine()}, OpenCV {cv2.__version__}.",
            "",
            f"Seconds a pair on one thread, median of {RUNS.value} runs over {PAIRS.value} pairs,"
            " and the end-point difference of numba's flow from OpenCV's in pixels.",
            "",
            "| video | size | OpenCV | numba | ratio | mean | 99th percentile |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            *lines,
            "",
            f"- {on_all_cores(many)}",
            f"- {by_torch(moving)}",
        ]
    )
    print(text)
    if RESULTS.value:
        Path(RESULTS.value).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
