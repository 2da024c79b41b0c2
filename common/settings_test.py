"""Fields to flags: each kind of value, what is required, and what is refused."""

import dataclasses
from pathlib import Path

import pytest

from common import settings
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
    streams: tuple[str, ...] = setting("Streams.", (), choices=("rgb", "flow"))
    weights: tuple[float, ...] = setting("A number each.", (1.0, 2.5))
    changes: tuple[str, ...] = setting("NAME=VALUE.", (), name="set", repeated=True)
    overwrite: bool = setting("Replace.", False)
    files: tuple[str, ...] = setting("Files.", (), positional=True)


def _parse(*arguments):
    return settings.parse(Settings, ["--output=out", *arguments])


def test_defaults():
    assert _parse() == Settings(output=Path("out"), where=Where())


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--limit=3"], "limit", 3),
        (["--limit", "3", "--limit", "4"], "limit", 4),
        (["--rate=12.5"], "rate", 12.5),
        (["--how=max"], "how", "max"),
        (["--streams=rgb, flow"], "streams", ("rgb", "flow")),
        (["--weights=1,0.5"], "weights", (1.0, 0.5)),
        (["--set=a=1,2", "--set", "b=2"], "changes", ("a=1,2", "b=2")),
        (["-overwrite"], "overwrite", True),
        (["--overwrite", "--nooverwrite"], "overwrite", False),
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
        (["--limit=0"], "--limit=0: expected a whole number, at least 1"),
        (["--limit=many"], "--limit=many: expected a whole number"),
        (["--limit"], "--limit=: expected a whole number"),
        (["--rgb="], "--rgb=: expected a path"),
        (["--rate=nan"], "--rate=nan: expected a finite number"),
        (["--overwrite=2"], "--overwrite=2: expected true or false"),
        (["--how=min"], r"--how=min: value should be one of <mean\|max>"),
        (["--streams=depth"], r"--streams=depth: value should be one of <rgb\|flow>"),
        (["--weights=1,x"], "--weights=1,x: expected finite numbers separated by commas"),
        (["--limits=1"], "Unknown command line flag 'limits'. Did you mean: limit"),
    ],
)
def test_wrong_values_are_named(arguments, text):
    with pytest.raises(UsageError, match=text):
        _parse(*arguments)


def test_what_is_required_is_said():
    with pytest.raises(UsageError, match="--output is needed: Folder to write to"):
        settings.parse(Settings, [])
    with pytest.raises(UsageError, match=r"unexpected argument 'a\.pt'"):
        settings.parse(Where, ["a.pt"])


@dataclasses.dataclass
class Recipe:
    steps: int = 1
    size: tuple[int, int] = (2, 3)
    decay: float | None = None
    name: str = "a"
    on: bool = False


def test_fields_are_what_they_are_annotated_as():
    settings.check_types(Recipe())
    settings.check_types(Recipe(7, (1, 1), 1, "none", True))
    wrong = {
        "steps": (True, 1.0, "1", None), "size": ([1, 2], (1,), (1, 2.0)), "on": (1, "true"),
        "decay": (True, float("nan")), "name": (1, None),
    }  # fmt: skip
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match=f"^{name} must be "):
                settings.check_types(dataclasses.replace(Recipe(), **{name: value}))
    assert settings.parsed(Recipe, "size", "[4, 5]") == (4, 5)
    with pytest.raises(ValueError, match=r"has no field 'step'\. Expected one of steps, size"):
        settings.parsed(Recipe, "step", "1")
    with pytest.raises(ValueError, match="size must be 2 whole numbers separated by commas"):
        settings.parsed(Recipe, "size", "4")


def test_usage_names_every_flag_with_its_default():
    text = settings.usage(Settings, "prog", Settings.__doc__)
    assert text.startswith("usage: prog [flags] FILES ...\n\nDoes a thing.\n\nflags:\n  --output=")
    assert "Which way. One of mean, max. Default: mean." in text
    assert "Folder to write to. Required." in text
    assert "A number each. Default: 1.0,2.5." in text
    assert "--[no]overwrite" in text
