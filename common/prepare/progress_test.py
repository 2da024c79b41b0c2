"""The lines of a log and the bar of a terminal."""

import io
import sys

import pytest

from common.prepare import progress


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


def test_a_short_run_says_nothing_to_a_log(clock, capsys):
    shown = progress.Progress("extract_frames", 2)
    shown.add(failed=False)
    shown.add(failed=True)
    shown.close()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = progress.Progress("extract_frames", 2)
    shown.add(failed=True)
    shown.add(failed=False)
    shown.close()
    assert "extract_frames: 100%" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()
    assert "1 failed" in terminal.getvalue()
