"""Measures commands from the start of their process to its end.

    python benchmarks/startup.py [--rounds=7] [--results=FILE.md]

Beside the project's commands stand the imports of the frameworks alone, which those cannot be
faster than. They take turns; the first turn, which fetches what is not here yet, does not count.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import measuring
import processes
from absl import app, flags

from common.io import write_text

ROUNDS = flags.DEFINE_integer("rounds", 7, "Counted turns of each.", lower_bound=1)
RESULTS = flags.DEFINE_string("results", None, "A file for the table as well.")

PUBLISHED = 79  # frames of the release's sample


def commands() -> Mapping[str, Sequence[str]]:
    """What is measured, by how it reads in the table."""
    found: dict[str, Sequence[str]] = {
        "`i3d --help`": [str(Path(sys.executable).with_name("i3d")), "--help"]
    }
    for framework, package in (("torch", "i3d_torch"), ("tensorflow", "i3d_tf")):
        found[f"`import {framework}`"] = [sys.executable, "-c", f"import {framework}"]
        program = [sys.executable, "-m", f"{package}.evaluate_sample", "--eval_type=rgb"]
        program += ["--imagenet_pretrained=false", "--sample=backflip"]
        name = f"`{package}.evaluate_sample`"
        found[f"{name}, {PUBLISHED} frames"] = [*program, f"--max_frames={PUBLISHED}"]
        found[f"{name}, all 192"] = program
    return found


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}.")
    measured = commands()
    used: dict[str, list[processes.Usage]] = {name: [] for name in measured}
    for turn in range(ROUNDS.value + 1):
        for name, command in measured.items():
            usage = processes.run(command)
            if turn:
                used[name].append(usage)
    machine = measuring.machine("cpu")
    versions = [f"{name} {machine['packages'][name]}" for name in ("torch", "tensorflow")]
    lines = [
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, Python"
        f" {machine['python']}, {', '.join(versions)}. {ROUNDS.value} turns.",
        "",
        "Whole processes: the RGB stream of `rgb_scratch` on the sample backflip, 1768x994 pixels,"
        " with weights and video in the cache.",
        "",
        "| command | s, median | from | to | MiB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, usages in used.items():
        seconds = [usage.seconds for usage in usages]
        resident = statistics.median(usage.resident for usage in usages)
        numbers = (statistics.median(seconds), min(seconds), max(seconds))
        lines.append(f"| {name} | {' | '.join(f'{n:.2f}' for n in numbers)} | {resident:.0f} |")
    print("\n".join(lines))
    if RESULTS.value:
        write_text(RESULTS.value, "\n".join(lines) + "\n")


if __name__ == "__main__":
    app.run(main)
