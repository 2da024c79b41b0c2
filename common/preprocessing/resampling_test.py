from fractions import Fraction

import pytest

from common.preprocessing.resampling import exact, resample


def _shown(*times, last=1):
    """Items a, b, c, ... that follow one another at these times."""
    starts = [Fraction(time) for time in times]
    ends = [*starts[1:], starts[-1] + last]
    return [
        (start, end - start, chr(ord("a") + k))
        for k, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def test_the_last_item_stays_for_its_duration():
    shown = _shown(0, 1, last=3)
    assert "".join(resample(shown, fps=2)) == "aabbbbbb"
    assert "".join(resample(shown, fps=2, end=2)) == "aabb"
    assert "".join(resample(shown, fps=2, start=0.5, end=2)) == "abb"
    assert "".join(resample(shown, fps=2, start=9)) == ""
    assert "".join(resample([], fps=2)) == ""


def test_an_item_is_there_from_its_timestamp_on():
    assert "".join(resample(_shown("0", "0.1", "0.11", "0.4"), fps=10, end=0.5)) == "abccd"


@pytest.mark.parametrize(("rate", "count"), [(28, 250), (30, 250), (50, 250), (12, 250)])
def test_ten_seconds_at_25_are_250(rate, count):
    times = [Fraction(k, rate) for k in range(10 * rate)]
    shown = [(time, Fraction(1, rate), k) for k, time in enumerate(times)]
    picked = list(resample(shown, fps=25))
    assert picked == [k * rate // 25 for k in range(count)]


def test_rounding_forgives_a_late_timestamp():
    shown = _shown("0", "0.034", "0.067", "0.1")
    assert "".join(resample(shown, 30, end=0.13)) == "aabd"
    assert "".join(resample(shown, 30, end=0.13, rounding=Fraction(1, 1000))) == "abcd"


def test_exact():
    assert exact(29.97002997) == Fraction(30000, 1001)
    assert exact(25) == 25
    assert exact(0.1) == Fraction(1, 10)
