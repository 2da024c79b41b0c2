"""`python -m common.evaluation.fuse`: fuses scores that `evaluate` has saved."""

import dataclasses
from pathlib import Path

from common import command
from common.evaluation import fusion, results, scores
from common.io import check_target
from common.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    r"""Fuses the scores of two streams or more, which `evaluate` has saved, and evaluates them.

        i3d fuse --scores=rgb/scores_rgb.npz,flow/scores_flow.npz --output=joint
        i3d fuse --scores=a.npz,b.npz --how=softmax --weights=1,1.5 --output=joint

    Writes results.json, results.txt, confusion.png and scores.npz. The exit status is 1 if a video
    has no scores in one of the streams.
    """

    scores: tuple[Path, ...] = setting("Files of scores that `evaluate` wrote, one a stream.")
    output: Path = setting("Folder to write to.")
    how: str = setting(
        "Add logits, as the two streams of I3D are fused, or average the probabilities.",
        "logits",
        choices=fusion.FUSIONS,
    )
    weights: tuple[float, ...] = setting("A number for each file; 1 each by default.", ())
    overwrite: bool = setting("Replace existing results.", False)


def main(settings: Settings) -> int:
    """Fuses files of scores; returns 1 if a video has no fused scores."""
    target = settings.output / "scores.npz"
    if target in settings.scores:
        raise ValueError(f"{target} is what is read: write to another folder.")
    for path in (target, *(settings.output / name for name in results.FILES)):
        check_target(path, settings.overwrite)
    parts = [scores.read(path) for path in settings.scores]
    fused = fusion.fuse_scores(parts, settings.how, settings.weights)
    scores.write(target, fused)
    print(results.write(settings.output, fused), end="")
    return int(bool(fused.failures))


if __name__ == "__main__":
    command.start(main, Settings)
