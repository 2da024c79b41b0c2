from fractions import Fraction

import pytest

from common.video.spans import Span, exact
from common.video.timestamps import Shown


def picked(times, last=1, tick=0, **span):
    """The letters a, b, c, ... that follow one another at these times, as a span picks them."""
    starts = [Fraction(time) for time in times]
    ends = [*starts[1:], starts[-1] + last]
    shown = [
        Shown(start, end - start, chr(ord("a") + k))
        for k, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
    return "".join(item for _, item in Span(**span).pick(shown, Fraction(tick)))


def test_the_last_item_stays_for_its_duration():
    assert picked([0, 1], last=3, fps=2) == "aabbbbbb"
    assert picked([0, 1], last=3, fps=2, end=2) == "aabb"
    assert picked([0, 1], last=3, fps=2, start=0.5, end=2) == "abb"
    assert picked([0, 1], last=3, fps=2, start=9) == ""
    assert list(Span(fps=2).pick([])) == []


def test_an_item_is_there_from_its_timestamp_on():
    assert picked(["0", "0.1", "0.11", "0.4"], fps=10, end=0.5) == "abccd"


@pytest.mark.parametrize("rate", [28, 30, 50, 12])
def test_ten_seconds_at_25_are_250(rate):
    shown = [Shown(Fraction(k, rate), Fraction(1, rate), k) for k in range(10 * rate)]
    found = list(Span(fps=25).pick(shown))
    assert found == [(Fraction(k, 25), k * rate // 25) for k in range(250)]


def test_rounding_forgives_a_late_timestamp():
    times = ["0", "0.034", "0.067", "0.1"]
    assert picked(times, fps=30, end=0.13) == "aabd"
    assert picked(times, fps=30, end=0.13, tick="0.002") == "abcd"


def test_exact():
    assert exact(29.97002997) == Fraction(30000, 1001)
    assert exact(25) == 25
    assert exact(0.1) == Fraction(1, 10)
