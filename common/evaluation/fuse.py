"""Fuses the scores of several streams; `python -m common.evaluation.fuse` those of files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common import command
from common.evaluation import results, scores
from common.evaluation.scores import FrameScores, Scores
from common.io import check_target, listing
from common.settings import UsageError, need, setting

FUSIONS = ("logits", "softmax")
_AGAIN = "Evaluate them with the same annotations."


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
        choices=FUSIONS,
    )
    weights: tuple[float, ...] = setting("A number for each file; 1 each by default.", ())
    overwrite: bool = setting("Replace existing results.", False)

    def __post_init__(self) -> None:
        if len(self.scores) < 2:
            raise UsageError("--scores needs two files or more, separated by commas")


def main(settings: Settings) -> int:
    target = settings.output / "scores.npz"
    for path in (target, *(settings.output / name for name in results.FILES)):
        check_target(path, settings.overwrite)
    parts = [scores.read(path) for path in settings.scores]
    fused = fuse_scores(parts, settings.how, settings.weights)
    scores.write(target, fused)
    print(results.write(settings.output, fused), end="")
    return int(bool(fused.failures))


def fuse(
    streams: Sequence[ArrayLike], how: str = "logits", weights: Sequence[float] = ()
) -> NDArray[np.float64]:
    """Fuses the logits [N, K] of several streams, rows and classes in the same order.

    "logits" adds the weighted logits, as google-deepmind/kinetics-i3d does; "softmax" takes the
    weighted mean of the probabilities, of which it returns the logarithms. Weights are one for
    each stream, from 0, not all 0; none is 1 for each.
    """
    values = np.array(streams, np.float64)
    shares = np.array(weights or [1.0] * len(values))
    if how == "softmax":
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
        values, shares = powers / powers.sum(axis=-1, keepdims=True), shares / shares.sum()
    fused = np.tensordot(shares, values, axes=1)
    return np.log(np.maximum(fused, np.finfo(np.float32).tiny)) if how == "softmax" else fused


def fuse_scores(
    parts: Sequence[Scores], how: str = "logits", weights: Sequence[float] = ()
) -> Scores:
    """Fuses scores of the same data set video by video; a video that a stream lacks is a failure.

    Streams may have their videos in any order; the result has that of the first, and of frames as
    many a video as its shortest stream has. Raises `ValueError` for streams that differ in classes
    or labels, have no video in common, or cannot be fused in this way.
    """
    framed = [part.frames is not None for part in parts]
    check([part.classes for part in parts], framed, how, weights)
    places = [{name: place for place, name in enumerate(part.names)} for part in parts]
    names = [name for name in parts[0].names if all(name in of for of in places)]
    if not names:
        raise ValueError(f"the streams have no video in common. {_AGAIN}")
    rows = [[of[name] for name in names] for of in places]
    labels = [part.labels[row] for part, row in zip(parts, rows, strict=True)]
    if not all(np.array_equal(labels[0], other) for other in labels[1:]):
        raise ValueError(f"the streams have different labels. {_AGAIN}")
    logits = fuse([part.logits[row] for part, row in zip(parts, rows, strict=True)], how, weights)
    return Scores(
        classes=parts[0].classes,
        names=tuple(names),
        labels=labels[0],
        logits=logits.astype(np.float32),
        origins=tuple(origin for part in parts for origin in part.origins),
        failures=_failures(parts, names),
        frames=_frames(parts, rows, names, weights) if all(framed) else None,
        fusion={"how": how, "weights": list(weights) or [1.0] * len(parts)},
    )


def check(
    classes: Sequence[tuple[str, ...]],
    framed: Sequence[bool],
    how: str = "logits",
    weights: Sequence[float] = (),
) -> None:
    """Raises the `ValueError` of `fuse_scores` beforehand; `framed` says which score frames."""
    need(how in FUSIONS, "how", f"one of {listing(FUSIONS)}", how)
    fine = len(weights) == len(classes) and min(weights) >= 0 < sum(weights) < np.inf
    need(not weights or fine, "weights", f"{len(classes)} numbers from 0, not all 0", weights)
    if any(other != classes[0] for other in classes):
        raise ValueError(f"the streams have other classes, or in another order. {_AGAIN}")
    if any(framed) != all(framed):
        raise ValueError("one stream has scores of frames, another has none.")
    if any(framed) and how != "logits":
        raise ValueError("classes of frames do not exclude each other: fuse by adding logits.")


def _frames(
    parts: Sequence[Scores], rows: Sequence[list[int]], names: list[str], weights: Sequence[float]
) -> FrameScores:
    """Fuses the first rows of each video that all streams have: flow may lack the last frame."""
    frames = [part.frames for part in parts if part.frames]
    counts = np.array([of.counts[row] for of, row in zip(frames, rows, strict=True)])
    far = [name for name, of in zip(names, counts.T, strict=True) if np.ptp(of) > 1]
    if far:
        raise ValueError(f"the streams differ in frames of {listing(far)}: prepare both alike.")
    taken = []
    for of, row in zip(frames, rows, strict=True):
        starts = (np.cumsum(of.counts) - of.counts)[row]
        spans = zip(starts, counts.min(axis=0), strict=True)
        taken.append(np.concatenate([np.arange(start, start + count) for start, count in spans]))
    logits = fuse([of.logits[at] for of, at in zip(frames, taken, strict=True)], weights=weights)
    labels = frames[0].labels[taken[0]]
    return FrameScores(counts.min(axis=0), labels, logits.astype(np.float32))


def _failures(parts: Sequence[Scores], names: Sequence[str]) -> dict[str, str]:
    """Why videos that some stream knows have no fused scores."""
    found: dict[str, str] = {}
    for name in sorted({x for part in parts for x in (*part.names, *part.failures)} - {*names}):
        for part in parts:
            if name not in part.names:
                stream = " and ".join(str(origin["stream"]) for origin in part.origins)
                found[name] = f"{stream}: {part.failures.get(name, 'it is not in the scores')}"
    return found


if __name__ == "__main__":
    command.start(main, Settings)
