"""Metrics: accuracy for one label a row, average precision for any number of labels.

Scores are [N, K] without NaN, on any scale; shares are 0 to 1. Ties go to the class with the lower
index and to the row that comes first, as in the official metric of Charades, which sorts.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class ClassMean:
    """A measure [K] of each class, NaN where a class is absent (has no row), and its mean."""

    per_class: NDArray[np.float64]

    @property
    def absent(self) -> int:
        return int(np.isnan(self.per_class).sum())

    @property
    def value(self) -> float:
        """The mean over the classes that are present; NaN if none is."""
        present = self.per_class[~np.isnan(self.per_class)]
        return float(present.mean()) if len(present) else float("nan")


def top_k(scores: ArrayLike, labels: ArrayLike, k: int) -> float:
    """The share of rows whose label, [N] from 0, is among the `k` likeliest classes."""
    order = np.argsort(-np.asarray(scores), axis=1, kind="stable")
    return float((order[:, :k] == np.asarray(labels)[:, None]).any(axis=1).mean())


def confusion(scores: ArrayLike, labels: ArrayLike) -> Counts:
    """The confusion matrix [K, K]: row the true class, column the one with the highest score."""
    values = np.asarray(scores)
    counts = np.zeros((values.shape[1], values.shape[1]), np.int64)
    np.add.at(counts, (np.asarray(labels), values.argmax(axis=1)), 1)
    return counts


def class_accuracy(counts: Counts) -> ClassMean:
    """The accuracy of each class, from a confusion matrix."""
    rows = counts.sum(axis=1)
    shares = np.full(len(rows), np.nan)
    np.divide(np.diag(counts), rows, out=shares, where=rows > 0)
    return ClassMean(shares)


def mean_average_precision(scores: ArrayLike, targets: ArrayLike) -> ClassMean:
    """Average precision of each class: the mean of the precision at each positive row.

    It is not interpolated: without ties it is scikit-learn's `average_precision_score`. A score of
    -inf is a row that was not scored, and comes last. With 25 frames of every video as rows this is
    the localisation metric of Charades, in which rows without a positive count as false positives.
    Targets are 0 or 1, [N, K].
    """
    values, truth = np.asarray(scores), np.asarray(targets, bool)
    order = np.argsort(-values, axis=0, kind="stable")
    hits = np.take_along_axis(truth, order, axis=0)
    precision = np.cumsum(hits, axis=0) / np.arange(1, len(hits) + 1)[:, None]
    found = np.full(values.shape[1], np.nan)
    positives = hits.sum(axis=0)
    np.divide((precision * hits).sum(axis=0), positives, out=found, where=positives > 0)
    return ClassMean(found)


def charades_classification(scores: ArrayLike, targets: ArrayLike) -> ClassMean:
    """As `mean_average_precision`, but rows without any action are never false positives.

    With a row for each video, Charades' classification metric (`Charades_v1_classify.m`).
    """
    has_action = np.asarray(targets, bool).any(axis=1, keepdims=True)
    return mean_average_precision(np.where(has_action, scores, -np.inf), targets)
