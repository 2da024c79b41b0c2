"""Metrics against numbers by hand, and against plain loops."""

import numpy as np
import pytest

from common.evaluation import metrics

NAN = float("nan")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_top_k_and_confusion_give_ties_to_the_lower_class(rng):
    scores = rng.integers(0, 4, (500, 9)).astype(np.float32)  # most are equal to others
    labels = rng.integers(0, 9, 500)
    orders = [sorted(range(9), key=lambda k, row=row: -row[k]) for row in scores]
    for k in (1, 2, 5, 9, 12):
        expected = np.mean([label in order[:k] for label, order in zip(labels, orders)])  # noqa: B905
        assert metrics.top_k(scores, labels, k) == expected
    assert metrics.confusion(np.zeros((3, 3)), [0, 1, 2]).tolist() == [[1, 0, 0]] * 3


def test_confusion_and_accuracy_of_classes():
    scores = np.eye(4)[[0, 0, 1, 1, 1, 0, 3]]
    counts = metrics.confusion(scores, [0, 0, 0, 1, 1, 1, 3])
    assert counts.tolist() == [[2, 1, 0, 0], [1, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    found = metrics.class_accuracy(counts)
    np.testing.assert_array_equal(found.per_class, [2 / 3, 2 / 3, NAN, 1])
    assert (found.value, found.absent) == (pytest.approx(7 / 9), 1)
    assert np.isnan(metrics.class_accuracy(np.zeros((2, 2), int)).value)


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
        found.append(total / hits if hits else NAN)
    return np.array(found)


def test_mean_average_precision_and_classification_of_charades(rng):
    scores = rng.normal(size=(80, 6))
    targets = (rng.random((80, 6)) < 0.25).astype(np.float32)
    targets[:30] = 0
    targets[30:36] = np.eye(6)
    targets[:, 1] = 0
    found = metrics.charades_classification(scores, targets)
    np.testing.assert_allclose(found.per_class, _official(scores, targets), rtol=1e-12)
    assert (found.value, found.absent) == (pytest.approx(np.nanmean(found.per_class)), 1)
    # As localisation the others count as false positives.
    counted = metrics.mean_average_precision(scores, targets)
    assert (np.delete(counted.per_class, 1) < np.delete(found.per_class, 1)).all()
