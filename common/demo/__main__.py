"""Shows the whole way, on videos that only motion tells apart: see `common/demo/motions.py`.

    python -m common.demo --framework=i3d_torch --output=out/demo
    python -m common.demo --framework=i3d_tf --output=out/demo --steps=800

Renders the videos, checks them, makes annotations, frames and flow, fine-tunes on RGB, trains on
flow, and evaluates both, together, and RGB with its frames in a random order, which should leave
nothing but chance. Started again, it goes on where it was.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from common import command
from common.demo import chain
from common.flags import CHECKPOINT, OUTPUT, WORKERS

FRAMEWORK = flags.DEFINE_enum(
    "framework", "i3d_torch", ["i3d_torch", "i3d_tf"], "What trains and evaluates."
)
TRAIN_SCENES = flags.DEFINE_integer(
    "train_scenes", 40, "Scenes to train on, each in eight videos.", lower_bound=1
)
TEST_SCENES = flags.DEFINE_integer("test_scenes", 10, "Scenes to evaluate on.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 500, "Steps of each training.", lower_bound=1)
for _flag in (CHECKPOINT, OUTPUT, WORKERS):
    flags.declare_key_flag(_flag.name)


def main(argv: Sequence[str]) -> None:
    command.no_arguments(argv)
    if not OUTPUT.value:
        raise app.UsageError("--output is missing.")
    print(
        chain.run(
            chain.Options(
                framework=FRAMEWORK.value,
                output=Path(OUTPUT.value),
                checkpoint=CHECKPOINT.value or chain.Options.checkpoint,
                train=TRAIN_SCENES.value,
                test=TEST_SCENES.value,
                steps=STEPS.value,
                workers=WORKERS.value,
            )
        ),
        end="",
    )


if __name__ == "__main__":
    command.run(main)
