"""Each case is a process of its own: flags live as long as their process."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from absl import app, flags, logging
from common import command
flags.DEFINE_integer("n", 1, "A number.", lower_bound=0)
def main(argv):
    {body}
command.run(main)
"""


def _run(body, *flags, program=PROGRAM):
    return subprocess.run(
        [sys.executable, "-c", program.format(body=body), *flags],
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
        "__import__('common.io').io.CheckpointError('a b')",
        "__import__('common.io').io.AssetError('a b')",
    ],
)
def test_an_error_of_the_user_is_one_line(error):
    done = _run(f"raise {error}")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "error: a b\n")


@pytest.mark.parametrize("end", ["pass", "raise ValueError", "raise KeyError"])
def test_garbage_is_not_looked_for_at_the_end(end):
    # The object is in a cycle, which the search would break up: `__del__` would tell.
    body = (
        "sys.held = loop = type('Loop', (), {'__del__': lambda self: print('found')})();"
        f" loop.itself = loop; sys.held = None; del loop; {end}"
    )
    assert _run(body).stdout == ""
    assert _run("import gc; print(gc.get_freeze_count() > 1000)").stdout == "True\n"


def test_an_error_moves_no_cursor():
    done = _run("raise ValueError('clears: \\x1b[2J, rückt: \\r\\x08\\u202e')")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: clears: \\x1b[2J, rückt:  \\x08\\u202e\n"


def test_a_bug_keeps_its_traceback():
    done = _run("raise KeyError('x')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--n=many", "flag --n=many: invalid literal for int() with base 10: 'many'"),
        ("--n=-1", "flag --n=-1: -1 is not a non-negative integer"),
        ("--verbosiy=1", "Unknown command line flag 'verbosiy'. Did you mean: verbosity"),
        ("stray", "unexpected argument 'stray': write --NAME=VALUE"),
    ],
)
def test_wrong_use_is_one_line(flag, text):
    done = _run("command.no_arguments(argv)", flag)
    expected = f"error: {text}. --help lists the flags.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)


@pytest.mark.parametrize("flag", ["--limit=1", "--nooverwrite", "--input="])
def test_flags_of_others_are_refused(flag):
    program = PROGRAM.replace("import sys", "import sys, common.flags", 1)
    done = _run("print('ran')", flag, program=program)
    name = flag.lstrip("-").partition("=")[0].removeprefix("no")
    expected = f"error: --{name} is no flag of this command. --help lists the flags.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)
    declared = f"import sys, common.flags\nfrom absl import flags\nflags.declare_key_flag({name!r})"
    done = _run("print('ran')", flag, program=PROGRAM.replace("import sys", declared, 1))
    assert (done.returncode, done.stdout) == (0, "ran\n")


def test_notes_go_to_stderr_unless_told_otherwise():
    assert "hello" in _run("logging.info('hello')").stderr
    assert "hello" not in _run("logging.info('hello')", "--verbosity=-1").stderr
    assert "Traceback" in _run("raise ValueError('x')", "--verbosity=1").stderr
