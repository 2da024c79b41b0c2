"""From nothing to a table: renders the motions, prepares them, trains on them and evaluates.

Every step but the first is one of the project's commands in a process of its own, as people call
it; the table is made of what the evaluation wrote.
"""

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from common.demo import motions
from common.evaluation import metrics, results, scores
from common.io import write_text
from common.provenance import to_json

SIZE = {"sample_duration": "16", "short_side": "64,64", "crop": "64", "global_pool": "true"}
"""Small enough for two cores; 16 frames in a random order say nothing of the motion (`motions`)."""

TRAINING = {
    "flip": "false",  # it would make left of right
    "batch": "8",
    "schedule": "cosine",
    "milestones": "",
    "rates": "",
    "warmup_steps": "10",
    "dropout": "0",
    "batch_norm_momentum": "0.1",  # running statistics that keep up with so few steps
}
RATES = {"rgb": "0.02", "flow": "0.01"}
"""Learning rates: of published weights, and of fresh ones."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What to run; see `run`.

    Attributes:
        framework: The package that trains and evaluates: i3d_tf or i3d_torch.
        output: Folder for everything.
        checkpoint: Weights that RGB begins with; flow begins with none.
        train: Scenes to train on, eight videos each.
        test: Scenes to evaluate on.
        steps: Of each training.
        workers: Processes that prepare and load; None is what the commands take by default.
    """

    framework: str
    output: Path
    checkpoint: str = "rgb_scratch"
    train: int = 40
    test: int = 10
    steps: int = 500
    workers: int | None = None

    @property
    def runs(self) -> Path:
        """Folder for what the framework makes; both share the data."""
        return self.output / self.framework


def run(options: Options) -> str:
    """Runs all steps; one that was done before is left to its command, which skips it.

    Returns:
        The table: top-1 of each stream, of both, and of RGB with its frames in a random order. It
        is in OUTPUT/FRAMEWORK/table.txt, too.

    Raises:
        FileExistsError: There are lists that this has not rendered.
        ValueError: What is there was rendered with other options; or a command failed, whose own
            words have been on stderr.
    """
    _render(options)
    for module, *flags in commands(options):
        command(module, flags)
    text = table(options)
    write_text(options.runs / "table.txt", text)
    return text


def commands(options: Options) -> list[list[str]]:
    """Each command after the rendering: its module, and its flags."""
    root = options.output
    workers = [] if options.workers is None else [f"--workers={options.workers}"]
    videos = [f"--input={root}/videos", *workers]
    annotations, rgb, flow = f"{root}/motions.json", f"--rgb={root}/frames", f"--flow={root}/flow"
    evaluate = [f"{options.framework}.evaluate", f"--annotations={annotations}", rgb]
    evaluate += [f"--rgb_checkpoint={options.runs}/rgb/model.safetensors"]
    evaluate += ["--protocol=clip", "--overwrite", *workers]
    both = [flow, f"--flow_checkpoint={options.runs}/flow/model.safetensors", "--streams=rgb,flow"]
    lists = [f"--input={root}/lists", f"--videos={root}/videos", f"--output={annotations}"]
    return [
        ["common.prepare.check", *videos, f"--output={root}/check"],
        ["common.prepare.make_annotations", "--dataset=own", *lists],
        ["common.prepare.extract_frames", *videos, f"--output={root}/frames"],
        ["common.prepare.extract_flow", *videos, f"--output={root}/flow", "--short_side=0"],
        [*_train(options, "rgb"), rgb, f"--checkpoint={options.checkpoint}", *workers],
        [*_train(options, "flow"), flow, *workers],
        [*evaluate, *both, f"--output={options.runs}/both"],
        [*evaluate, "--shuffle_frames", f"--output={options.runs}/shuffled"],
    ]


def table(options: Options) -> str:
    """Top-1 of what the evaluation wrote, in percent."""
    joined = json.loads((options.runs / "both" / results.NAME).read_text(encoding="utf-8"))
    rgb, flow = (scores.read(options.runs / "both" / f"scores_{name}.npz") for name in RATES)
    shuffled = scores.read(options.runs / "shuffled" / "scores_rgb.npz")
    rows = {
        "RGB": metrics.top_k(rgb.logits, rgb.labels, 1),
        "flow": metrics.top_k(flow.logits, flow.labels, 1),
        "both": joined["top_1"],
        "RGB, frames shuffled": metrics.top_k(shuffled.logits, shuffled.labels, 1),
        "chance": 1 / len(rgb.classes),
    }
    title = f"{options.framework}: {len(rgb.names)} videos of {len(rgb.classes)} motions, top-1"
    lines = (f"  {name:22} {100 * value:6.1f} %" for name, value in rows.items())
    return "\n".join([title, *lines]) + "\n"


def _render(options: Options) -> None:
    """Renders what is not there yet, and keeps the options of it."""
    rendering = motions.Options(options.output, options.train, options.test)
    values = {k: v for k, v in dataclasses.asdict(rendering).items() if k != "output"}
    path, lists = options.output / "rendering.json", options.output / "lists"
    if not path.exists():
        if lists.exists():
            raise FileExistsError(
                f"{lists} is there, and not of this command. Name another folder."
            )
        write_text(path, to_json(values))
    else:
        made = json.loads(path.read_text(encoding="utf-8"))
        other = [f"{k} {v} and not {made.get(k)}" for k, v in values.items() if made.get(k) != v]
        if other:
            raise ValueError(
                f"{path}: the videos there are others: now {'; '.join(other)}. Ask for the same, "
                "or name another --output."
            )
    if not (lists / "classInd.txt").exists():  # the last that is written
        shutil.rmtree(lists, ignore_errors=True)
        print(motions.render(rendering), flush=True)


def _train(options: Options, stream: str) -> list[str]:
    fields = {
        **SIZE,
        **TRAINING,
        "learning_rate": RATES[stream],
        "steps": str(options.steps),
        "evaluate_every": str(options.steps),
        "snapshot_every": "50",
    }
    return [
        f"{options.framework}.train",
        "--recipe=finetune",
        f"--streams={stream}",
        f"--annotations={options.output}/motions.json",
        f"--output={options.runs}/{stream}",
        *(f"--set={name}={value}" for name, value in fields.items()),
    ]


def command(module: str, flags: Sequence[str]) -> None:
    """Runs a command in a process of its own; raises `ValueError` where it fails."""
    print(f"\n$ python -m {module} {' '.join(flags)}", flush=True)
    start = time.monotonic()
    status = subprocess.run([sys.executable, "-m", module, *flags], check=False).returncode
    if status:
        raise ValueError(f"{module} ended with status {status}; the same command goes on from it.")
    print(f"({time.monotonic() - start:.0f} s)", flush=True)
