"""Settings of a command: frozen dataclasses whose fields are also its flags.

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Settings:
        output: Path = setting("Folder to write to.")
        limit: int | None = setting("Take at most this many items.", None, minimum=1)

`parse(Settings, ["--output=out"])` returns an instance. A field without a default is required.
Annotations are int, float, str, bool, Path, a tuple of one of them, or any of these `| None`; a
field whose annotation is such a dataclass contributes that class's flags. A class method `expand`
may replace arguments before they are parsed, as presets do.
"""

import dataclasses
import difflib
import functools
import math
import textwrap
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

_KINDS = {  # one, and several
    int: ("a whole number", "whole numbers"),
    float: ("a finite number", "finite numbers"),
    str: ("a text", "texts"),
    bool: ("true or false", "true or false"),
    Path: ("a path", "paths"),
}

T = TypeVar("T")


class UsageError(ValueError):
    """A command was called with flags or arguments that do not make sense together."""


@dataclasses.dataclass(frozen=True)
class Flag:
    help: str
    choices: Collection[str] = ()  # for each element of a tuple
    minimum: float | None = None
    name: str | None = None  # where it differs from the field's
    repeated: bool = False  # for each element of a tuple, which else are separated by commas
    positional: bool = False  # takes the arguments that are not flags


def setting(help: str, default: Any = dataclasses.MISSING, **options: Any) -> Any:
    """A dataclass field that is a flag; `options` are those of `Flag`."""
    return dataclasses.field(default=default, metadata={"flag": Flag(help, **options)})


def parse(cls: type[T], arguments: Sequence[str]) -> T:
    """Parses command-line arguments (without the program's name) into an instance of `cls`.

    Flags are --NAME=VALUE or --NAME VALUE; booleans also --NAME and --noNAME. The last one counts.

    `UsageError` for a flag that is unknown or missing, or a value of the wrong kind or out of
    bounds; `ValueError` if the class's own checks failed.
    """
    if expand := getattr(cls, "expand", None):
        arguments = expand(arguments)
    known = {name: hint for name, _, hint, flag in _flat(cls) if not flag.positional}
    others = [name for name, _, _, flag in _flat(cls) if flag.positional]
    given: dict[str, list[str]] = {}
    words = iter(arguments)
    for word in words:
        name, equals, text = word.lstrip("-").partition("=")
        if not word.startswith("-"):
            if not others:
                raise UsageError(f"unexpected argument {word!r}: write --NAME=VALUE")
            name, text = others[0], word
        elif not equals and known.get(name) is bool:
            text = "true"
        elif not equals and known.get(name.removeprefix("no")) is bool:
            name, text = name.removeprefix("no"), "false"
        elif name not in known:
            close = difflib.get_close_matches(name, known)
            meant = f". Did you mean: {' or '.join(close)}" if close else ""
            raise UsageError(f"Unknown command line flag {name!r}{meant}")
        elif not equals:
            text = next(words, "")
        given.setdefault(name, []).append(text)
    return typing.cast(T, _build(cls, given))


def _flat(cls: Any) -> Iterator[tuple[str, dataclasses.Field[Any], Any, Flag]]:
    for field in dataclasses.fields(cls):
        hint = hints(cls)[field.name]
        if dataclasses.is_dataclass(hint):
            yield from _flat(hint)
        elif flag := field.metadata.get("flag"):
            yield flag.name or field.name, field, hint, flag


def _build(cls: Any, given: Mapping[str, list[str]]) -> Any:
    found = {}
    for field in dataclasses.fields(cls):
        hint = hints(cls)[field.name]
        if dataclasses.is_dataclass(hint):
            found[field.name] = _build(hint, given)
        elif flag := field.metadata.get("flag"):
            name = flag.name or field.name
            if name in given:
                found[field.name] = _value(given[name], hint, flag, name)
            elif field.default is dataclasses.MISSING:
                raise UsageError(f"--{name} is needed: {flag.help.rstrip('.')}")
    return cls(**found)


