"""Fields to flags: each kind of value, what is required, and what is refused."""

import dataclasses
from pathlib import Path

import pytest

from common import command, settings
from common.settings import UsageError, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Where:
    rgb: Path | None = setting("Folder of frames.", None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Does a thing."""

    output: Path = setting("Folder to write to.")
    where: Where
    limit: int | None = setting("At most so many.", None, minimum=1)
    rate: float = setting("Frames a second.", 25.0, minimum=0)
    how: str = setting("Which way.", "mean", choices=("mean", "max"))
    streams: tuple[str, ...] = setting("Streams.", (), choices=lambda: ["rgb", "flow"])
    weights: tuple[float, ...] = setting("A number each.", (1.0, 2.5))
    changes: tuple[str, ...] = setting("NAME=VALUE.", (), name="set", repeated=True)
    overwrite: bool = setting("Replace.", False)
    files: tuple[str, ...] = setting("Files.", (), positional=True)


def _parse(*arguments):
    return settings.parse(Settings, ["--output=out", *arguments], "prog")


def test_defaults():
    expected = Settings(output=Path("out"), where=Where())
    assert _parse() == expected
    assert expected.weights == (1.0, 2.5)


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--limit=3"], "limit", 3),
        (["--limit", "3"], "limit", 3),
        (["--rate=12.5"], "rate", 12.5),
        (["--how=max"], "how", "max"),
        (["--streams=rgb,flow"], "streams", ("rgb", "flow")),
        (["--weights=1,0.5"], "weights", (1.0, 0.5)),
        (["--set=a=1,2", "--set", "b=2"], "changes", ("a=1,2", "b=2")),
        (["--overwrite"], "overwrite", True),
        (["--nooverwrite"], "overwrite", False),
        (["--overwrite=true"], "overwrite", True),
        (["a.pt", "--limit=1", "b.pt"], "files", ("a.pt", "b.pt")),
        (["--rgb=frames"], "where", Where(rgb=Path("frames"))),
    ],
)
def test_values(arguments, name, value):
    assert getattr(_parse(*arguments), name) == value


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--limit=0"], "--limit=0"),
        (["--rgb="], "--rgb is empty: name a path, or leave the flag out"),
        (["--limit=many"], "invalid literal"),
        (["--rate=nan"], "--rate must be a finite number. Received: nan"),
        (["--rate=-1"], "lower bound|non-negative"),
        (["--how=min"], "should be one of <mean|max>"),
        (["--streams=depth"], "--streams must be of rgb, flow. Received: 'depth'"),
        (["--weights=1,x"], "--weights must be finite numbers separated by commas"),
        (["--limits=1"], "Unknown command line flag 'limits'. Did you mean: limit"),
    ],
)
def test_wrong_values_are_named(arguments, text):
    with pytest.raises(UsageError, match=text):
        _parse(*arguments)


def test_what_is_required_is_said():
    with pytest.raises(UsageError, match="--output is needed: Folder to write to"):
        settings.parse(Settings, [], "prog")
    with pytest.raises(UsageError, match=r"unexpected argument 'a\.pt'"):
        settings.parse(Where, ["a.pt"], "prog")


def test_two_commands_in_one_process_do_not_share_flags():
    assert _parse("--limit=3").limit == 3
    assert _parse().limit is None


def test_usage_names_every_flag_with_its_default():
    text = settings.usage(Settings, "prog", Settings.__doc__)
    assert text.startswith("usage: prog [flags] FILES ...\n\nDoes a thing.\n\nflags:\n  --output=")
    assert "Which way. One of mean, max. Default: mean." in text
    assert "Folder to write to. Required." in text
    assert "A number each. Default: 1.0,2.5." in text
    assert "--[no]overwrite" in text


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (ValueError("a\nb"), 1, "error: a b\n"),
        (FileNotFoundError("no \x1b[2J"), 1, "error: no \\x1b[2J\n"),
        (UsageError("--a and --b"), 1, "error: --a and --b. --help lists the flags.\n"),
        (KeyboardInterrupt(), 1, "error: interrupted.\n"),
        (None, 3, ""),
    ],
)
def test_a_command_ends_with_a_status_and_one_line(error, status, text, capsys):
    def main(given):
        assert given.output == Path("out")
        if error is not None:
            raise error
        return 3

    assert command.call(main, Settings, ["--output=out"]) == status
    assert capsys.readouterr().err == text


def test_a_bug_keeps_its_traceback():
    with pytest.raises(KeyError):
        command.call(lambda given: {}["x"], Settings, ["--output=out"])


def test_help_needs_no_required_flag(capsys):
    assert command.call(lambda given: 1, Settings, ["--help"]) == 0
    assert "--output=..." in capsys.readouterr().out
