"""Metrics against numbers by hand, and against plain loops."""

import numpy as np
import pytest

from common.evaluation import metrics

NAN = float("nan")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_top_k_is_that_of_sorting(rng):
    # Few different scores, so that most are equal to others: the lower class is likelier.
    scores = rng.integers(0, 4, (500, 9)).astype(np.float32)
    labels = rng.integers(0, 9, 500)
    order = np.argsort(-scores, axis=1, kind="stable")
    for k in (1, 2, 5, 9, 12):
        expected = np.mean([label in row[:k] for row, label in zip(order, labels, strict=True)])
        assert metrics.top_k(scores, labels, k) == expected
    assert metrics.confusion(np.zeros((3, 3)), [0, 1, 2]).tolist() == [[1, 0, 0]] * 3


def test_confusion_and_accuracy_of_classes():
    scores = np.eye(4)[[0, 0, 1, 1, 1, 0, 3]]
    labels = [0, 0, 0, 1, 1, 1, 3]
    counts = metrics.confusion(scores, labels)
    assert counts.tolist() == [[2, 1, 0, 0], [1, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    accuracies = metrics.class_accuracy(counts)
    np.testing.assert_array_equal(accuracies, [2 / 3, 2 / 3, np.nan, 1])
    assert metrics.mean_of_present(accuracies) == (pytest.approx(7 / 9), 1)
    assert metrics.mean_of_present(np.full(2, NAN)) == (pytest.approx(NAN, nan_ok=True), 2)


@pytest.mark.parametrize(
    ("scores", "targets", "expected"),
    [
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 5 / 6),  # the example of scikit-learn
        ([3, 2, 1], [1, 1, 0], 1),
        ([3, 2, 1], [0, 0, 1], 1 / 3),
        ([3, 2, 1], [0, 0, 0], NAN),
        ([1, 1, 1, 1], [1, 1, 0, 0], 1),  # equal scores stay in order
        ([1, 1, 1, 1], [0, 0, 1, 1], 5 / 12),
        # Rows that were not scored come last, in order.
        ([-np.inf, -np.inf, 0.0, -1e300], [1, 0, 0, 1], (1 / 2 + 2 / 3) / 2),
    ],
)
def test_average_precision_by_hand(scores, targets, expected):
    found = metrics.mean_average_precision(np.array([scores]).T, np.array([targets]).T)
    assert found.value == pytest.approx(expected, nan_ok=True)


def _official(scores, targets):
    """The loop of Charades_v1_classify.m, which leaves videos without actions at -inf."""
    filled = np.where(targets.any(axis=1)[:, None], scores, -np.inf)
    found = []
    for k in range(scores.shape[1]):
        order = sorted(range(len(scores)), key=lambda row: -filled[row, k])
        hits, total = 0, 0.0
        for place, row in enumerate(order, 1):
            if targets[row, k]:
                hits += 1
                total += hits / place
        found.append(total / hits if hits else np.nan)
    return np.array(found)


def test_mean_average_precision_and_classification_of_charades(rng):
    scores = rng.normal(size=(80, 6))
    targets = (rng.random((80, 6)) < 0.25).astype(np.float32)
    targets[:30] = 0
    targets[30:36] = np.eye(6)
    targets[:, 1] = 0
    before = scores.copy()
    found = metrics.charades_classification(scores, targets)
    np.testing.assert_allclose(found.per_class, _official(scores, targets), rtol=1e-12)
    assert (found.value, found.absent) == (pytest.approx(np.nanmean(found.per_class)), 1)
    np.testing.assert_array_equal(scores, before)
    # As localisation the others count as false positives.
    counted = metrics.mean_average_precision(scores, targets)
    assert (np.delete(counted.per_class, 1) < np.delete(found.per_class, 1)).all()
    has = targets.any(axis=1)
    labelled = metrics.mean_average_precision(scores[has], targets[has])
    np.testing.assert_array_equal(found.per_class, labelled.per_class)


@pytest.mark.parametrize(
    ("function", "scores", "truth", "text"),
    [
        (metrics.confusion, [[0.0, NAN]], [0], r"without NaN.*\[1, 2\] with NaN in 1 places"),
        (metrics.confusion, np.zeros((0, 2)), [], r"shape \[0, 2\]"),
        (metrics.confusion, np.zeros((2, 3)), [0, 3], r"from 0 to 2 as labels.*0 to 3"),
        (metrics.confusion, np.zeros((2, 3)), [-1, 0], "Received: int64 of shape .*-1 to 0"),
        (metrics.confusion, np.zeros((2, 3)), [0.0, 1.0], "2 whole numbers.*float64"),
        (metrics.confusion, np.zeros((2, 3)), [0, 1, 2], r"2 whole numbers .* shape \[3\]"),
        (metrics.mean_average_precision, [[NAN]], [[1]], "without NaN"),
        (metrics.mean_average_precision, [[0, 0]], [[0, 0.5]], r"\[1, 2\] of 0 or 1.*0 to 0.5"),
        (metrics.mean_average_precision, [[0, 0]], [[0]], r"\[1, 2\] of 0 or 1.* \[1, 1\]"),
    ],
)
def test_wrong_input_is_named(function, scores, truth, text):
    with pytest.raises(ValueError, match=text):
        function(scores, truth)
