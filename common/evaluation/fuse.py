"""Fuses the scores of two streams or more, which `evaluate` has saved, and says how good they are.

    python -m common.evaluation.fuse --scores=rgb/scores_rgb.npz,flow/scores_flow.npz --output=joint
    python -m common.evaluation.fuse --scores=a.npz,b.npz --how=softmax --weights=1,1.5 \
        --output=joint

--output gets results.json, results.txt, confusion.png and scores.npz. The exit status is 1 when a
video has no scores in one of the streams.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from common import command
from common.evaluation import fusion, joining
from common.flags import OUTPUT, OVERWRITE, WEIGHTS, weights

SCORES = flags.DEFINE_list("scores", [], "Files of scores that `evaluate` wrote, one a stream.")
HOW = flags.DEFINE_enum(
    "how",
    "logits",
    list(fusion.FUSIONS),
    "Add logits, as the two streams of I3D are fused, or average the probabilities.",
)
for _flag in (OUTPUT, OVERWRITE, WEIGHTS):
    flags.declare_key_flag(_flag.name)


def main(argv: Sequence[str]) -> int:
    command.no_arguments(argv)
    for flag in (SCORES, OUTPUT):
        if not flag.value:
            raise app.UsageError(f"--{flag.name} is missing.")
    text, status = joining.run(
        joining.Options(
            scores=tuple(map(Path, SCORES.value)),
            output=Path(OUTPUT.value),
            how=HOW.value,
            weights=weights(),
            overwrite=OVERWRITE.value,
        )
    )
    print(text, end="")
    return status


if __name__ == "__main__":
    command.run(main)
