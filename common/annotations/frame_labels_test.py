from fractions import Fraction

import numpy as np
import pytest

from common.annotations import Action, Record
from common.annotations.frame_labels import as_written, frame_labels, rule_of


def _record(*actions: Action, **fields: object) -> Record:
    return Record("a", "a.mp4", "training", actions=actions, **fields)  # type: ignore[arg-type]


def _positive(labels: np.ndarray, label: int = 0) -> list[int]:
    return np.flatnonzero(labels[:, label]).tolist()


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (2, 6, ([2, 3, 4, 5], [3, 4, 5], [2, 3, 4, 5, 6])),
        (2.1, 5.9, ([3, 4, 5],) * 3),
        (3, 1, ([],) * 3),
        (3, 3, ([], [], [3])),
        (-5, -1, ([],) * 3),
        (8, 99, ([8, 9], [9], [8, 9])),
    ],
)
def test_rules(start, end, expected):
    frames = _record(Action(0, start, end), unit="frames", frames=10)
    seconds = _record(Action(0, round(start / 10, 2), round(end / 10, 2)))
    for rule, positive in zip(("half_open", "strict", "inclusive"), expected, strict=True):
        labels = frame_labels(seconds, 1, frames=10, fps=10, rule=rule)
        assert (labels.dtype, labels.shape) == (np.uint8, (10, 1))
        assert _positive(labels) == _positive(frame_labels(frames, 1, rule=rule)) == positive


def test_the_rule_of_a_record_goes_by_the_unit_of_its_spans():
    assert rule_of(_record(unit="seconds")) == "strict"
    assert rule_of(_record(unit="frames")) == "half_open"


def test_agrees_with_a_loop_over_frames():
    rng = np.random.default_rng(0)
    compare = {
        "half_open": lambda start, t, end: start <= t < end,
        "strict": lambda start, t, end: start < t < end,
        "inclusive": lambda start, t, end: start <= t <= end,
    }
    for _ in range(100):
        spans = [
            (int(c), a / 10, b / 10)
            for c, a, b in zip(*(rng.integers(low, 60, 3) for low in (0, -9, 0)), strict=True)
        ]
        actions = [Action(label % 4, start, end) for label, start, end in spans]
        fps = Fraction(int(rng.integers(1, 9)), int(rng.integers(1, 5)))
        for rule, inside in compare.items():
            expected = np.zeros((30, 4), np.uint8)
            for k in range(30):
                for action in actions:
                    start, end = (Fraction(round(x * 10), 10) for x in (action.start, action.end))
                    if inside(start, k / fps, end):
                        expected[k, action.label] = 1
            found = frame_labels(_record(*actions), 4, 30, fps, rule)
            np.testing.assert_array_equal(found, expected)


def test_edges_are_exact():
    # Frame 20 of 24 in 2.04 s is at 1.7 s, which floats put a little behind 1.7.
    assert 20 / (24 / 2.04) > 1.7
    record = _record(Action(0, 1.7, 2.0), duration=2.04)
    fps = Fraction(24) / as_written(2.04)
    assert _positive(frame_labels(record, 1, 24, fps, "strict")) == [21, 22, 23]
    assert _positive(frame_labels(record, 1, 24, fps, "half_open")) == [20, 21, 22, 23]
    assert as_written(0.1) == as_written(np.float64(0.1)) == Fraction(1, 10)
    assert as_written(Fraction(1, 3)) == Fraction(1, 3)


def test_only_one_subject():
    actions = (Action(0, 0, 2, subject=4), Action(1, 1, 3, subject=7), Action(1, 0, 1))
    record = _record(*actions, unit="frames", frames=3)
    assert frame_labels(record, 2).tolist() == [[1, 1], [1, 1], [0, 1]]
    assert frame_labels(record, 2, subject=7).tolist() == [[0, 0], [0, 1], [0, 1]]
    assert frame_labels(record, 2, subject=5).sum() == 0


def test_annotated_frames_at_another_rate():
    record = _record(Action(0, 30, 60), unit="frames", frames=90, fps=30.0)
    assert _positive(frame_labels(record, 1)) == list(range(30, 60))
    assert _positive(frame_labels(record, 1, frames=75, fps=25)) == list(range(25, 50))


NAMED = {"unit": "frames", "frames": 90}


@pytest.mark.parametrize(
    ("fields", "given", "error"),
    [
        (
            {**NAMED, "fps": 30.0},
            {"frames": 75},
            "the record has 90 frames, so labelling 75 .* fps",
        ),
        (
            {**NAMED, "fps": 30.0},
            {"fps": 25},
            "has 30 frames a second, so labelling at 25 .* frames",
        ),
        (
            NAMED,
            {"frames": 75, "fps": 25},
            "in frames of an unknown rate, so frames at 25 a second",
        ),
        ({"frames": 40, "fps": 10.0}, {"frames": 50}, "the record has 40 frames, so labelling 50"),
        ({}, {"frames": 3}, "its spans are in seconds and its frame rate is unknown"),
        ({}, {"fps": 1}, "expected a number of frames to label, got None"),
        ({}, {"frames": 3, "fps": 0}, "expected a frame rate above 0, got 0"),
        ({}, {"frames": 3, "fps": 1, "num_classes": 5}, "label 5 is outside the 5 classes"),
    ],
)
def test_missing_or_contradicting_arguments(fields, given, error):
    record = _record(Action(5, 30, 60), **fields)
    with pytest.raises(ValueError, match=f"a: .*{error}"):
        frame_labels(record, **{"num_classes": 6, **given})


def test_the_records_own_frames_may_be_named():
    record = _record(Action(0, 30, 60), unit="frames", frames=90, fps=30.0)
    for given in ({"frames": 90}, {"fps": 30}, {"fps": Fraction(30)}, {"frames": 90, "fps": 30}):
        np.testing.assert_array_equal(frame_labels(record, 1, **given), frame_labels(record, 1))
    with pytest.raises(ValueError, match="unknown rule 'open'; expected"):
        frame_labels(record, 1, rule="open")
