"""What ends a process: its status, one line of error, and how much it says."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import dataclasses, sys
from absl import logging
from common import command
from common.settings import setting
@dataclasses.dataclass(frozen=True)
class Settings:
    n: int = setting("A number.", 1, minimum=0)
def main(settings):
    {body}
command.start(main, Settings)
"""


def _run(body, *flags):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body), *flags],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "flags", "status", "error"),
    [
        ("return settings.n", ("--n=3",), 3, ""),
        ("pass", (), 0, ""),
        ("raise ValueError('a\\nb')", (), 1, "error: a b\n"),
        ("raise __import__('common.io').io.AssetError('a b')", (), 1, "error: a b\n"),
        # Neither a name in a file nor a path moves the cursor of a terminal.
        (
            "raise ValueError('clears: \\x1b[2J, rückt: \\r\\x08\\u202e')",
            (), 1, "error: clears: \\x1b[2J, rückt:  \\x08\\u202e\n",
        ),
        (
            "pass", ("--n=-1",), 1,
            "error: flag --n=-1: -1 is not a non-negative integer. --help lists the flags.\n",
        ),
        (
            "pass", ("--limit=1",), 1,
            "error: Unknown command line flag 'limit'. --help lists the flags.\n",
        ),
        (
            "pass", ("--verbosity=loud",), 1,
            "error: --verbosity must be -1, 0 or 1, not loud. --help lists the flags.\n",
        ),
    ],
)  # fmt: skip
def test_status_and_error(body, flags, status, error):
    done = _run(body, *flags)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", error)


@pytest.mark.parametrize("end", ["pass", "raise ValueError", "raise KeyError"])
def test_garbage_is_not_collected_at_the_end(end):
    # The object is in a cycle, which the collector would break up: `__del__` would tell.
    body = (
        "sys.held = loop = type('Loop', (), {{'__del__': lambda self: print('found')}})();"
        f" loop.itself = loop; sys.held = None; del loop; {end}"
    ).replace("{{", "{").replace("}}", "}")  # fmt: skip
    assert _run(body).stdout == ""


def test_a_bug_keeps_its_traceback():
    done = _run("raise KeyError('x')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_notes_go_to_stderr_unless_told_otherwise():
    note = _run("logging.info('hello')")
    assert "hello" in note.stderr
    assert "flag parsing" not in note.stderr
    assert "hello" not in _run("logging.info('hello')", "--verbosity=-1").stderr
    assert "Traceback" in _run("raise ValueError('x')", "--verbosity=1").stderr


def test_help_is_the_docstring_and_the_flags():
    done = _run("sys.exit('not reached')", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "flags:\n  --n=...\n      A number. Default: 1.\n" in done.stdout
