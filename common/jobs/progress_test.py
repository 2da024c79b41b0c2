"""The lines of a log and the bar of a terminal."""

import io
import sys

import pytest

from common.jobs import progress


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test turns."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_a_minute(clock, capsys):
    shown = progress.Progress("extract_frames", 1000)
    for k in range(100):
        clock[0] += 0.75
        shown.add(failed=k == 3)
    shown.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "extract_frames: 80 of 1000 items, 1 failed, 1.3 a second, 11:30 left\n"


def test_frames_are_shown_where_they_are_counted(clock, capsys):
    shown = progress.Progress("extract_features", 10)
    shown.add(failed=False, skipped=True)
    for _ in range(2):
        clock[0] += 40
        shown.add(failed=False, frames=500)
    err = capsys.readouterr().err
    assert "3 of 10 items, 0 failed, 0.025 a second, 12.5 frames a second, 04:40 left" in err


def test_what_was_done_before_says_nothing_of_the_time_that_is_left(clock, capsys):
    """900 are skipped in a moment; of the others, 20 take a minute, and 80 are left."""
    shown = progress.Progress("extract_frames", 1000)
    for _ in range(900):
        clock[0] += 0.01
        shown.add(failed=False, skipped=True)
    for _ in range(20):
        clock[0] += 3
        shown.add(failed=False)
    err = capsys.readouterr().err
    assert err.startswith("extract_frames: 917 of 1000 items, 0 failed, 0.33 a second, 04:09 left")


def test_a_bar_counts_what_was_worked_on(monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = progress.Progress("extract_frames", 1000)
    for k in range(920):
        shown.add(failed=False, skipped=k < 900)
    assert (shown._bar.n, shown._bar.initial) == (920, 900)
    state = shown._bar.format_dict
    assert state["rate"] is None  # then it is (n - initial) / elapsed
    shown.close()


def test_a_wait_for_others_is_said(clock, capsys):
    shown = progress.Progress("extract_frames", 10)
    for _ in range(8):
        shown.add(failed=False)
    shown.wait(2)
    assert capsys.readouterr().err == ""
    clock[0] += 60
    shown.wait(2)
    said = (
        "extract_frames: 8 of 10 items, 0 failed, waiting for 2 in the hands of another process\n"
    )
    assert capsys.readouterr().err == said


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = progress.Progress("extract_frames", 2)
    shown.add(failed=True)
    shown.wait(1)
    assert "1 failed, waiting for 1 in the hands of another process" in terminal.getvalue()
    shown.wait(0)
    shown.add(failed=False)
    shown.close()
    assert "extract_frames: 100%" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()
    assert "1 failed" in terminal.getvalue()
