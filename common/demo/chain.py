"""From nothing to a table: renders the motions, prepares them, trains on them and evaluates.

Every step but the first is one of the project's commands in a process of its own, as people run it;
the table is read from what the evaluation wrote.
"""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from common.demo import motions
from common.evaluation import metrics, results, scores
from common.io import load_json, to_json, write_text
from common.settings import setting

SIZE = {"sample_duration": "16", "short_side": "64,64", "crop": "64", "global_pool": "true"}
"""Small enough for two cores; 16 frames in a random order reveal no motion (`motions`)."""

TRAINING = {
    "flip": "false",  # would turn left into right
    "batch": "8",
    "schedule": "cosine",
    "milestones": "",
    "rates": "",
    "warmup_steps": "10",
    "dropout": "0",
    "batch_norm_momentum": "0.1",  # running statistics that keep up in so few steps
}
RATES = {"rgb": "0.02", "flow": "0.01"}
"""Learning rates: of published weights, and of random ones."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Trains on rendered videos that only motion tells apart, from the videos to a table.

        python -m common.demo --framework=i3d_torch --output=out/demo
        python -m common.demo --framework=i3d_tf --output=out/demo --steps=800

    Renders the videos, checks them, makes annotations, frames and flow, fine-tunes on RGB, trains
    on flow, and evaluates both, their fusion, and RGB with its frames in a random order, which
    should be at chance. Started again, it goes on where it was.
    """

    output: Path = setting("Folder for everything; both frameworks share the data.")
    framework: str = setting(
        "The package that trains and evaluates.", "i3d_torch", choices=("i3d_torch", "i3d_tf")
    )
    checkpoint: str = setting("First weights of RGB; flow starts from random ones.", "rgb_scratch")
    train_scenes: int = setting("Scenes to train on, each in eight videos.", 40, minimum=1)
    test_scenes: int = setting("Scenes to evaluate on.", 10, minimum=1)
    steps: int = setting("Steps of each training.", 500, minimum=1)
    workers: int | None = setting(
        "Processes that prepare and load; by default what each command takes.", None, minimum=0
    )

    @property
    def runs(self) -> Path:
        """Folder for what the framework makes."""
        return self.output / self.framework


def main(settings: Settings) -> int:
    """Runs all steps, each of which skips what was done before, and prints the table.

    The table has top-1 of each stream, of both, and of RGB with its frames in a random order. It
    is in OUTPUT/FRAMEWORK/table.txt, too.

    Raises:
        FileExistsError: There are lists that this command has not rendered.
        ValueError: The videos were rendered with other settings; or a command failed, which has
            printed why.
    """
    _render(settings)
    for module, *flags in commands(settings):
        run_command(module, flags)
    text = table(settings)
    write_text(settings.runs / "table.txt", text)
    print(text, end="")
    return 0


def commands(settings: Settings) -> list[list[str]]:
    """Each command after the rendering: its module, and its flags."""
    root, runs = settings.output, settings.runs
    workers = [] if settings.workers is None else [f"--workers={settings.workers}"]
    videos = [f"--input={root}/videos", *workers]
    annotations, rgb, flow = f"{root}/motions.json", f"--rgb={root}/frames", f"--flow={root}/flow"
    evaluate = [f"{settings.framework}.evaluate", f"--annotations={annotations}", rgb]
    evaluate += [f"--rgb_checkpoint={runs}/rgb/model.safetensors"]
    evaluate += ["--protocol=clip", "--overwrite", *workers]
    both = [flow, f"--flow_checkpoint={runs}/flow/model.safetensors", "--streams=rgb,flow"]
    lists = [f"--input={root}/lists", f"--videos={root}/videos", f"--output={annotations}"]
    return [
        ["common.prepare.check", *videos, f"--output={root}/check"],
        ["common.prepare.make_annotations", "--dataset=own", *lists],
        ["common.prepare.extract_frames", *videos, f"--output={root}/frames"],
        ["common.prepare.extract_flow", *videos, f"--output={root}/flow", "--short_side=0"],
        [*_train(settings, "rgb"), rgb, f"--checkpoint={settings.checkpoint}", *workers],
        [*_train(settings, "flow"), flow, *workers],
        [*evaluate, *both, f"--output={runs}/both"],
        [*evaluate, "--shuffle_frames", f"--output={runs}/shuffled"],
    ]


def table(settings: Settings) -> str:
    """The table: top-1 in percent, of what the evaluation wrote."""
    joined = json.loads((settings.runs / "both" / results.NAME).read_text(encoding="utf-8"))
    rgb, flow = (scores.read(settings.runs / "both" / f"scores_{name}.npz") for name in RATES)
    shuffled = scores.read(settings.runs / "shuffled" / "scores_rgb.npz")
    rows = {
        "RGB": metrics.top_k(rgb.logits, rgb.labels, 1),
        "flow": metrics.top_k(flow.logits, flow.labels, 1),
        "both": joined["top_1"],
        "RGB, frames shuffled": metrics.top_k(shuffled.logits, shuffled.labels, 1),
        "chance": 1 / len(rgb.classes),
    }
    title = f"{settings.framework}: {len(rgb.names)} videos of {len(rgb.classes)} motions, top-1"
    lines = (f"  {name:22} {100 * value:6.1f} %" for name, value in rows.items())
    return "\n".join([title, *lines]) + "\n"


def _render(settings: Settings) -> None:
    """Renders what is not there yet, and notes the settings of the videos."""
    wanted = {"train": settings.train_scenes, "test": settings.test_scenes}
    path, lists = settings.output / "rendering.json", settings.output / "lists"
    if not path.exists():
        if lists.exists():
            raise FileExistsError(
                f"{lists} exists and is not of this command. Choose another --output."
            )
        write_text(path, to_json(wanted))
    elif (found := load_json(path)) != wanted:
        raise ValueError(
            f"{path}: the videos there were rendered with {found}. Received: {wanted}. Use the "
            "same numbers of scenes, or another --output."
        )
    if not (lists / "classInd.txt").exists():  # the last file that is written
        print(motions.render(settings.output, **wanted), flush=True)


def _train(settings: Settings, stream: str) -> list[str]:
    fields = {
        **SIZE,
        **TRAINING,
        "learning_rate": RATES[stream],
        "steps": str(settings.steps),
        "evaluate_every": str(settings.steps),
        "snapshot_every": "50",
    }
    return [
        f"{settings.framework}.train",
        "--recipe=finetune",
        f"--streams={stream}",
        f"--annotations={settings.output}/motions.json",
        f"--output={settings.runs}/{stream}",
        *(f"--set={name}={value}" for name, value in fields.items()),
    ]


def run_command(module: str, flags: Sequence[str]) -> None:
    """Runs a command in a process of its own; raises `ValueError` if it fails."""
    print(f"\n$ python -m {module} {' '.join(flags)}", flush=True)
    start = time.monotonic()
    status = subprocess.run([sys.executable, "-m", module, *flags], check=False).returncode
    if status:
        raise ValueError(f"{module} ended with status {status}; the same command goes on from it.")
    print(f"({time.monotonic() - start:.0f} s)", flush=True)
