"""Each case is a process of its own: flags live as long as their process."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from absl import app, flags, logging
from common import command
flags.DEFINE_integer("n", 1, "A number.")
def main(argv):
    {body}
command.run(main)
"""


def _run(body, *flags):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body), *flags],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip


@pytest.mark.parametrize(("body", "status"), [("pass", 0), ("return 0", 0), ("return 3", 3)])
def test_status(body, status):
    assert _run(body).returncode == status


@pytest.mark.parametrize(
    "error",
    [
        "ValueError('a\\nb')",
        "FileNotFoundError('a b')",
        "ImportError('a b')",
        "__import__('common.errors').errors.CheckpointError('a b')",
        "__import__('common.errors').errors.AssetError('a b')",
    ],
)
def test_an_error_of_the_user_is_one_line(error):
    done = _run(f"raise {error}")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "error: a b\n")


def test_an_error_moves_no_cursor():
    done = _run("raise ValueError('clears: \\x1b[2J, rückt: \\r\\x08\\u202e')")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: clears: \\x1b[2J, rückt:  \\x08\\u202e\n"


def test_a_bug_keeps_its_traceback():
    done = _run("raise KeyError('x')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_wrong_use():
    done = _run("command.no_arguments(argv)", "stray")
    assert done.returncode == 1
    assert "unexpected argument 'stray'" in done.stderr + done.stdout
    done = _run("pass", "--n=many")
    assert done.returncode == 1
    assert "FATAL Flags parsing error" in done.stderr


def test_notes_go_to_stderr_unless_told_otherwise():
    assert "hello" in _run("logging.info('hello')").stderr
    assert "hello" not in _run("logging.info('hello')", "--verbosity=-1").stderr
    assert "Traceback" in _run("raise ValueError('x')", "--verbosity=1").stderr
