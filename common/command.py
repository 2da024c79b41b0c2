"""Runs a command: flags in, one line out when it cannot go on, an exit status at the end."""

import gc
import inspect
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn, TypeVar

from absl import flags, logging

from common import settings
from common.io import escape

# Errors that a user can put right; anything else is a bug and keeps its traceback.
_FOR_THE_USER = (ValueError, OSError, ImportError)

Settings = TypeVar("Settings")


def start(
    main: Callable[[Settings], int | None], cls: type[Settings], argv: Sequence[str] | None = None
) -> NoReturn:
    """Parses the command line into settings, calls `main`, and ends the process with its status.

    `--help` prints the help text, of which the docstring of `cls` is a part. `--verbosity=1` shows
    where an error came from, -1 hides notes. `argv` has the program's name first.
    """
    program, *arguments = argv if argv is not None else [_program(), *sys.argv[1:]]
    try:
        sys.exit(call(main, cls, arguments, program))
    finally:
        # Among the objects of a framework the garbage collector finds nothing to free, and takes
        # half a second at exit.
        gc.freeze()


def with_predictors(
    run: Callable[..., int | None], devices: ModuleType, predictor: ModuleType
) -> Callable[[Any], int | None]:
    """The `main` of a command that runs networks, with modules of a framework's package."""

    def main(settings: Any) -> int | None:
        devices.use_threads(settings.threads)
        return run(settings, predictor.make_predictor, predictor.__package__)

    return main


def call(
    main: Callable[[Settings], int | None],
    cls: type[Settings],
    arguments: Sequence[str],
    program: str = "command",
) -> int:
    """Runs a command in this process, as `start` does, and returns its exit status."""
    try:
        if {"--help", "-h", "-help"} & {*arguments}:
            print(settings.usage(cls, program, inspect.getdoc(cls) or ""), flush=True)
            return 0
        flags.FLAGS.mark_as_parsed()  # else absl's log warns that it is used before
        logging.use_absl_handler()
        levels = {f"--verbosity={level}": level for level in (-1, 0, 1)}
        logging.set_verbosity(([levels[a] for a in arguments if a in levels] or [0])[-1])
        return main(settings.parse(cls, [a for a in arguments if a not in levels])) or 0
    except settings.UsageError as error:
        return _complain(f"{str(error).rstrip(' .?')}. --help lists the flags.")
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


def _complain(text: str) -> int:
    # A text may quote a file's names, or its own path.
    print(f"error: {escape(' '.join(text.splitlines()))}", file=sys.stderr, flush=True)
    return 1
