"""The protocols in frames and pixels, against numbers counted by hand."""

import dataclasses
import itertools

import numpy as np
import pytest

from common.evaluation import protocols
from common.evaluation.protocols import PROTOCOLS
from common.preprocessing.contracts import RGB_CONTRACT, usual


def _filled(name, **changes):
    contract = dataclasses.replace(RGB_CONTRACT, **{"frames": 64, **changes})
    return PROTOCOLS[name].filled(contract, least=9)


THIRTY = PROTOCOLS["thirty_view"].filled(usual("i3d_resnet50_32x2"))
SLIDING = PROTOCOLS["sliding"].filled(usual("r2plus1d_18"))


@pytest.mark.parametrize(
    ("protocol", "total", "expected"),
    [
        (_filled("quo_vadis"), 300, [list(range(250))]),
        (_filled("quo_vadis"), 79, [list(range(79))]),
        (_filled("quo_vadis"), 4, [[0, 1, 2, 3, 0, 1, 2, 3, 0]]),  # 9 at least
        (_filled("quo_vadis", stride=2), 1000, [list(range(0, 500, 2))]),
        (_filled("clip"), 100, [list(range(18, 82))]),
        (THIRTY, 300, [[(start + 2 * k) % 300 for k in range(32)] for start in range(0, 300, 30)]),
        (SLIDING, 40, [list(range(16)), list(range(16, 32)), [*range(32, 40), *range(32, 40)]]),
    ],
)
def test_windows(protocol, total, expected):
    assert protocol.windows(total) == expected


@pytest.mark.parametrize(("total", "rate"), [(1, 1), (64, 1), (65, 1), (97, 2), (127, 2), (500, 2)])
def test_every_frame_is_in_a_window_that_does_not_loop(total, rate):
    windows = _filled("every_frame", stride=rate).windows(total)
    assert all(len(window) == 64 for window in windows)
    span = 63 * rate + 1
    shown = {index // rate for window in windows for index in window}
    assert shown >= {index // rate for index in range(total - rate + 1)}
    assert (len(windows) == 1) == (total <= span)
    if total > span:
        assert (windows[0][0], windows[-1][-1]) == (0, total - 1)
        steps = [b[0] - a[0] for a, b in itertools.pairwise(windows)]
        assert 0 < min(steps) <= max(steps) <= span // 2


def test_sizes_and_corners():
    assert _filled("quo_vadis").corners(256, 340) == [(16, 58)]
    assert THIRTY.corners(256, 340) == [(0, 0), (0, 42), (0, 84)]  # 256 x 256, as in the paper
    assert THIRTY.corners(340, 256)[2] == (84, 0)
    assert (SLIDING.frames, SLIDING.short_side, SLIDING.crop) == (16, 112, 112)
    small = _filled("thirty_view", crop=64, short_side=72)
    assert (small.crop, small.short_side) == (64, 72)  # a network's own, unless it is the usual


def test_the_record():
    record = _filled("quo_vadis").record()
    assert record["text"] == (
        "quo_vadis (Carreira and Zisserman, CVPR 2017): whole, 250 frames, stride 1, crops: 1 of "
        "224x224, short side 256, mean of logits"
    )
    assert (record["frames"], record["crop"], record["least"]) == (250, 224, 9)


def _mean(how, *logits):
    return protocols.mean_of_views([np.array(row, np.float32) for row in logits], how)


def test_logits_or_probabilities_are_averaged():
    np.testing.assert_array_equal(_mean("logits", [1, 2, 3], [3, 0, 0]), [2, 1, 1.5])
    logits = _mean("softmax", np.log([0.5, 0.25, 0.25]) + 7, np.log([0.1, 0.8, 0.1]) - 3)
    np.testing.assert_allclose(np.exp(logits), [0.3, 0.525, 0.175], rtol=1e-6)
    # A probability that vanishes stays finite.
    logits = _mean("softmax", [0, 1000, -1000], [0, 900, -900])
    np.testing.assert_allclose(logits, [-900 - np.log(2), 0, -1800 - np.log(2)], rtol=1e-6)


@pytest.mark.parametrize(
    ("rate", "views", "expected"),
    [
        (1, [([0, 1, 2], [1, 2, 3]), ([1, 2, 3], [4, 5, 6])], [1, 3, 4, 6]),  # the mean
        (1, [([0, 1, 0, 1], [1, 2, 30, 40])], [1, 2]),  # a loop counts once
        (1, [([2, 0, 1], [3, 1, 2])], [1, 2, 3]),  # shuffled
        (3, [([0, 3, 6], [1, 2, 3])], [1, 1, 2, 2, 2, 3, 3, 3]),  # the nearest
        (2, [([0, 2, 4], [1, 2, 3])], [1, 1, 2, 2, 3, 3]),
    ],
)
def test_frames_have_the_logits_of_the_views_that_show_them(rate, views, expected):
    scored = [(indices, np.array(logits, np.float32)[:, None]) for indices, logits in views]
    video, moments = protocols.mean_of_frames(scored, range(len(expected)), rate)
    np.testing.assert_array_equal(moments[:, 0], expected)
    np.testing.assert_array_equal(video, [max(expected)])
    with pytest.raises(ValueError, match="frame 10 is in no view"):
        protocols.mean_of_frames(scored, [0, 10], rate)
