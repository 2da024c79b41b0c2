"""One set of scores from those of several streams, such as RGB and flow."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FUSIONS = ("logits", "softmax")


def fuse(
    streams: Sequence[ArrayLike], how: str = "logits", weights: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """Fuses the logits of several streams.

    Args:
        streams: Logits [N, K] of each, rows and classes in the same order.
        how: "logits" adds the weighted logits, which is how the authors of InceptionI3D fuse
            (google-deepmind/kinetics-i3d); "softmax" takes the weighted mean of the probabilities.
        weights: One for each stream, from 0, not all 0; None is 1 for each. For "softmax" only
            their ratio matters.

    Returns:
        [N, K]: logits, or probabilities.

    Raises:
        ValueError: An unknown way, no streams, streams of several shapes, logits that are not
            finite, or not such weights.
    """
    if how not in FUSIONS:
        raise ValueError(f"how to fuse must be one of {', '.join(FUSIONS)}. Received: {how!r}.")
    scores = [_checked(stream, number) for number, stream in enumerate(streams)]
    if len({stream.shape for stream in scores}) != 1:
        shapes = ", ".join(str(list(stream.shape)) for stream in scores) or "none"
        raise ValueError(f"streams to fuse must all have one shape [N, K]. Received: {shapes}.")
    shares = checked_weights([1.0] * len(scores) if weights is None else weights, len(scores))
    if how == "softmax":
        scores, shares = [softmax(stream) for stream in scores], shares / shares.sum()
    fused: NDArray[np.float64] = np.zeros_like(scores[0])
    for share, stream in zip(shares, scores, strict=True):
        fused += share * stream
    return fused


def checked_weights(weights: Sequence[float], count: int) -> NDArray[np.float64]:
    """Weights of so many streams; raises `ValueError` unless they are as `fuse` needs them."""
    shares = np.asarray(weights, np.float64)
    right = shares.shape == (count,) and np.isfinite(shares).all()
    if not right or (shares < 0).any() or not shares.any():
        raise ValueError(
            f"weights must be {count} numbers from 0, one a stream and not all 0. "
            f"Received: {weights}."
        )
    return shares


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Probabilities over the last axis, of logits of any size."""
    values = np.asarray(logits, np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _checked(stream: ArrayLike, number: int) -> NDArray[np.float64]:
    values = np.asarray(stream, np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(
            f"stream {number}: expected logits [N, K], N and K from 1, got shape "
            f"{list(values.shape)}."
        )
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(broken):
        raise ValueError(
            f"stream {number}: logits must be finite numbers. Received: others in {len(broken)} of "
            f"{len(values)} rows, first in row {broken[0]}."
        )
    return values
