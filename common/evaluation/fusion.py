"""Fuses the scores of several streams, such as RGB and flow, into one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.evaluation.scores import FrameScores, Scores
from common.io import listing

FUSIONS = ("logits", "softmax")

_Rows = Sequence[NDArray[np.intp]]


def fuse(
    streams: Sequence[ArrayLike], how: str = "logits", weights: Sequence[float] = ()
) -> NDArray[np.float64]:
    """Fuses the logits of several streams.

    Args:
        streams: Logits [N, K] of each stream, rows and classes in the same order.
        how: "logits" adds the weighted logits, which is how the authors of InceptionI3D fuse
            (google-deepmind/kinetics-i3d); "softmax" takes the weighted mean of the probabilities.
        weights: One for each stream, from 0, not all 0; none is 1 for each. For "softmax" only
            their ratio matters.

    Returns:
        [N, K]: logits, or probabilities.

    Raises:
        ValueError: `how` or the weights are wrong, there are no streams, or their shapes differ.
    """
    _check_how(len(streams), how, weights)
    scores = [np.asarray(stream, np.float64) for stream in streams]
    if len({stream.shape for stream in scores}) > 1 or scores[0].ndim != 2:
        shapes = ", ".join(str(list(stream.shape)) for stream in scores)
        raise ValueError(f"streams to fuse must all have one shape [N, K]. Received: {shapes}.")
    shares = np.array(weights or [1.0] * len(scores), np.float64)
    if how == "softmax":
        scores, shares = [softmax(stream) for stream in scores], shares / shares.sum()
    fused: NDArray[np.float64] = np.zeros_like(scores[0])
    for share, stream in zip(shares, scores, strict=True):
        fused += share * stream
    return fused


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Probabilities over the last axis of logits of any size."""
    values = np.asarray(logits, np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def fuse_scores(
    parts: Sequence[Scores], how: str = "logits", weights: Sequence[float] = ()
) -> Scores:
    """Fuses scores of the same data set video by video; a video that a stream lacks is a failure.

    Args:
        parts: The scores of each stream, whose videos may be in any order.
        how: As in `fuse`.
        weights: As in `fuse`.

    Returns:
        Scores in the order of the first stream; of frames, as many a video as its shortest stream
        has. The softmax of the logits are the fused probabilities.

    Raises:
        ValueError: The streams differ in classes or labels, have no video in common, or cannot be
            fused in this way.
    """
    check([part.classes for part in parts], [part.frames is not None for part in parts], how)
    first = parts[0]
    places = [{name: place for place, name in enumerate(part.names)} for part in parts]
    names = tuple(name for name in first.names if all(name in of for of in places))
    if not names:
        raise ValueError("the streams have no video in common. Evaluate them on the same videos.")
    rows = [np.array([of[name] for name in names], np.intp) for of in places]
    _check_labels(parts, rows, names)
    logits = fuse([part.logits[row] for part, row in zip(parts, rows, strict=True)], how, weights)
    if how == "softmax":  # kept as logits, of which the probabilities are the softmax
        logits = np.log(np.maximum(logits, np.finfo(np.float32).tiny))
    return Scores(
        classes=first.classes,
        names=names,
        labels=first.labels[rows[0]],
        logits=logits.astype(np.float32),
        origins=tuple(origin for part in parts for origin in part.origins),
        failures=_failures(parts, names),
        frames=_frames(parts, rows, names, weights) if first.frames else None,
        fusion={"how": how, "weights": list(weights) or [1.0] * len(parts)},
    )


def check(
    classes: Sequence[tuple[str, ...]],
    framed: Sequence[bool],
    how: str = "logits",
    weights: Sequence[float] = (),
) -> None:
    """Raises the `ValueError` of `fuse_scores` before anything is scored.

    Args:
        classes: The classes of each stream.
        framed: For each stream, whether it has scores of frames.
        how: As in `fuse`.
        weights: As in `fuse`.
    """
    _check_how(len(classes), how, weights)
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


def _check_how(count: int, how: str, weights: Sequence[float]) -> None:
    if not count:
        raise ValueError("expected scores of one stream or more. Received: none.")
    if how not in FUSIONS:
        raise ValueError(f"how must be one of {listing(FUSIONS)}. Received: {how!r}.")
    finite = np.isfinite(weights).all()
    if weights and not (len(weights) == count and finite and min(weights) >= 0 < max(weights)):
        raise ValueError(
            f"weights must be {count} numbers from 0, one a stream and not all 0. "
            f"Received: {weights}."
        )


def _check_labels(parts: Sequence[Scores], rows: _Rows, names: Sequence[str]) -> None:
    """Refuses streams whose videos have different labels."""
    first = parts[0].labels[rows[0]]
    for part, row in zip(parts, rows, strict=True):
        wrong = (part.labels[row] != first).reshape(len(first), -1).any(axis=1)
        if wrong.any():
            different = [name for name, bad in zip(names, wrong, strict=True) if bad]
            raise ValueError(
                f"the streams have different labels of {listing(different)}. Evaluate them with "
                "the same annotations."
            )


def _frames(
    parts: Sequence[Scores], rows: _Rows, names: Sequence[str], weights: Sequence[float]
) -> FrameScores:
    """Fuses the first rows of each video that all streams have: flow may lack the last frame."""
    frames = [part.frames for part in parts if part.frames]
    counts = np.min([of.counts[row] for of, row in zip(frames, rows, strict=True)], axis=0)
    taken = []
    for of, row in zip(frames, rows, strict=True):
        far = np.flatnonzero(of.counts[row] > counts + 1)
        if len(far):
            raise ValueError(
                "the streams have different numbers of frames of "
                f"{listing(names[int(i)] for i in far)}. Prepare both at the same rate."
            )
        starts = (np.cumsum(of.counts) - of.counts)[row]
        spans = zip(starts, counts, strict=True)
        taken.append(np.concatenate([np.arange(start, start + count) for start, count in spans]))
    logits = [of.logits[each] for of, each in zip(frames, taken, strict=True)]
    fused = fuse(logits, weights=weights)
    return FrameScores(counts, frames[0].labels[taken[0]], fused.astype(np.float32))


def _failures(parts: Sequence[Scores], names: Sequence[str]) -> dict[str, str]:
    """Why videos that some stream knows have no fused scores."""
    failures: dict[str, str] = {}
    lacking: dict[str, list[str]] = {}
    known = sorted({name for part in parts for name in part.names} - set(names))
    for part in parts:
        stream = " and ".join(str(origin.get("stream", "?")) for origin in part.origins) or "one"
        failures |= {name: f"{stream}: {text}" for name, text in part.failures.items()}
        for name in set(known) - set(part.names):
            lacking.setdefault(name, []).append(stream)
    missing = {name: f"not in the scores of {listing(lacking[name])}" for name in known}
    return {**failures, **{name: text for name, text in missing.items() if name not in failures}}
