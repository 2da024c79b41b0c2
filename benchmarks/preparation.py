"""Measures preparation: each stage beside what OpenCV has for it, then whole commands.

    I3D_DATA=FOLDER python benchmarks/preparation.py [--runs=3] [--results=FILE]

Ours and OpenCV's take turns on the same frames, within the same processes, so that a slow moment of
the machine meets both; every process has one thread. On all cores, as many processes do the same at
the same time. The videos are generated; those of I3D_DATA are taken where it is there.
"""

import functools
import itertools
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import processes
import videos
from absl import app, flags
from numpy.typing import NDArray

from common import assets, flow, video
from common.preprocessing import frames, resizing
from common.processors import THREADS
from common.video import storing

RUNS = flags.DEFINE_integer("runs", 3, "Counted runs of each.", lower_bound=1)
RESULTS = flags.DEFINE_string("results", None, "A file for the tables as well.")

SIZES = {"generated, 340x256": (340, 256, 150), "generated, 1080p": (1920, 1080, 90)}
SAMPLES = ("arm_wrestling.mp4", "apply_eye_makeup.avi", "person_hd.mp4")

SHORT_SIDE = 256
RESIZING = f"resizing to {SHORT_SIDE}"  # not measured where frames have that size
HELD = 24  # frames of a video that the stages after decoding work on; 150 MB of 1080p a process
PAIRS = 1  # for flow; some videos take OpenCV seconds a pair

Image = NDArray[np.uint8]
Work = Callable[[Path], int]  # from a video to the number of frames, or of flows, that came out


def decode(path: Path) -> int:
    # As OpenCV does, pixels are left as they are stored.
    return sum(1 for _ in video.read_frames(path, threads=1, square_pixels=False))


def resample(path: Path) -> int:
    return sum(1 for _ in video.read_frames(path, fps=25, threads=1))


def capture(path: Path) -> int:
    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    count = 0
    while (read := reader.read())[0]:
        cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
        count += 1
    return count


def resize(path: Path) -> int:
    return len([resizing.resize_short_side(frame, SHORT_SIDE) for frame in _held(path)])


def resize_by_opencv(path: Path) -> int:
    height, width = _small(path)[0].shape[:2]
    return len([cv2.resize(frame, (width, height)) for frame in _held(path)])


def write(path: Path) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return storing.write_rgb(Path(folder), "clip", _small(path))


def write_by_opencv(path: Path) -> int:
    quality = [cv2.IMWRITE_JPEG_QUALITY, storing.QUALITY]
    with tempfile.TemporaryDirectory() as folder:
        for k, frame in enumerate(_small(path), 1):
            bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
            cv2.imwrite(f"{folder}/image_{k:05d}.jpg", bgr, quality)
    return len(_small(path))


def find_flow(engine: str, path: Path) -> int:
    greys = [frames.to_grey(frame) for frame in _small(path)[: PAIRS + 1]]
    return sum(1 for _ in flow.flows(greys, engine=engine, batch=PAIRS))


STAGES: Mapping[str, Mapping[str, Work]] = {
    "decoding": {"ours": decode, "OpenCV": capture},
    "decoding at 25 fps": {"ours": resample},
    RESIZING: {"ours": resize, "OpenCV": resize_by_opencv},
    "writing jpgs": {"ours": write, "OpenCV": write_by_opencv},
    "flow": {
        "numba": functools.partial(find_flow, "numba"),
        "torch": functools.partial(find_flow, "torch"),
        "OpenCV": functools.partial(find_flow, "opencv"),
    },
}
SLOW = "torch"  # to compile, and on a CPU: for the first video alone

# Commands with how many videos each process gets: enough to make little of starting it.
COMMANDS = {"extract_frames": 4, "extract_flow": 1}


def stage_rows(name: str, path: Path, pools: Mapping[int, Pool], slow: bool) -> Iterator[str]:
    """A row for each stage and each of ours."""
    stored = video.info(path)
    for stage, works in STAGES.items():
        if stage == RESIZING and min(stored.width, stored.height) == SHORT_SIDE:
            continue
        workers = [by for by in works if slow or by != SLOW]
        rates: dict[tuple[str, int], list[float]] = defaultdict(list)
        for run, by, count in itertools.product(range(RUNS.value + 1), workers, pools):
            done = pools[count].map(_work, [(stage, by, path)] * count, chunksize=1)
            if run:  # the first one is for caches and compilers
                amounts, seconds = zip(*done, strict=True)
                rates[by, count].append(sum(amounts) / max(seconds))
        for by in workers:
            if by == "OpenCV":
                continue
            cells = [_cells(rates[by, count], rates["OpenCV", count]) for count in pools]
            label = stage if by == "ours" else f"{stage}, {by}"
            yield f"| {label} | {name} | {' | '.join(cells)} |"


