"""Metrics: accuracy for one label a row, average precision for any number of labels.

Scores are [N, K], a row for each clip (or frame) and a column for each class, on any scale.
Everything is computed in float64; shares are 0 to 1. Ties go to the class with the lower index and
to the row that comes first, as in the official metric of Charades, which sorts.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class MeanAP:
    """Mean average precision.

    Attributes:
        value: The mean over the classes that have a positive row; NaN if none has.
        per_class: [K] average precision, NaN for a class without a positive row.
        absent: The number of classes without a positive row.
    """

    value: float
    per_class: Doubles
    absent: int


def top_k(scores: ArrayLike, labels: ArrayLike, k: int) -> float:
    """The share of rows whose label is among the `k` likeliest classes.

    Args:
        scores: [N, K].
        labels: [N] from 0.
        k: From 1; with `k` at least K that is every row.

    Raises:
        ValueError: No rows, NaN among the scores, or labels that are not [N] below K.
    """
    values, truth = _labelled(scores, labels)
    own = np.take_along_axis(values, truth[:, None], axis=1)
    before = np.arange(values.shape[1]) < truth[:, None]
    rank = ((values > own) | ((values == own) & before)).sum(axis=1)
    return float((rank < k).mean())


def confusion(scores: ArrayLike, labels: ArrayLike) -> Counts:
    """The confusion matrix [K, K]: row the true class, column the one with the highest score.

    Args and errors are those of `top_k`.
    """
    values, truth = _labelled(scores, labels)
    classes = values.shape[1]
    cells = truth * classes + values.argmax(axis=1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def class_accuracy(counts: Counts) -> Doubles:
    """The accuracy of each class [K] from a confusion matrix; NaN for a class without rows."""
    rows = counts.sum(axis=1)
    shares: Doubles = np.full(len(rows), np.nan)
    np.divide(np.diag(counts), rows, out=shares, where=rows > 0)
    return shares


def mean_of_present(per_class: Doubles) -> tuple[float, int]:
    """The mean over the classes that are not NaN (NaN if all are), and the number of the others."""
    present = per_class[~np.isnan(per_class)]
    value = float(present.mean()) if len(present) else float("nan")
    return value, len(per_class) - len(present)


def mean_average_precision(scores: ArrayLike, targets: ArrayLike) -> MeanAP:
    """Mean average precision: for each class the mean of the precision at each positive row.

    It is not interpolated: without ties it is scikit-learn's `average_precision_score`. A score of
    -inf is a row that was not scored, and comes last.

    With 25 frames of every video as rows this is the localisation metric of Charades, in which rows
    without a positive count as false positives. Labels are those of moments start <= t <= end.

    Args:
        scores: [N, K].
        targets: [N, K], 0 or 1.

    Raises:
        ValueError: No rows, NaN among the scores, or targets that are not 0 or 1 of their shape.
    """
    values, truth = _multi_labelled(scores, targets)
    pairs = zip(values.T, truth.T, strict=True)
    per_class = np.array([_average_precision(*pair) for pair in pairs])
    value, absent = mean_of_present(per_class)
    return MeanAP(value, per_class, absent)


def charades_classification(scores: ArrayLike, targets: ArrayLike) -> MeanAP:
    """The classification metric of Charades (`Charades_v1_classify.m`), a row for each video.

    As `mean_average_precision`, except that videos without any action are never false positives.
    """
    values, truth = _multi_labelled(scores, targets)
    values[~truth.any(axis=1)] = -np.inf
    return mean_average_precision(values, truth)


def _average_precision(scores: Doubles, targets: NDArray[np.bool_]) -> float:
    hits = targets[np.argsort(-scores, kind="stable")]
    if not hits.any():
        return float("nan")
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def _checked(scores: ArrayLike) -> Doubles:
    values = np.array(scores, np.float64)  # a copy
    if values.ndim != 2 or 0 in values.shape or np.isnan(values).any():
        raise ValueError(
            "expected scores [N, K] without NaN, N and K from 1. Received: shape "
            f"{list(values.shape)} with NaN in {int(np.isnan(values).sum())} places."
        )
    return values


def _labelled(scores: ArrayLike, labels: ArrayLike) -> tuple[Doubles, Counts]:
    values, truth = _checked(scores), np.asarray(labels)
    count, classes = values.shape
    right = truth.shape == (count,) and np.issubdtype(truth.dtype, np.integer)
    if not right or truth.min() < 0 or truth.max() >= classes:
        raise ValueError(
            f"expected {count} whole numbers from 0 to {classes - 1} as labels. "
            f"Received: {_described(truth)}."
        )
    return values, truth.astype(np.int64)


def _multi_labelled(scores: ArrayLike, targets: ArrayLike) -> tuple[Doubles, NDArray[np.bool_]]:
    values, truth = _checked(scores), np.asarray(targets)
    if truth.shape != values.shape or not np.isin(truth, (0, 1)).all():
        raise ValueError(
            f"expected targets {list(values.shape)} of 0 or 1. Received: {_described(truth)}."
        )
    return values, truth.astype(bool)


def _described(array: NDArray[Any]) -> str:
    """Type, shape and range of an array."""
    span = f", {array.min():g} to {array.max():g}" if array.size else ""
    return f"{array.dtype} of shape {list(array.shape)}{span}"
