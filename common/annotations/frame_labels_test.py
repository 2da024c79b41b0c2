from fractions import Fraction

import numpy as np
import pytest

from common.annotations import Action, Record
from common.annotations.frame_labels import as_written, frame_labels


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


def test_edges_are_exact():
    # Frame 20 of 24 in 2.04 s is at 1.7 s, which floats put a little behind 1.7.
    assert 20 / (24 / 2.04) > 1.7
    record = _record(Action(0, 1.7, 2.0), duration=2.04)
    fps = Fraction(24) / as_written(2.04)
    assert _positive(frame_labels(record, 1, 24, fps, "strict")) == [21, 22, 23]
    assert _positive(frame_labels(record, 1, 24, fps, "half_open")) == [20, 21, 22, 23]


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
        ({**NAMED, "fps": 30.0}, {"frames": 75}, r"\(90 at 30.0 .* Received: 75 at None"),
        ({**NAMED, "fps": 30.0}, {"fps": 25}, "Received: None at 25"),
        (NAMED, {"frames": 75, "fps": 25}, "in frames, and the rate of its own frames is unknown"),
        ({"frames": 40, "fps": 10.0}, {"frames": 50}, "need their number and their rate"),
        ({}, {"frames": 3}, "its spans are in seconds, and the rate of the frames is unknown"),
        ({}, {"fps": 1}, "expected a number of frames to label, got None"),
        ({}, {"frames": 3, "fps": 0}, "expected a frame rate above 0, got 0"),
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
