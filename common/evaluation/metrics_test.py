import numpy as np
import pytest

from common.evaluation import metrics


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _precision_by_thresholds(scores, targets):
    """Sum over thresholds of (recall gained) * precision, as scikit-learn has it."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        found = scores >= threshold
        gained = (targets[found].sum()) / targets.sum()
        total += (gained - recall) * targets[found].mean()
        recall = gained
    return total


def average_precision(scores, targets):
    """Of one class."""
    columns = np.asarray(scores)[:, None], np.asarray(targets)[:, None]
    return metrics.mean_average_precision(*columns).value


def test_top_k_by_hand():
    scores = [[0.1, 0.7, 0.2], [0.5, 0.4, 0.1], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]
    labels = [1, 1, 0, 2]
    assert [metrics.top_k(scores, labels, k) for k in (1, 2, 3, 5)] == [0.25, 0.5, 1.0, 1.0]


def test_top_k_is_that_of_sorting(rng):
    # Few different scores, so that most are equal to others.
    scores = rng.integers(0, 4, (500, 9)).astype(np.float32)
    labels = rng.integers(0, 9, 500)
    order = np.argsort(-scores, axis=1, kind="stable")
    for k in (1, 2, 5, 9):
        expected = np.mean([label in row[:k] for row, label in zip(order, labels, strict=True)])
        assert metrics.top_k(scores, labels, k) == expected


def test_of_equal_scores_the_lower_class_is_likelier():
    scores = np.zeros((3, 3))
    assert metrics.top_k(scores, [0, 1, 2], 1) == pytest.approx(1 / 3)
    assert metrics.top_k(scores, [0, 1, 2], 2) == pytest.approx(2 / 3)
    assert metrics.confusion(scores, [0, 1, 2]).tolist() == [[1, 0, 0]] * 3


def test_confusion_and_accuracy_of_classes():
    scores = np.eye(4)[[0, 0, 1, 1, 1, 0, 3]]
    labels = [0, 0, 0, 1, 1, 1, 3]
    counts = metrics.confusion(scores, labels)
    assert counts.dtype == np.int64
    assert counts.tolist() == [[2, 1, 0, 0], [1, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(metrics.class_accuracy(counts), [2 / 3, 2 / 3, np.nan, 1])
    value, absent = metrics.mean_class_accuracy(counts)
    assert (value, absent) == (pytest.approx(7 / 9), 1)
    assert metrics.top_k(scores, labels, 1) == np.trace(counts) / counts.sum()
    nothing = metrics.mean_class_accuracy(np.zeros((2, 2), np.int64))
    assert np.isnan(nothing[0]) and nothing[1] == 2


def test_average_precision_by_hand():
    # Positives at ranks 1 and 3; the example in scikit-learn's documentation.
    assert average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == pytest.approx(5 / 6)
    assert average_precision([3, 2, 1], [1, 1, 0]) == 1
    assert average_precision([3, 2, 1], [0, 0, 1]) == pytest.approx(1 / 3)
    assert average_precision([1, 2], [1, 1]) == 1
    assert np.isnan(average_precision([3, 2, 1], [0, 0, 0]))


def test_rows_with_equal_scores_stay_in_order():
    assert average_precision([1, 1, 1, 1], [1, 1, 0, 0]) == 1
    assert average_precision([1, 1, 1, 1], [0, 0, 1, 1]) == pytest.approx(5 / 12)
    # Rows that were not scored come last, in order.
    missing = [-np.inf, -np.inf, 0.0, -1e300]
    assert average_precision(missing, [1, 0, 0, 1]) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_mean_average_precision(rng):
    scores = rng.normal(size=(200, 6))
    targets = rng.random((200, 6)) < 0.2
    targets[:, [1, 4]] = False
    found = metrics.mean_average_precision(scores, targets)
    expected = [
        _precision_by_thresholds(scores[:, k], targets[:, k]) if k not in (1, 4) else np.nan
        for k in range(6)
    ]
    np.testing.assert_allclose(found.per_class, expected, rtol=1e-12)
    assert found.absent == 2
    assert found.value == pytest.approx(np.nanmean(expected), rel=1e-12)
    none = metrics.mean_average_precision(scores, np.zeros_like(targets))
    assert np.isnan(none.value) and none.absent == 6


def _official(scores, targets):
    """The loop of Charades_v1_classify.m, which leaves videos without actions at -inf."""
    filled = np.full(scores.shape, -np.inf)
    for row in range(len(scores)):
        if targets[row].any():
            filled[row] = scores[row]
    found = []
    for k in range(scores.shape[1]):
        order = sorted(range(len(scores)), key=lambda row: -filled[row, k])
        hits, total = 0, 0.0
        for place, row in enumerate(order, 1):
            if targets[row, k]:
                hits += 1
                total += hits / place
        found.append(total / hits)
    return np.array(found)


def test_classification_of_charades(rng):
    scores = rng.normal(size=(80, 5))
    targets = (rng.random((80, 5)) < 0.25).astype(np.float32)
    targets[:30] = 0
    targets[30:35] = np.eye(5)
    before = scores.copy()
    found = metrics.charades_classification(scores, targets)
    np.testing.assert_allclose(found.per_class, _official(scores, targets), rtol=1e-12)
    np.testing.assert_array_equal(scores, before)
    # As localisation they count: nothing can be better for it.
    counted = metrics.mean_average_precision(scores, targets)
    assert (counted.per_class < found.per_class).all() and found.absent == counted.absent == 0
    has = targets.any(axis=1)
    labelled = metrics.mean_average_precision(scores[has], targets[has])
    np.testing.assert_array_equal(found.per_class, labelled.per_class)


def test_wrong_input_is_named():
    broken = [[0.0, 1.0], [np.nan, 1.0], [2.0, np.nan]]
    for function in (metrics.confusion, metrics.mean_average_precision):
        with pytest.raises(ValueError, match=r"nan in 2 of 3 rows, first in row 1\."):
            function(broken, np.zeros((3, 2), int))
    with pytest.raises(ValueError, match=r"nan in 1 of 2 rows, first in row 1\."):
        average_precision([0.0, np.nan], [0, 1])
    with pytest.raises(ValueError, match=r"got shape \[0, 2\]"):
        metrics.top_k(np.zeros((0, 2)), np.zeros(0, int), 1)
    scores = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"from 0 to 2, .* Received: 3 in row 1\."):
        metrics.top_k(scores, [0, 3], 1)
    with pytest.raises(ValueError, match=r"Received: -1 in row 0\."):
        metrics.confusion(scores, [-1, 0])
    with pytest.raises(ValueError, match=r"expected 2 whole numbers as labels, .* got float64"):
        metrics.confusion(scores, [0.0, 1.0])
    with pytest.raises(ValueError, match=r"expected 2 whole numbers .* shape \[3\]"):
        metrics.confusion(scores, [0, 1, 2])
    with pytest.raises(ValueError, match="k must be at least 1"):
        metrics.top_k(scores, [0, 1], 0)
    with pytest.raises(ValueError, match=r"targets must be of the shape .* \[2, 3\]"):
        metrics.mean_average_precision(scores, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="targets must be 0 or 1"):
        metrics.mean_average_precision(scores, np.full((2, 3), 0.5))
