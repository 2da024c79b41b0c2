"""Scores of several streams as one: those of RGB and flow, most often."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.evaluation import fusion, results, scores
from common.evaluation.scores import FrameScores, Scores
from common.io import check_target, listing

NAME = "scores.npz"

_Rows = list[NDArray[np.intp]]


@dataclasses.dataclass(frozen=True)
class Options:
    """What to fuse, and where to.

    Attributes:
        scores: Files, one a stream.
        how: See `join`.
        weights: See `join`.
        output: The folder for scores.npz and what `results.write` writes.
        overwrite: Replace what is there.
    """

    scores: tuple[Path, ...]
    output: Path
    how: str = "logits"
    weights: tuple[float, ...] = ()
    overwrite: bool = False


def run(options: Options) -> tuple[str, int]:
    """Fuses files of scores; the text of the results, and 1 where a video has none, else 0.

    Raises:
        FileNotFoundError: There is no such file.
        FileExistsError: There are results already.
        ValueError: As `join`, or a file that cannot be read.
        ImportError: The picture needs matplotlib.
    """
    target = options.output / NAME
    if target in options.scores:
        raise ValueError(f"{target} is what is read: write to another folder.")
    for path in (target, *(options.output / name for name in results.FILES)):
        check_target(path, options.overwrite)
    parts = [scores.read(path) for path in options.scores]
    fused = join(parts, options.how, options.weights)
    scores.write(target, fused)
    text = results.write(options.output, fused)
    return text, 1 if fused.failures else 0


def join(parts: Sequence[Scores], how: str = "logits", weights: Sequence[float] = ()) -> Scores:
    """Fuses scores of the same data set, video by video.

    A video that a stream does not have has no fused scores, and is a failure.

    Args:
        parts: Of each stream, in any order of the videos.
        how: One of `fusion.FUSIONS`: "logits" adds them, as the two streams of I3D are; "softmax"
            averages probabilities.
        weights: One a stream; none is 1 each.

    Returns:
        In the order of the first stream; of frames, as many a video as the shortest stream has.
        The softmax of the logits are the fused probabilities.

    Raises:
        ValueError: Streams that differ in classes or labels or have no video in common, an unknown
            `how`, wrong weights, or probabilities of classes that do not exclude each other.
    """
    check([part.classes for part in parts], [part.frames is not None for part in parts], how)
    weights = tuple(weights) or (1.0,) * len(parts)
    first = parts[0]
    places = [{name: place for place, name in enumerate(part.names)} for part in parts]
    names = tuple(name for name in first.names if all(name in of for of in places))
    if not names:
        raise ValueError("the streams have no video in common. Evaluate them on the same videos.")
    rows = [np.array([of[name] for name in names], np.intp) for of in places]
    labels = _same([part.labels[row] for part, row in zip(parts, rows, strict=True)], names)
    logits = fusion.fuse(
        [part.logits[row] for part, row in zip(parts, rows, strict=True)], how, weights
    )
    if how == "softmax":  # probabilities, which are kept as what they are the softmax of
        logits = np.log(np.maximum(logits, np.finfo(np.float32).tiny))
    return Scores(
        classes=first.classes,
        names=names,
        labels=labels,
        logits=logits.astype(np.float32),
        origins=tuple(origin for part in parts for origin in part.origins),
        failures=_failures(parts, names),
        frames=_frames(parts, rows, names, weights) if first.frames else None,
        fusion={"how": how, "weights": list(weights)},
    )


def check(
    classes: Sequence[tuple[str, ...]],
    framed: Sequence[bool],
    how: str = "logits",
    weights: Sequence[float] = (),
) -> None:
    """Refuses, before anything is scored, streams that `join` could not fuse.

    Args:
        classes: Of each stream.
        framed: Of each stream, whether it has scores of frames.
        how: As of `join`.
        weights: As of `join`.

    Raises:
        ValueError: As `join`.
    """
    if not classes:
        raise ValueError("expected scores of one stream or more. Received: none.")
    if how not in fusion.FUSIONS:
        raise ValueError(f"how must be one of {listing(fusion.FUSIONS)}. Received: {how!r}.")
    for other in classes:
        if other != classes[0]:
            raise ValueError(
                f"the streams have other classes, or in another order: {len(classes[0])} of one, "
                f"{len(other)} of the other. Evaluate them with the same annotations."
            )
    if any(framed) != all(framed):
        raise ValueError("one stream has scores of frames, another has none.")
    if any(framed) and how != "logits":
        raise ValueError(
            f"classes of frames do not exclude each other: add logits. Received: {how!r}."
        )
    if weights:
        fusion.checked_weights(weights, len(classes))


def _same(labels: Sequence[NDArray[Any]], names: Sequence[str]) -> NDArray[Any]:
    """The labels of the first; refuses others that differ."""
    first, *others = labels
    wrong = np.zeros(len(first), bool)
    for other in others:
        wrong |= (other != first).reshape(len(first), -1).any(axis=1)
    if wrong.any():
        different = [name for name, bad in zip(names, wrong, strict=True) if bad]
        raise ValueError(
            f"the streams have different labels of {listing(different)}. Evaluate them with the "
            "same annotations."
        )
    return first


def _frames(
    parts: Sequence[Scores], rows: _Rows, names: Sequence[str], weights: Sequence[float]
) -> FrameScores:
    """Of each video the first rows, as many as all streams have: flow may lack the last frame."""
    frames = [part.frames for part in parts if part.frames]
    counts = np.min([of.counts[row] for of, row in zip(frames, rows, strict=True)], axis=0)
    for of, row in zip(frames, rows, strict=True):
        far = np.flatnonzero(of.counts[row] > counts + 1)
        if len(far):
            raise ValueError(
                "the streams have different numbers of frames of "
                f"{listing(names[int(i)] for i in far)}. Prepare both at the same rate."
            )
    taken = [_first(of.counts, row, counts) for of, row in zip(frames, rows, strict=True)]
    logits = [of.logits[each] for of, each in zip(frames, taken, strict=True)]
    fused = fusion.fuse(logits, "logits", weights)
    return FrameScores(counts, frames[0].labels[taken[0]], fused.astype(np.float32))


def _first(
    has: NDArray[np.int64], videos: NDArray[np.intp], counts: NDArray[np.int64]
) -> NDArray[np.intp]:
    """The first `counts` rows of each of the videos, which have `has` rows each in their file."""
    starts = np.cumsum(has) - has
    spans = zip(starts[videos], counts, strict=True)
    return np.concatenate([np.arange(start, start + count) for start, count in spans])


def _failures(parts: Sequence[Scores], names: Sequence[str]) -> dict[str, str]:
    """Every video that some stream knows and that has no fused scores."""
    failures: dict[str, str] = {}
    for part in parts:
        failures |= {name: f"{_stream(part)}: {text}" for name, text in part.failures.items()}
    known = {name for part in parts for name in part.names}
    for name in sorted(known - set(names) - set(failures)):
        missing = [_stream(part) for part in parts if name not in part.names]
        failures[name] = f"not in the scores of {listing(missing)}"
    return failures


def _stream(part: Scores) -> str:
    return " and ".join(str(origin.get("stream", "?")) for origin in part.origins) or "one stream"