def command_row(command: str, name: str, path: Path, counts: Sequence[int]) -> str:
    """Frames a second of a command from its start to its end, by its processes."""
    rates: dict[int, list[float]] = defaultdict(list)
    each = COMMANDS[command]
    with tempfile.TemporaryDirectory() as root:
        for k in range(each * max(counts)):
            shutil.copy(path, Path(root, f"{k}{path.suffix}"))
        for _, count in itertools.product(range(RUNS.value), counts):
            with tempfile.TemporaryDirectory() as output:
                arguments = {"input": root, "output": output, "workers": count}
                arguments |= {"limit": each * count, "short_side": SHORT_SIDE}
                options = [f"--{flag}={value}" for flag, value in arguments.items()]
                used = processes.run([sys.executable, "-m", f"common.prepare.{command}", *options])
                written = sum(1 for _ in Path(output).rglob("image_*.jpg"))
            done = written // 2 if command == "extract_flow" else written
            rates[count].append(done / used.seconds)
    cells = [_number(rates[count]) for count in counts]
    gain = median(rates[counts[-1]]) / median(rates[1])
    return f"| {command} | {name} | {done // counts[-1]} | {' | '.join(cells)} | {gain:.2f} |"


def sources(folder: Path) -> dict[str, Path]:
    """Videos by name, generated ones first."""
    found: dict[str, Path] = {}
    for name, (width, height, count) in SIZES.items():
        found[name] = folder / f"{height}.mp4"
        videos.write(found[name], width, height, 30, count)
    for name, root in itertools.product(SAMPLES, assets.local_folders()):
        if (path := root / "samples" / name).exists():
            found.setdefault(name, path)
    return found


def _cells(ours: Sequence[float], theirs: Sequence[float]) -> str:
    if not theirs:
        return f"{_number(ours)} | - | -"
    return f"{_number(ours)} | {_number(theirs)} | {median(ours) / median(theirs):.2f}"


def _number(rates: Sequence[float]) -> str:
    rate = median(rates)
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}"


@functools.lru_cache(maxsize=1)
def _held(path: Path) -> list[Image]:
    return list(video.read_frames(path, max_frames=HELD, threads=1))


@functools.lru_cache(maxsize=1)
def _small(path: Path) -> list[Image]:
    return [resizing.resize_short_side(frame, SHORT_SIDE) for frame in _held(path)]


def _begin(barrier: Barrier) -> None:
    cv2.setNumThreads(1)
    _work.barrier = barrier  # type: ignore[attr-defined]


def _work(task: tuple[str, str, Path]) -> tuple[int, float]:
    """Frames done and seconds taken; all processes of a pool begin together."""
    stage, by, path = task
    _small(path)
    _work.barrier.wait()  # type: ignore[attr-defined]
    began = time.perf_counter()
    count = STAGES[stage][by](path)
    return count, time.perf_counter() - began


def main(argv: Sequence[str]) -> None:
    del argv
    # For every process that is started here; a GPU has benchmarks/flow.py.
    os.environ |= {**dict.fromkeys(THREADS, "1"), "CUDA_VISIBLE_DEVICES": ""}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    counts = sorted({1, cores or 1})
    context = multiprocessing.get_context("spawn")
    pools = {
        count: context.Pool(count, _begin, [context.Barrier(count, timeout=60)]) for count in counts
    }
    names = ["one core" if count == 1 else f"{count} cores" for count in counts]
    columns = [f"{name}: ours | OpenCV | ratio" for name in names]
    lines = [
        f"{processes.machine()}, OpenCV {cv2.__version__}.",
        "",
        f"Frames, or flows, that come out a second; the median of {RUNS.value} runs. OpenCV: "
        "`VideoCapture` and BGR to RGB, `resize` of uint8, `imwrite` and `DualTVL1OpticalFlow`.",
        "",
        f"| stage | video | {' | '.join(columns)} |",
        "| --- | --- |" + " ---: |" * 3 * len(counts),
    ]
    print("\n".join(lines))

    def add(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        found = sources(Path(folder))
        for k, (name, path) in enumerate(found.items()):
            for row in stage_rows(name, path, pools, slow=not k):
                add(row)
        for pool in pools.values():
            pool.terminate()
        add("")
        add("Whole commands, from their start to their end, processes of one thread.")
        add("")
        add(f"| command | video | frames each | {' | '.join(names)} | ratio |")
        add("| --- | --- | ---: |" + " ---: |" * (len(counts) + 1))
        for command, name in itertools.product(COMMANDS, SIZES):
            add(command_row(command, name, found[name], counts))
    if RESULTS.value:
        Path(RESULTS.value).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
