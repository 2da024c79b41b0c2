"""Runs a command: flags in, one line out when it cannot go on, an exit status at the end."""

import gc
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from absl import flags, logging

from common import settings
from common.io import escape

# Errors that a user can put right; anything else is a bug and keeps its traceback.
# (CheckpointError and VideoError are ValueErrors, AssetError is a FileNotFoundError.)
_FOR_THE_USER = (ValueError, OSError, ImportError)

Settings = TypeVar("Settings")


def start(
    main: Callable[[Settings], int | None],
    cls: type[Settings],
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """Parses the command line into settings, calls `main`, and ends the process with its status.

    `--help` prints the help text. `--verbosity=1` shows where an error came from, -1 hides notes.

    Args:
        main: Takes the settings; returns an exit status, None for 0.
        cls: The dataclass of the settings; its docstring is the text of `--help`.
        argv: The command line, name first; None is this process's own.
    """
    # Imported modules stay alive anyway. Among the objects of a framework the garbage collector
    # finds nothing to free, and takes half a second at exit.
    gc.freeze()
    try:
        given = list(argv) if argv is not None else [_program(), *sys.argv[1:]]
        sys.exit(_call(main, cls, given))
    finally:
        gc.freeze()


def call(
    main: Callable[[Settings], int | None], cls: type[Settings], arguments: Sequence[str]
) -> int:
    """Runs a command in this process, as `start` does, and returns its exit status."""
    return _call(main, cls, ["command", *arguments])


def _call(main: Callable[[Settings], int | None], cls: type[Settings], argv: list[str]) -> int:
    program, *arguments = argv
    try:
        if {"--help", "-h", "-help"} & {*arguments}:
            print(settings.usage(cls, program, inspect.getdoc(cls) or ""), flush=True)
            return 0
        flags.FLAGS.mark_as_parsed()  # else absl's log warns that it is used before
        logging.use_absl_handler()
        logging.set_verbosity(_verbosity(arguments))
        return main(settings.parse(cls, arguments, program)) or 0
    except settings.UsageError as error:
        return _misused(error)
    except BrokenPipeError:  # `... | head` has seen enough
        sys.stdout = None
        return 0
    except _FOR_THE_USER as error:
        logging.debug("where it happened:", exc_info=True)
        return _complain(str(error) or type(error).__name__)
    except KeyboardInterrupt:
        return _complain("interrupted.")


def _program() -> str:
    """How the command was called: "python -m PACKAGE.MODULE", or the name of a script."""
    spec = sys.modules["__main__"].__spec__
    if spec is None:
        return sys.argv[0].rpartition("/")[2]
    return f"python -m {spec.name.removesuffix('.__main__')}"


def _verbosity(arguments: list[str]) -> int:
    """Takes `--verbosity=N` out of the arguments; the level for absl's log."""
    levels = [text for text in arguments if text.startswith("--verbosity=")]
    for text in levels:
        arguments.remove(text)
    if not levels:
        return int(logging.INFO)
    level = levels[-1].partition("=")[2]
    if level not in ("-1", "0", "1"):
        raise settings.UsageError(f"--verbosity must be -1, 0 or 1, not {level}")
    return int(level)


def _misused(error: Exception) -> int:
    return _complain(f"{str(error).rstrip(' .?')}. --help lists the flags.")


def _complain(text: str) -> int:
    # A text may quote a file's names, or its own path.
    print(f"error: {escape(' '.join(text.splitlines()))}", file=sys.stderr, flush=True)
    return 1
