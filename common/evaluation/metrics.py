"""How good scores are: accuracies of one label a row, average precision of any number.

Scores are [N, K], a row a clip (or a frame) and a column a class; higher is likelier, on any scale.
Everything is calculated in float64. Shares are from 0 to 1.

Equal scores: the class with the lower index counts as the likelier, the row that comes first as
the one that was scored higher. The official metric of Charades, which sorts, does the same.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class MeanAP:
    """Mean average precision.

    Attributes:
        value: Mean over the classes that are there; NaN where none is.
        per_class: [K] average precision, NaN for a class without a positive row.
        absent: How many classes that are.
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
        ValueError: No rows, NaN among the scores, a label outside the classes, or `k` below 1.
    """
    values, truth = _labelled(scores, labels)
    if k < 1:
        raise ValueError(f"k must be at least 1. Received: {k}.")
    own = np.take_along_axis(values, truth[:, None], axis=1)
    before = np.arange(values.shape[1]) < truth[:, None]
    rank = ((values > own) | ((values == own) & before)).sum(axis=1)
    return float((rank < k).mean())


def confusion(scores: ArrayLike, labels: ArrayLike) -> Counts:
    """How often each class (row) was taken for each (column); [K, K].

    Args:
        scores: [N, K].
        labels: [N] from 0.

    Raises:
        ValueError: No rows, NaN among the scores, or a label outside the classes.
    """
    values, truth = _labelled(scores, labels)
    classes = values.shape[1]
    cells = truth * classes + values.argmax(axis=1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def class_accuracy(counts: Counts) -> Doubles:
    """The share of each class's rows that were right; [K] of a confusion, NaN where there are none.

    Raises:
        ValueError: Not [K, K].
    """
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"expected a confusion [K, K], got shape {list(counts.shape)}.")
    rows = counts.sum(axis=1)
    shares: Doubles = np.full(len(rows), np.nan)
    np.divide(np.diag(counts), rows, out=shares, where=rows > 0)
    return shares


def mean_class_accuracy(counts: Counts) -> tuple[float, int]:
    """The mean of `class_accuracy` over the classes that are there, and how many are not.

    Raises:
        ValueError: Not [K, K].
    """
    return _mean_of_present(class_accuracy(counts))


def average_precision(scores: ArrayLike, targets: ArrayLike) -> float:
    """The mean of the precision at each positive row, in the order of the scores.

    Not interpolated: without equal scores it is scikit-learn's `average_precision_score`.

    Args:
        scores: [N]; -inf is a row that was not scored, and comes last.
        targets: [N], 0 or 1.

    Returns:
        0 to 1, or NaN without a positive row.

    Raises:
        ValueError: No rows, NaN among the scores, or targets that are not 0 or 1.
    """
    values, truth = _multi_labelled(np.asarray(scores)[:, None], np.asarray(targets)[:, None])
    return _average_precision(values[:, 0], truth[:, 0])


def mean_average_precision(scores: ArrayLike, targets: ArrayLike) -> MeanAP:
    """The mean of `average_precision` over classes.

    For rows that are frames of all videos, 25 of each, this is the localisation metric of Charades;
    rows without a positive count there, as false positives of whatever they were scored for. The
    labels are those of the moments t with start <= t <= end.

    Args:
        scores: [N, K].
        targets: [N, K], 0 or 1.

    Raises:
        ValueError: No rows, NaN among the scores, or targets that are not 0 or 1.
    """
    values, truth = _multi_labelled(scores, targets)
    pairs = zip(values.T, truth.T, strict=True)
    per_class = np.array([_average_precision(*pair) for pair in pairs])
    value, absent = _mean_of_present(per_class)
    return MeanAP(value, per_class, absent)


def charades_classification(scores: ArrayLike, targets: ArrayLike) -> MeanAP:
    """The classification metric of Charades (`Charades_v1_classify.m`): a row is a video.

    As `mean_average_precision`, but that videos without any action count as not scored, so that
    they are nobody's false positives.

    Args:
        scores: [N, K].
        targets: [N, K], 0 or 1.

    Raises:
        ValueError: No rows, NaN among the scores, or targets that are not 0 or 1.
    """
    values, truth = _multi_labelled(scores, targets)
    values[truth.sum(axis=1) == 0] = -np.inf
    return mean_average_precision(values, truth)


def _average_precision(scores: Doubles, targets: NDArray[np.bool_]) -> float:
    hits = targets[np.argsort(-scores, kind="stable")]
    if not hits.any():
        return float("nan")
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def _mean_of_present(per_class: Doubles) -> tuple[float, int]:
    present = per_class[~np.isnan(per_class)]
    value = float(present.mean()) if len(present) else float("nan")
    return value, len(per_class) - len(present)


def _checked(scores: ArrayLike) -> Doubles:
    values = np.array(scores, np.float64)  # a copy
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"expected scores [N, K], N and K from 1, got shape {list(values.shape)}.")
    broken = np.flatnonzero(np.isnan(values).any(axis=1))
    if len(broken):
        raise ValueError(
            f"scores must be numbers. Received: nan in {len(broken)} of {len(values)} rows, "
            f"first in row {broken[0]}."
        )
    return values


def _labelled(scores: ArrayLike, labels: ArrayLike) -> tuple[Doubles, Counts]:
    values, truth = _checked(scores), np.asarray(labels)
    if truth.shape != values.shape[:1] or not np.issubdtype(truth.dtype, np.integer):
        raise ValueError(
            f"expected {len(values)} whole numbers as labels, one a row of scores, got "
            f"{truth.dtype} of shape {list(truth.shape)}."
        )
    outside = np.flatnonzero((truth < 0) | (truth >= values.shape[1]))
    if len(outside):
        raise ValueError(
            f"labels must be from 0 to {values.shape[1] - 1}, a column of the scores each. "
            f"Received: {truth[outside[0]]} in row {outside[0]}."
        )
    return values, truth.astype(np.int64)


def _multi_labelled(scores: ArrayLike, targets: ArrayLike) -> tuple[Doubles, NDArray[np.bool_]]:
    values, truth = _checked(scores), np.asarray(targets)
    if truth.shape != values.shape:
        raise ValueError(
            f"targets must be of the shape of the scores, {list(values.shape)}. "
            f"Received: {list(truth.shape)}."
        )
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("targets must be 0 or 1. Received: other values.")
    return values, truth.astype(bool)
