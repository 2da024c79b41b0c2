"""Which of a row of timed items is on the screen at each moment of an even rate."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

Rate = float | Fraction
Item = TypeVar("Item")


def resample(
    shown: Iterable[tuple[Fraction, Fraction, Item]],
    fps: Rate,
    start: Rate = 0,
    end: Rate | None = None,
    rounding: Fraction = Fraction(0),
) -> Iterator[Item]:
    """Picks, for every moment `start + k / fps`, the item that is on the screen.

    Args:
        shown: Time, duration and item, in order of time; times in seconds, the first at 0.
        fps: Moments a second.
        start: The first moment, seconds.
        end: Moment to stop before, seconds.
        rounding: How much later than it should a time may be, seconds.
    """
    rate, first = exact(fps), exact(start)
    stop = None if end is None else exact(end)
    k = 0
    held: tuple[Fraction, Fraction, Item] | None = None
    for current in shown:
        while held is not None and (moment := first + k / rate) < current[0] - rounding:
            if stop is not None and moment >= stop:
                return
            yield held[2]
            k += 1
        held = current
    if held is None:
        return
    over = held[0] + held[1] - rounding
    while (moment := first + k / rate) < over and (stop is None or moment < stop):
        yield held[2]
        k += 1


def exact(number: Rate) -> Fraction:
    """The rational somebody meant: 29.97002997 is 30000/1001."""
    return Fraction(number).limit_denominator(100_000)
