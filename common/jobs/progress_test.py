"""The lines of a log and the bar of a terminal."""

import io
import sys

import pytest

from common.jobs import progress


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
    said = "extract_frames: 80 of 1000 items, 1 failed, 1.3 a second, 11:30 left\n"
    assert capsys.readouterr() == ("", said)


def test_what_was_done_before_says_nothing_of_the_time_that_is_left(clock, capsys):
    """900 are skipped in a moment; of the others, 20 take a minute, and 80 are left."""
    shown = progress.Progress("extract_frames", 1000)
    for k in range(920):
        clock[0] += 0.01 if k < 900 else 3
        shown.add(failed=False, skipped=k < 900, frames=0 if k < 900 else 36)
    said = "917 of 1000 items, 0 failed, 0.33 a second, 12 frames a second, 04:09 left\n"
    assert capsys.readouterr().err == f"extract_frames: {said}"


def test_a_wait_for_others_is_said(clock, capsys):
    shown = progress.Progress("extract_frames", 10)
    for _ in range(8):
        shown.add(failed=False)
    shown.wait(2)
    assert capsys.readouterr().err == ""
    clock[0] += 60
    shown.wait(2)
    waiting = "waiting for 2 in the hands of another process"
    assert capsys.readouterr().err == f"extract_frames: 8 of 10 items, 0 failed, {waiting}\n"


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = progress.Progress("extract_frames", 20)
    for k in range(19):
        shown.add(failed=False, skipped=k < 18)
    state = shown._bar.format_dict
    assert (state["n"], state["initial"]) == (19, 18)
    assert state["rate"] is None  # then it is (n - initial) / elapsed
    shown.close()
    shown = progress.Progress("extract_frames", 2)
    shown.add(failed=True)
    shown.wait(1)
    assert "1 failed, waiting for 1 in the hands of another process" in terminal.getvalue()
    shown.wait(0)
    shown.add(failed=False)
    shown.close()
    for text in ("extract_frames: 100%", "2/2", "1 failed"):
        assert text in terminal.getvalue()
