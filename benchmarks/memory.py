"""Measures the peak memory of preparation against the length of a video.

    python benchmarks/memory.py [--minutes=10] [--fps=10] [--results=FILE]

A video of 1080p and ten seconds, and one that repeats its packets for so many minutes, are read,
and made into frames and into flow, each by a process of its own.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import processes
import videos
from absl import app, flags

MINUTES = flags.DEFINE_integer("minutes", 10, "Length of the long video.", lower_bound=1)
FPS = flags.DEFINE_integer("fps", 10, "Frames a second of both.", lower_bound=1)
RESULTS = flags.DEFINE_string("results", None, "A file for the table as well.")

SECONDS = 10  # of the short one

# One thread, as in the commands: how many frames several are ahead of each other is chance.
_READ = """
import sys
from common import video
for _ in video.read_frames(sys.argv[1], threads=1): pass
"""
# One iteration: each pair of frames takes less time, and what is held of the video is the same.
_ONE_ITERATION = [
    f"--tvl1={name}=1" for name in ("scales", "warps", "outer_iterations", "inner_iterations")
]


def commands(source: Path, output: Path) -> dict[str, list[str]]:
    """Commands by name that read a video; all is done within the process that is started."""
    prepare = [sys.executable, "-m"]
    options = [f"--input={source}", f"--output={output}", "--short_side=256", "--workers=0"]
    options.append(f"--fps={FPS.value}")
    return {
        "read_frames": [sys.executable, "-c", _READ, str(source)],
        "extract_frames": [*prepare, "common.prepare.extract_frames", *options],
        "extract_flow": [*prepare, "common.prepare.extract_flow", *options, *_ONE_ITERATION],
    }


def measure(name: str, source: Path) -> processes.Usage:
    with tempfile.TemporaryDirectory() as output:
        return processes.run(commands(source, Path(output))[name], sampled=True)


def main(argv: Sequence[str]) -> None:
    del argv
    lines = [
        f"{processes.machine()}.",
        "",
        f"Peak resident memory in MiB for 1080p of {SECONDS} s and of {MINUTES.value} min,"
        f" {FPS.value} frames a second; short side 256, flow with one iteration.",
        "",
        f"| what | {SECONDS} s | {MINUTES.value} min | difference | seconds for the long one |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as folder:
        short, long = Path(folder, "short.mp4"), Path(folder, "long.mp4")
        videos.write(short, 1920, 1080, FPS.value, SECONDS * FPS.value)
        videos.repeat(short, long, MINUTES.value * 60 // SECONDS)
        for name in commands(short, long):
            few, many = measure(name, short), measure(name, long)
            lines.append(
                f"| {name} | {few.resident:.0f} | {many.resident:.0f} |"
                f" {many.resident - few.resident:+.0f} | {many.seconds:.0f} |"
            )
            print(lines[-1], flush=True)
    if RESULTS.value:
        Path(RESULTS.value).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