def _value(texts: Sequence[str], hint: Any, flag: Flag, name: str) -> Any:
    shown, choices, kind = f"--{name}={texts[-1]}", flag.choices, _optional(hint)[0]
    try:
        if flag.repeated or flag.positional:
            value: Any = tuple(_parsed(text, typing.get_args(kind)[0]) for text in texts)
        else:
            value = _parsed(texts[-1], kind)
    except ValueError:
        raise UsageError(f"{shown}: expected {_described(kind)}") from None
    for item in value if typing.get_origin(kind) is tuple else (value,):
        if choices and item not in choices:
            raise UsageError(f"{shown}: value should be one of <{'|'.join(choices)}>")
        if flag.minimum is not None and item < flag.minimum:
            raise UsageError(f"{shown}: expected {_described(kind)}, at least {flag.minimum:g}")
    return value


def usage(cls: type, program: str, about: str) -> str:
    """The help text: what the command does, then each flag with its default."""
    arguments, lines = "", []
    for name, field, hint, flag in _flat(cls):
        if flag.positional:
            arguments = f" {name.upper()} ..."
            continue
        notes = [flag.help]
        if flag.choices:
            notes.append(f"One of {', '.join(flag.choices)}.")
        if field.default is dataclasses.MISSING:
            notes.append("Required.")
        elif field.default not in (None, "", (), False):
            notes.append(f"Default: {_text(field.default)}.")
        lines.append(f"  --[no]{name}" if hint is bool else f"  --{name}=...")
        lines.append(textwrap.indent(textwrap.fill(" ".join(notes), 94), " " * 6))
    flags_too = ["", "flags:", *lines] if lines else []
    start = f"usage: {program}{' [flags]' if lines else ''}{arguments}"
    return "\n".join([start, "", about.strip(), *flags_too])


@functools.cache
def hints(dataclass: type) -> dict[str, Any]:
    """The annotation of each field, in order."""
    return typing.get_type_hints(dataclass)


def need(right: bool, name: str, expected: str, value: object) -> None:
    """Raises `ValueError` that says what a field must be, unless it is right."""
    if not right:
        raise ValueError(f"{name} must be {expected}. Received: {value!r}.")


def check_types(instance: Any) -> None:
    """Raises `ValueError` unless every field is what its annotation says; floats are finite."""
    dataclass: type = type(instance)
    for name, hint in hints(dataclass).items():
        value = getattr(instance, name)
        try:
            right = _parsed(_text(value), hint) == value
        except ValueError:
            right = False
        need(right, name, _described(hint), value)


def parsed(dataclass: type, name: str, text: str) -> Any:
    """A field's value of a text: "1,2", "none", "true" and so on; `ValueError` if it has none."""
    known = hints(dataclass)
    if name not in known:
        kind, listed = dataclass.__name__.lower(), ", ".join(known)
        raise ValueError(f"a {kind} has no field {name!r}. Expected one of {listed}.")
    try:
        return _parsed(text, known[name])
    except ValueError:
        raise ValueError(f"{name} must be {_described(known[name])}. Received: {text!r}.") from None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(_text, value)) if isinstance(value, tuple) else str(value)


def _parsed(text: str, hint: Any) -> Any:
    """The value that a text means; `ValueError` if it means none of that type."""
    kind, optional = _optional(hint)
    if optional and text.lower() == "none":
        return None
    if parts := typing.get_args(kind):
        text = text.strip("[]()")  # as Python and JSON show a tuple
        items = text.split(",") if text else []
        if parts[-1] is not ... and len(items) != len(parts):
            raise ValueError(text)
        return tuple(_parsed(item.strip(), parts[0]) for item in items)
    if kind is bool:
        return bool(("false", "true").index(text.lower()))
    value = kind(text)
    if (kind is Path and not text) or (kind is float and not math.isfinite(value)):
        raise ValueError(text)  # Path("") would be the current folder
    return value


def _optional(hint: Any) -> tuple[Any, bool]:
    if isinstance(hint, types.UnionType):
        return typing.get_args(hint)[0], True
    return hint, False


def _described(hint: Any) -> str:
    kind, optional = _optional(hint)
    parts = typing.get_args(kind)
    text = _KINDS[parts[0] if parts else kind][bool(parts)]
    if parts:
        many = "" if parts[-1] is ... else f"{len(parts)} "
        text = f"{many}{text} separated by commas"
    return f"{text}, or none" if optional else text
