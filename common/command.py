"""Runs a command: flags in, one line out when it cannot go on, an exit status at the end."""

import gc
import inspect
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NoReturn, TypeVar

from absl import app, flags, logging

from common import settings
from common.io import escape

# Errors that a user can put right; anything else is a bug and keeps its traceback.
# (CheckpointError and VideoError are ValueErrors, AssetError is a FileNotFoundError.)
_FOR_THE_USER = (ValueError, OSError, ImportError)

Settings = TypeVar("Settings")


def start(
    main: Callable[[Settings], int | None],
    cls: type[Settings],
    about: str | None = None,
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """Parses the command line into settings, calls `main`, and ends the process with its status.

    `--help` prints the help text. `--verbosity=1` shows where an error came from, -1 hides notes.

    Args:
        main: Takes the settings; returns an exit status, None for 0.
        cls: The dataclass of the settings; its docstring is the help's text where `about` is None.
        about: What the command does.
        argv: The command line, name first; None is this process's own.
    """
    # Imported modules stay alive anyway. Among the objects of a framework the garbage collector
    # finds nothing to free, and takes half a second at exit.
    gc.freeze()
    try:
        given = list(argv) if argv is not None else [_program(), *sys.argv[1:]]
        sys.exit(_call(main, cls, about or cls.__doc__ or "", given))
    finally:
        gc.freeze()


def call(
    main: Callable[[Settings], int | None], cls: type[Settings], arguments: Sequence[str]
) -> int:
    """Runs a command in this process, as `start` does, and returns its exit status."""
    return _call(main, cls, cls.__doc__ or "", ["command", *arguments])


def _call(
    main: Callable[[Settings], int | None], cls: type[Settings], about: str, argv: list[str]
) -> int:
    program, *arguments = argv
    try:
        if {"--help", "-h", "-help"} & {*arguments}:
            print(settings.usage(cls, program, inspect.cleandoc(about)), flush=True)
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
    try:
        return int(levels[-1].partition("=")[2])
    except ValueError:
        raise settings.UsageError(f"--verbosity must be -1, 0 or 1, not {levels[-1]}") from None


# To be replaced by `start`, command by command.
def run(
    main: Callable[[Sequence[str]], int | None],
    argv: Sequence[str] | None = None,
    module: ModuleType | None = None,
) -> NoReturn:
    """Parses the flags, calls `main`, and ends the process with its exit status.

    An error that a user can put right becomes one line on stderr and status 1; so does a flag
    that does not exist, has no such value, or is another command's. Notes go to stderr.
    `--verbosity=1` shows where an error came from.

    Args:
        main: Takes the command line without its flags, name first; returns an exit status, None
            for 0. Raises `app.UsageError` for a wrong use.
        argv: The command line, name first; None is this process's own.
        module: The command's module, where that is not the program itself; for `--help`.
    """

    def guarded(arguments: list[str]) -> int:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.INFO)
        try:
            return main(arguments) or 0
        except app.UsageError as error:
            return _misused(error)
        except BrokenPipeError:  # `... | head` has seen enough
            sys.stdout = None
            return 0
        except _FOR_THE_USER as error:
            logging.debug("where it happened:", exc_info=True)
            return _complain(str(error) or type(error).__name__)
        except KeyboardInterrupt:
            return _complain("interrupted.")
        finally:
            gc.freeze()

    # What was imported stays. Among the objects of a framework the search for garbage finds none,
    # and takes half a second when the process ends.
    gc.freeze()
    if module is not None:
        _describe(module)
    app.run(guarded, argv=None if argv is None else list(argv), flags_parser=_parsed)
    raise SystemExit(0)  # app.run has raised it already; this tells the type checker


def no_arguments(argv: Sequence[str]) -> None:
    """Refuses what is no flag, for commands that take flags only."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}: write --NAME=VALUE.")


def _parsed(argv: Sequence[str]) -> list[str]:
    """Sets the flags, and returns what is none; ends the process where that cannot be done."""
    try:
        arguments: list[str] = flags.FLAGS(argv)
        _check_whose()
    except (flags.Error, app.UsageError) as error:
        raise SystemExit(_misused(error)) from None
    return arguments


def _check_whose() -> None:
    """Refuses a flag that nobody reads: absl takes those of every module that was imported."""
    known = {flag.name for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0])}
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if not module.startswith("absl."):
            for flag in defined:
                if flag.present and flag.name not in known:
                    raise app.UsageError(f"--{flag.name} is no flag of this command.")


def _describe(module: ModuleType) -> None:
    """Makes `--help` show the command's text and flags: absl takes those of the main program."""
    sys.modules["__main__"].__doc__ = module.__doc__
    for flag in flags.FLAGS.get_key_flags_for_module(module.__name__):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def _misused(error: Exception) -> int:
    return _complain(f"{str(error).rstrip(' .?')}. --help lists the flags.")


def _complain(text: str) -> int:
    # A text may quote a file's names, or its own path.
    print(f"error: {escape(' '.join(text.splitlines()))}", file=sys.stderr, flush=True)
    return 1
