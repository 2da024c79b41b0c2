import logging
from fractions import Fraction

import pytest

from common.video.timestamps import VideoError, in_order, timed

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


def test_a_missing_timestamp_follows_the_one_before(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        shown = list(timed(tmp_path, USUAL, _frames(None, 1, None, 3), window=2))
    assert [each.time * 25 for each in shown] == [0, 1, 2, 3]
    assert caplog.text.count("timestamps are missing") == 1


def test_timestamps_that_go_back_are_an_error(tmp_path):
    frames = _frames(*range(10, 60), *range(50))
    with pytest.raises(VideoError, match=r"timestamps go back from 1\.80 s to -0\.40 s"):
        list(timed(tmp_path, USUAL, frames, window=4))


def test_in_order():
    assert in_order(_frames(1, 2, 5))
    for stamps in ((1, 3, 2), (1, 1), (1, None)):
        assert not in_order(_frames(*stamps))
