import math

import numpy as np
import pytest

from common.preprocessing import clips

SIZES = [(300, 64, 1), (79, 16, 4), (64, 64, 1), (10, 4, 3), (7, 16, 1), (3, 4, 2), (1, 5, 3)]


@pytest.mark.parametrize(("total", "duration", "rate"), SIZES)
def test_a_random_window_is_even_and_inside_or_loops(total, duration, rate):
    first, second = (
        clips.random_window(total, duration, rate, np.random.default_rng([1, 2])) for _ in range(2)
    )
    assert first == second
    assert all(type(frame) is int for frame in first)
    if (duration - 1) * rate < total:
        assert first == list(range(first[0], first[0] + duration * rate, rate))
        assert first[-1] < total
    else:
        assert first == [k * rate % total for k in range(duration)]


def test_random_windows_begin_everywhere_equally_often():
    rng = np.random.default_rng(0)
    starts = [clips.random_window(12, 3, 4, rng)[0] for _ in range(4000)]
    # Frames 0 to 3: the span is 9. Measured: 985 to 1038 of 4000.
    counts = np.bincount(starts)
    assert len(counts) == 4 and counts.min() > 900 and counts.max() < 1100


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((10, 4, 1), [3, 4, 5, 6]),
        ((9, 4, 1), [2, 3, 4, 5]),  # one frame before the middle
        ((10, 3, 3), [1, 4, 7]),
        ((7, 3, 3), [0, 3, 6]),
        ((6, 3, 3), [0, 3, 0]),
        ((2, 5, 1), [0, 1, 0, 1, 0]),
    ],
)
def test_the_middle(size, expected):
    assert clips.center_window(*size) == expected


def test_even_windows_begin_as_those_of_non_local_networks():
    assert clips.even_windows(10, 4, 2, 3) == [[0, 2, 4, 6], [3, 5, 7, 9], [6, 8, 0, 2]]
    assert clips.even_windows(2, 3, 1, 4) == [[0, 1, 0], [0, 1, 0], [1, 0, 1], [1, 0, 1]]
    for total in range(1, 400):
        theirs = [int(j * total / 10) % total for j in range(10)]
        assert [window[0] for window in clips.even_windows(total, 1, 1, 10)] == theirs


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((32, 16, 1, 16), [list(range(16)), list(range(16, 32))]),
        ((5, 3, 1, 3), [[0, 1, 2], [3, 4, 3]]),
        ((4, 3, 1, 3), [[0, 1, 2], [3, 3, 3]]),
        ((2, 5, 1, 5), [[0, 1, 0, 1, 0]]),
        ((5, 4, 1, 2), [[0, 1, 2, 3], [2, 3, 4, 2]]),  # ends at the first that is short
        ((6, 2, 1, 3), [[0, 1], [3, 4]]),  # a stride above the duration leaves frames out
        ((9, 2, 3, 1), [[0, 3], [3, 6], [6, 6]]),
    ],
)
def test_sliding_windows(size, expected):
    assert clips.sliding_windows(*size) == expected


def test_whole():
    assert clips.whole(79, 250) == list(range(79))
    assert clips.whole(300, 250, least=9) == list(range(250))
    assert clips.whole(4, 250, least=9) == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert clips.whole(9, 9, least=9) == list(range(9))
    with pytest.raises(ValueError, match=r"least must be at most most, 5\. Received: 9\."):
        clips.whole(79, 5, least=9)


def test_frames_of_the_localisation_metric():
    assert clips.localisation_frames(100) == list(range(0, 100, 4))
    assert clips.localisation_frames(10, 4) == [0, 2, 5, 7]
    # What is shown at j * length / 25, at 24 frames a second.
    for total in range(1, 300):
        length = total / 24
        shown = [math.floor(j * length / 25 * 24 + 1e-9) for j in range(25)]
        assert clips.localisation_frames(total) == shown


@pytest.mark.parametrize(
    ("choose", "numbers", "name"),
    [
        (clips.random_window, (0, 1, 1, None), "total"),
        (clips.center_window, (5, 0, 1), "duration"),
        (clips.even_windows, (5, 1, -1, 2), "rate"),
        (clips.even_windows, (5, 1, 1, 0), "count"),
        (clips.sliding_windows, (5, 1, 1, 0), "stride"),
        (clips.localisation_frames, (0,), "total"),
        (clips.whole, (0, 250), "total"),
    ],
)
def test_nothing_is_chosen_from_nothing(choose, numbers, name):
    with pytest.raises(ValueError, match=rf"{name} must be at least 1 .* Received: (0|-1)\."):
        choose(*numbers)
