"""What ends a command: its status, one line of error, and how much it says."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from common import command
from common.settings import UsageError, setting


@dataclasses.dataclass(frozen=True)
class Settings:
    """Does a thing."""

    n: int = setting("A number.", 1, minimum=0)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("a\nb"), "error: a b\n"),
        # Neither a name in a file nor a path moves the cursor of a terminal.
        (ValueError("\x1b[2J, rückt: \r\x08\u202e"), "error: \\x1b[2J, rückt:  \\x08\\u202e\n"),
        (UsageError("--a and --b"), "error: --a and --b. --help lists the flags.\n"),
        (KeyboardInterrupt(), "error: interrupted.\n"),
    ],
)
def test_an_error_is_one_line(error, text, capsys):
    def main(given):
        raise error

    assert command.call(main, Settings, ["--n=2"]) == 1
    assert capsys.readouterr().err == text


def test_status_and_help(capsys):
    assert command.call(lambda given: given.n, Settings, ["--n=3"]) == 3
    assert command.call(lambda given: None, Settings, []) == 0
    assert command.call(lambda given: 1, Settings, ["--help"], "prog") == 0
    expected = "usage: prog [flags]\n\nDoes a thing.\n\nflags:\n  --n=...\n      A number. Default"
    assert capsys.readouterr().out.startswith(expected)


PROGRAM = """
import gc, sys
from absl import logging
from common import command
from common.command_test import Settings
class Loop:
    def __del__(self): print("collected")
def main(settings):
    loop = Loop()
    loop.itself = loop
    logging.info("hello")
    raise ValueError("x")
command.start(main, Settings)
"""


@pytest.mark.parametrize(
    ("flag", "note", "traceback"),
    [("--n=1", True, False), ("--verbosity=-1", False, False), ("--verbosity=1", True, True)],
)
def test_a_process_says_as_much_as_it_is_told_to(flag, note, traceback):
    """And what is in a cycle is not collected at its end."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, flag],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("error: x\n")
    assert ("hello" in done.stderr, "Traceback" in done.stderr) == (note, traceback)
    assert "flag parsing" not in done.stderr
