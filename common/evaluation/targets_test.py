"""Labels of videos and moments, on spans counted by hand."""

import numpy as np
import pytest

from common.annotations import Action, Record
from common.evaluation import targets
from common.testing.readers import record

SPANS = (Action(1, 2.0, 5.0), Action(2, 9.6, 20.0))


def test_classes():
    found = targets.classes([record("a", 2), record("b", 0)], 3)
    np.testing.assert_array_equal(found, np.array([2, 0]))
    wrong = [Record("unknown", "u", "testing"), Record("several", "s", "testing", (0, 1))]
    with pytest.raises(ValueError, match="none or several for several, unknown"):
        targets.classes([record("a"), *wrong], 3)
    with pytest.raises(ValueError, match="has 3 classes, and there are others in the labels of b"):
        targets.classes([record("a", 2), record("b", 3)], 3)


def test_points_are_even_moments_with_both_ends_of_a_span():
    video = record("a", actions=SPANS, duration=10.0)
    frames, labels = targets.of_moments(video, 3, 100, None, 25)  # every 0.4 s
    assert frames == list(range(0, 100, 4))
    assert np.flatnonzero(labels[:, 1]).tolist() == [5, 6, 7, 8, 9, 10, 11, 12]  # 2.0 to 4.8
    assert np.flatnonzero(labels[:, 2]).tolist() == [24]  # 9.6, the very beginning of the span
    assert not labels[:, 0].any()


def test_frames_follow_the_rule_of_training():
    seconds = record("a", actions=(Action(1, 1.0, 2.0),), duration=4.0)
    frames, labels = targets.of_moments(seconds, 2, 16, 4.0, None)
    assert frames == list(range(16))
    assert np.flatnonzero(labels[:, 1]).tolist() == [5, 6, 7]
    numbered = record("a", actions=(Action(1, 3, 6),), unit="frames", frames=16)
    _, labels = targets.of_moments(numbered, 2, 16, None, None)
    assert np.flatnonzero(labels[:, 1]).tolist() == [3, 4, 5]


def test_a_video_has_the_classes_of_all_its_spans():
    video = Record("a", "a", "testing", (0,), actions=SPANS)
    np.testing.assert_array_equal(targets.of_video(video, 4), [1, 1, 1, 0])


def test_what_moments_need_is_checked_first():
    unknown = record("b")
    targets.check_frames([record("a", duration=3.0)], 1, 25)
    targets.check_frames([unknown], 1, None)
    with pytest.raises(ValueError, match=r"25 moments of a video need its duration, .* of b"):
        targets.check_frames([unknown], 1, 25)
    with pytest.raises(ValueError, match="has 2 classes"):
        targets.check_frames([record("c", actions=SPANS)], 2, None)
