import math
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
    ("rule", "expected"),
    [("half_open", [2, 3, 4, 5]), ("strict", [3, 4, 5]), ("inclusive", [2, 3, 4, 5, 6])],
)
def test_both_ends_on_a_frame(rule, expected):
    labels = frame_labels(_record(Action(0, 0.2, 0.6)), 1, frames=10, fps=10, rule=rule)
    assert (labels.dtype, labels.shape) == (np.uint8, (10, 1))
    assert _positive(labels) == expected
    span = _record(Action(0, 2, 6), unit="frames", frames=10)
    assert _positive(frame_labels(span, 1, rule=rule)) == expected


def test_the_rule_of_a_record_goes_by_the_unit_of_its_spans():
    assert rule_of(_record(unit="seconds")) == "strict"
    assert rule_of(_record(unit="frames")) == "half_open"


@pytest.mark.parametrize("rule", ["half_open", "strict", "inclusive"])
def test_ends_between_frames_are_the_same_for_all_rules(rule):
    labels = frame_labels(_record(Action(0, 0.21, 0.59)), 1, frames=10, fps=10, rule=rule)
    assert _positive(labels) == [3, 4, 5]


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
    assert as_written(0.1) == Fraction(1, 10)
    assert as_written(np.float64(0.1)) == Fraction(1, 10)
    assert as_written(Fraction(1, 3)) == Fraction(1, 3)
    with pytest.raises(ValueError, match="finite number, got nan"):
        as_written(math.nan)


def test_several_classes_at_once_and_spans_that_leave_the_clip():
    actions = (Action(1, -5, 2), Action(2, 1, 99), Action(2, 0, 2), Action(0, 50, 60))
    labels = frame_labels(_record(*actions), 3, frames=4, fps=1)
    assert labels.tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1]]
    assert frame_labels(_record(Action(0, -5, -1)), 1, 4, 1, "inclusive").sum() == 0


@pytest.mark.parametrize("rule", ["half_open", "strict", "inclusive"])
def test_a_span_that_ends_before_it_starts_matches_nothing(rule):
    assert frame_labels(_record(Action(0, 3, 1)), 1, 9, 1, rule).sum() == 0


def test_a_span_of_one_instant_matches_only_inclusively():
    record = _record(Action(0, 3, 3))
    counts = [frame_labels(record, 1, 9, 1, r).sum() for r in ("half_open", "strict", "inclusive")]
    assert counts == [0, 0, 1]


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


def test_contradicting_frames_and_rates_are_refused():
    span = Action(0, 30, 60)
    record = _record(span, unit="frames", frames=90, fps=30.0)
    with pytest.raises(ValueError, match=r"a: the record has 90 frames, so labelling 75 .* fps\."):
        frame_labels(record, 1, frames=75)
    with pytest.raises(ValueError, match=r"has 30 frames a second, so labelling at 25 .* frames\."):
        frame_labels(record, 1, fps=25)
    with pytest.raises(ValueError, match="in frames of an unknown rate, so frames at 25 a second"):
        frame_labels(_record(span, unit="frames", frames=90), 1, frames=75, fps=25)
    with pytest.raises(ValueError, match="the record has 40 frames, so labelling 50"):
        frame_labels(_record(Action(0, 1, 2), frames=40, fps=10.0), 1, frames=50)
    for given in ({"frames": 90}, {"fps": 30}, {"fps": Fraction(30)}, {"frames": 90, "fps": 30}):
        np.testing.assert_array_equal(frame_labels(record, 1, **given), frame_labels(record, 1))


def test_missing_or_invalid_arguments():
    record = _record(Action(5, 0, 1))
    with pytest.raises(ValueError, match="unknown rule 'open'; expected"):
        frame_labels(record, 6, 3, 1, rule="open")
    with pytest.raises(ValueError, match="a: label 5 is outside the 5 classes"):
        frame_labels(record, 5, 3, 1)
    with pytest.raises(ValueError, match="a: its spans are in seconds and its frame rate"):
        frame_labels(record, 6, 3)
    with pytest.raises(ValueError, match="a: expected a number of frames to label, got None"):
        frame_labels(record, 6, fps=1)
    with pytest.raises(ValueError, match="a: expected a frame rate above 0, got 0"):
        frame_labels(record, 6, 3, 0)
    with pytest.raises(ValueError, match="finite number, got inf"):
        frame_labels(_record(Action(0, 0, math.inf)), 1, 3, 1)
