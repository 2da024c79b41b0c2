"""Averages against numbers computed by hand."""

import numpy as np
import pytest

from common.evaluation.averaging import ClipAverage, FrameAverage
from common.evaluation.reading import View

CLIP = np.zeros((1, 1, 1, 3), np.uint8)


def _clips(how, *logits):
    average = ClipAverage(how)
    for row in logits:
        average.add(View((0,), CLIP), np.array(row, np.float32))
    return average.result()


def test_logits_are_averaged():
    np.testing.assert_array_equal(_clips("logits", [1, 2, 3], [3, 0, 0]), [2, 1, 1.5])


def test_probabilities_are_averaged():
    logits = _clips("softmax", np.log([0.5, 0.25, 0.25]) + 7, np.log([0.1, 0.8, 0.1]) - 3)
    np.testing.assert_allclose(np.exp(logits), [0.3, 0.525, 0.175], rtol=1e-6)
    assert logits.dtype == np.float32


def test_a_probability_that_vanishes_stays_finite():
    logits = _clips("softmax", [0, 1000, -1000], [0, 900, -900])
    np.testing.assert_allclose(logits, [-900 - np.log(2), 0, -1800 - np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("how", ["logits", "softmax"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(how, bad):
    with (
        pytest.raises(ValueError, match="its logits are not finite"),
        np.errstate(invalid="ignore"),
    ):
        _clips(how, [0, bad])


def _frames(total, rate, moments, *views):
    average = FrameAverage(total, rate, moments)
    for indices, logits in views:
        average.add(View(tuple(indices), CLIP), np.array(logits, np.float32)[:, None])
    return average.result()


def test_a_frame_has_the_mean_of_the_views_that_show_it():
    found = _frames(4, 1, [0, 1, 3, 3], ([0, 1, 2], [1, 2, 3]), ([1, 2, 3], [4, 5, 6]))
    np.testing.assert_array_equal(found.moments[:, 0], [1, 3, 6, 6])
    np.testing.assert_array_equal(found.video, [6])


def test_a_frame_that_a_loop_shows_again_counts_once():
    found = _frames(2, 1, [0, 1], ([0, 1, 0, 1], [1, 2, 30, 40]))
    np.testing.assert_array_equal(found.moments[:, 0], [1, 2])
    np.testing.assert_array_equal(found.video, [2])


def test_frames_between_take_the_nearest():
    found = _frames(8, 3, range(8), ([0, 3, 6], [1, 2, 3]))
    np.testing.assert_array_equal(found.moments[:, 0], [1, 1, 2, 2, 2, 3, 3, 3])


def test_a_frame_that_no_view_shows_is_refused():
    with pytest.raises(ValueError, match="frame 3 is in no view of it"):
        _frames(8, 1, range(8), ([0, 1, 2], [1, 2, 3]))
    with pytest.raises(ValueError, match="not finite"):
        _frames(1, 1, [0], ([0], [np.nan]))
