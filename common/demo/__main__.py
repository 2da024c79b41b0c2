"""From nothing to a table: renders the motions, prepares them, trains on them and evaluates.

Every step but the first is one of the project's commands in a process of its own.
"""

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from common import command
from common.demo import motions
from common.evaluation import metrics, results, scores
from common.io import load_json, write_text
from common.settings import setting

# Small enough for two cores; 16 frames in a random order reveal no motion. A flip would turn left
# into right, and running statistics have to keep up in few steps.
RECIPE = (
    "sample_duration=16", "short_side=64,64", "crop=64", "global_pool=true", "flip=false",
    "batch=8", "schedule=cosine", "milestones=", "rates=", "warmup_steps=10", "dropout=0",
    "batch_norm_momentum=0.1", "snapshot_every=50",
)  # fmt: skip
RATES = {"rgb": 0.02, "flow": 0.01}  # of published weights, and of random ones


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Trains on rendered videos that only motion tells apart, from the videos to a table.

        python -m common.demo --framework=i3d_torch --output=out/demo

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


def main(settings: Settings) -> int:
    """Runs all steps, each of which skips what was done before; prints OUTPUT/FRAMEWORK/table.txt.

    Raises `ValueError` if a command fails, which has printed why.
    """
    motions.render(settings.output, settings.train_scenes, settings.test_scenes)
    for module, *flags in commands(settings):
        run_command(module, flags)
    text = table(settings)
    write_text(settings.output / settings.framework / "table.txt", text)
    print(text, end="")
    return 0


def commands(settings: Settings) -> list[list[str]]:
    """Each command after the rendering: its module, and its flags."""
    root, runs = settings.output, settings.output / settings.framework
    videos, rgb, flow = f"--input={root}/videos", f"--rgb={root}/frames", f"--flow={root}/flow"
    annotations = f"--annotations={root}/motions.json"
    lists = [f"--input={root}/lists", f"--videos={root}/videos", f"--output={root}/motions.json"]
    recipe = [*RECIPE, f"steps={settings.steps}", f"evaluate_every={settings.steps}"]
    train = [f"{settings.framework}.train", "--recipe=finetune", annotations]
    train += [f"--set={field}" for field in recipe]
    of_rgb, of_flow = (
        [*train, f"--streams={stream}", f"--output={runs}/{stream}", f"--set=learning_rate={rate}"]
        for stream, rate in RATES.items()
    )
    evaluate = [f"{settings.framework}.evaluate", annotations, rgb]
    evaluate += [f"--rgb_checkpoint={runs}/rgb/model.safetensors"]
    evaluate += ["--protocol=clip", "--overwrite"]
    both = [flow, f"--flow_checkpoint={runs}/flow/model.safetensors", "--streams=rgb,flow"]
    return [
        ["common.prepare.check", videos, f"--output={root}/check"],
        ["common.prepare.make_annotations", "--dataset=own", *lists],
        ["common.prepare.extract_frames", videos, f"--output={root}/frames"],
        ["common.prepare.extract_flow", videos, f"--output={root}/flow", "--short_side=0"],
        [*of_rgb, rgb, f"--checkpoint={settings.checkpoint}"],
        [*of_flow, flow],
        [*evaluate, *both, f"--output={runs}/both"],
        [*evaluate, "--shuffle_frames", f"--output={runs}/shuffled"],
    ]


def run_command(module: str, flags: Sequence[str]) -> None:
    print(f"\n$ python -m {module} {' '.join(flags)}", flush=True)
    status = subprocess.run([sys.executable, "-m", module, *flags], check=False).returncode
    if status:
        raise ValueError(f"{module} ended with status {status}; the same command goes on from it.")


def table(settings: Settings) -> str:
    """Top-1 of each stream, of both, and of RGB with its frames in a random order."""
    runs = settings.output / settings.framework
    names = ("both/scores_rgb", "both/scores_flow", "shuffled/scores_rgb")
    found = [scores.read(runs / f"{name}.npz") for name in names]
    rgb, flow, shuffled = (metrics.top_k(x.logits, x.labels, 1) for x in found)
    classes, videos = len(found[0].classes), len(found[0].names)
    rows = {
        "RGB": rgb,
        "flow": flow,
        "both": load_json(runs / "both" / results.NAME)["top_1"],
        "RGB, frames shuffled": shuffled,
        "chance": 1 / classes,
    }
    title = f"{settings.framework}: {videos} videos of {classes} motions, top-1"
    lines = (f"  {name:22} {100 * value:6.1f} %" for name, value in rows.items())
    return "\n".join([title, *lines]) + "\n"


if __name__ == "__main__":
    command.start(main, Settings)
