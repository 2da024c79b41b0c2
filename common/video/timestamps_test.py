import logging
from fractions import Fraction

import pytest

from common.video.timestamps import Shown, VideoError, exact, in_order, pick, timed

USUAL = Fraction(1, 25)


class _Frame:
    def __init__(self, pts):
        self.pts, self.time_base, self.duration = pts, USUAL, 1


def _frames(*stamps):
    return [_Frame(pts) for pts in stamps]


def test_frames_in_order_with_timestamps_out_of_order(tmp_path):
    """AVI has no presentation times: its frames are numbered in the order they are stored."""
    frames = _frames(1, 2, 4, 3, 5, 7, 6, 8, 10, 9)
    shown = list(timed(tmp_path, USUAL, frames, window=4))
    assert [each.item for each in shown] == frames
    assert [each.time * 25 for each in shown] == list(range(10))
    later = timed(tmp_path, USUAL, frames[4:], window=4, origin=Fraction(1, 25))
    assert [each.time * 25 for each in later] == list(range(4, 10))
    with pytest.raises(VideoError, match=r"timestamps go back from 1\.80 s to -0\.40 s"):
        list(timed(tmp_path, USUAL, _frames(*range(10, 60), *range(50)), window=4))


def test_a_missing_timestamp_follows_the_one_before(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        shown = list(timed(tmp_path, USUAL, _frames(None, 1, None, 3), window=2))
    assert [each.time * 25 for each in shown] == [0, 1, 2, 3]
    assert caplog.text.count("timestamps are missing") == 1


def test_in_order():
    assert in_order(_frames(1, 2, 5))
    assert not any(in_order(_frames(*stamps)) for stamps in ((1, 3, 2), (1, 1), (1, None)))


@pytest.mark.parametrize(
    ("times", "last", "span", "expected"),
    [
        # The last item stays for its duration.
        ([0, 1], 3, {"fps": 2}, "aabbbbbb"),
        ([0, 1], 3, {"fps": 2, "end": 2}, "aabb"),
        ([0, 1], 3, {"fps": 2, "start": 0.5, "end": 2}, "abb"),
        ([0, 1], 3, {"fps": 2, "start": 9}, ""),
        ([], 0, {"fps": 2}, ""),
        # An item is there from its timestamp on.
        (["0", "0.1", "0.11", "0.4"], 1, {"fps": 10, "end": 0.5}, "abccd"),
        # Rounding forgives a late timestamp.
        (["0", "0.034", "0.067", "0.1"], 1, {"fps": 30, "end": 0.13}, "aabd"),
        (["0", "0.034", "0.067", "0.1"], 1,
         {"fps": 30, "end": 0.13, "tick": Fraction("0.002")}, "abcd"),
        ([0, 1, 2], 1, {"start": 1, "max_frames": 1}, "b"),
        ([0, 1, 2], 1, {"end": 2}, "ab"),
    ],
)  # fmt: skip
def test_spans(times, last, span, expected):
    starts = [Fraction(time) for time in times]
    ends = [*starts[1:], starts[-1] + last] if starts else []
    shown = map(
        Shown, starts, (end - start for start, end in zip(starts, ends, strict=True)), "abcd"
    )
    assert "".join(item for _, item in pick(shown, **span)) == expected


@pytest.mark.parametrize("rate", [28, 30, 50, 12])
def test_ten_seconds_at_25_are_250(rate):
    shown = [Shown(Fraction(k, rate), Fraction(1, rate), k) for k in range(10 * rate)]
    assert list(pick(shown, fps=25)) == [(Fraction(k, 25), k * rate // 25) for k in range(250)]


def test_exact():
    assert exact(29.97002997) == Fraction(30000, 1001)
    assert exact(0.1) == Fraction(1, 10)
    assert exact(Fraction(1, 999_999)) == Fraction(1, 999_999)


def test_a_frame_of_more_than_ten_minutes_has_a_wrong_timestamp():
    shown = [Shown(Fraction(time), Fraction(1), time) for time in (0, 2, 700)]
    with pytest.raises(VideoError, match=r"video: the frame at 2\.00 s would be shown for 698 s"):
        list(pick(shown, fps=1))
    assert [item for _, item in pick(shown, fps=1, max_frames=4)] == [0, 0, 2, 2]
    assert len(list(pick(shown, fps=1, end=602))) == 602
    assert [item for _, item in pick(shown)] == [0, 2, 700]
