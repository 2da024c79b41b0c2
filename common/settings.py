"""Settings of a command: frozen dataclasses whose fields are also its flags.

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Settings:
        output: Path = setting("Folder to write to.")
        limit: int | None = setting("Take at most this many items.", None, minimum=1)

`parse(Settings, ["--output=out"], "prog")` returns an instance. A field without a default is
required. Annotations are int, float, str, bool, Path, a tuple of one of them, or any of these
`| None`; a field whose annotation is such a dataclass contributes that class's flags. A class
method `expand` may replace arguments before they are parsed, as presets do.
"""

import dataclasses
import difflib
import functools
import math
import textwrap
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from absl import flags

_KINDS = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    bool: "true or false",
    Path: "a path",
}
_PLURALS = {
    int: "whole numbers",
    float: "finite numbers",
    str: "texts",
    bool: "true or false",
    Path: "paths",
}
_BOOLS = {"true": True, "false": False}
_WIDTH = 100

T = TypeVar("T")
Field = dataclasses.Field[Any]


class UsageError(ValueError):
    """A command was called with flags or arguments that do not make sense together."""


@dataclasses.dataclass(frozen=True)
class Flag:
    """How a field appears on the command line.

    Attributes:
        help: One or two sentences.
        choices: The values that are allowed, for each element of a tuple; a function is called
            when the flags are parsed, so that a module may be defined without its choices.
        minimum: The smallest number allowed.
        name: The flag's name where it differs from the field's.
        repeated: A tuple's elements are given by repeating the flag, not separated by commas.
        positional: The field takes the arguments that are not flags.
    """

    help: str
    choices: Collection[str] | Callable[[], Collection[str]] = ()
    minimum: float | None = None
    name: str | None = None
    repeated: bool = False
    positional: bool = False


def setting(help: str, default: Any = dataclasses.MISSING, **options: Any) -> Any:
    """A dataclass field that is a flag; `options` are those of `Flag`."""
    metadata = {"flag": Flag(help, **options)}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def parse(cls: type[T], arguments: Sequence[str], program: str) -> T:
    """Parses command-line arguments (without the program's name) into an instance of `cls`.

    Raises:
        UsageError: An unknown flag, a value of the wrong kind or outside its bounds, a required
            flag that is missing, or an argument where none is taken.
        ValueError: The class's own checks failed.
    """
    values = _flag_values(cls)
    if expand := getattr(cls, "expand", None):
        arguments = expand(arguments)
    try:
        given = tuple(values([program, *arguments])[1:])
    except flags.Error as error:
        raise UsageError(str(error).rstrip(" .?")) from None
    if given and not any(_flag(field).positional for field, _ in _flat(cls)):
        raise UsageError(f"unexpected argument {given[0]!r}: write --NAME=VALUE")
    return typing.cast(T, _build(cls, values, given))


def usage(cls: type, program: str, about: str) -> str:
    """The help text: what the command does, then each flag with its default."""
    arguments, lines = "", []
    for field, hint in _flat(cls):
        flag, name = _flag(field), _name(field)
        if flag.positional:
            arguments = f" {name.upper()} ..."
            continue
        notes = [flag.help]
        if choices := _choices(flag):
            notes.append(f"One of {', '.join(choices)}.")
        if field.default is dataclasses.MISSING:
            notes.append("Required.")
        elif field.default not in (None, "", (), False):
            notes.append(f"Default: {_text(field.default)}.")
        lines.append(f"  --[no]{name}" if hint is bool else f"  --{name}=...")
        indent = " " * 6
        lines += textwrap.wrap(
            " ".join(notes), _WIDTH, initial_indent=indent, subsequent_indent=indent
        )
    flags_too = ["", "flags:", *lines] if lines else []
    start = f"usage: {program}{' [flags]' if lines else ''}{arguments}"
    return "\n".join([start, "", about.strip(), *flags_too])


def _text(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _flat(cls: Any) -> Iterator[tuple[Field, Any]]:
    """The fields that are flags with their annotations, those of nested dataclasses in place."""
    for field in dataclasses.fields(cls):
        hint = hints(cls)[field.name]
        if dataclasses.is_dataclass(hint):
            yield from _flat(hint)
        elif "flag" in field.metadata:
            yield field, hint


def _flag(field: dataclasses.Field[Any]) -> Flag:
    found: Flag = field.metadata["flag"]
    return found


def _name(field: dataclasses.Field[Any]) -> str:
    return _flag(field).name or field.name


def _choices(flag: Flag) -> list[str]:
    return list(flag.choices() if callable(flag.choices) else flag.choices)


def _flag_values(cls: type) -> flags.FlagValues:
    """Defines the flags of a dataclass, in a registry of their own."""
    values = flags.FlagValues()
    for field, hint in _flat(cls):
        flag, name = _flag(field), _name(field)
        kind, choices = _optional(hint)[0], _choices(flag)
        default = None if field.default is dataclasses.MISSING else field.default
        define, options = flags.DEFINE_string, {"flag_values": values}
        if flag.positional:
            continue
        if kind is bool:
            define = flags.DEFINE_bool
        elif kind in (int, float):
            define = flags.DEFINE_integer if kind is int else flags.DEFINE_float
            options["lower_bound"] = flag.minimum
        elif typing.get_origin(kind) is tuple:
            define = flags.DEFINE_multi_string if flag.repeated else flags.DEFINE_list
            default = None if default is None else [str(item) for item in default]
        elif choices:
            define, options["enum_values"] = flags.DEFINE_enum, choices
        else:
            default = None if default is None else str(default)
        define(name, default=default, help=flag.help, **options)
    return values


def _build(cls: Any, values: flags.FlagValues, arguments: tuple[str, ...]) -> Any:
    found = {}
    for field in dataclasses.fields(cls):
        hint = hints(cls)[field.name]
        if dataclasses.is_dataclass(hint):
            found[field.name] = _build(hint, values, arguments)
        elif "flag" in field.metadata:
            value = arguments if _flag(field).positional else values[_name(field)].value
            found[field.name] = _converted(value, hint, field)
    return cls(**found)


def _converted(value: Any, hint: Any, field: dataclasses.Field[Any]) -> Any:
    """A flag's value as the field has it."""
    name, flag = _name(field), _flag(field)
    kind, _ = _optional(hint)
    if value is None:
        if field.default is dataclasses.MISSING:
            raise UsageError(f"--{name} is needed: {flag.help.rstrip('.')}")
        return None
    if typing.get_origin(kind) is tuple:
        part = typing.get_args(kind)[0]
        if (choices := _choices(flag)) and (wrong := [x for x in value if x not in choices]):
            raise UsageError(f"--{name} must be of {', '.join(choices)}. Received: {wrong[0]!r}")
        try:
            return tuple(_parsed(item, part) for item in value)
        except ValueError:
            expected = _described(hint)
            raise UsageError(
                f"--{name} must be {expected}. Received: {','.join(value)!r}"
            ) from None
    if kind is Path and not value:  # Path("") would be the current folder
        raise UsageError(f"--{name} is empty: name a path, or leave the flag out")
    if kind is float and not math.isfinite(value):
        raise UsageError(f"--{name} must be a finite number. Received: {value}")
    return Path(value) if kind is Path else value


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
        need(_is(value, hint), name, _described(hint), value)


def check_names(dataclass: type, names: Iterable[str]) -> None:
    """Raises `ValueError` for a name that no field has; the likeliest come first in the text."""
    known = hints(dataclass)
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            listed = ", ".join([*close, *(field for field in known if field not in close)])
            raise ValueError(
                f"a {dataclass.__name__.lower()} has no field {name!r}. Expected one of {listed}."
            )


def parsed(dataclass: type, name: str, text: str) -> Any:
    """Parses the text of a field's value: "1,2", "none", "true" and so on.

    Raises:
        ValueError: No such field, or not a text of its type.
    """
    check_names(dataclass, [name])
    hint = hints(dataclass)[name]
    try:
        return _parsed(text, hint)
    except ValueError:
        raise ValueError(f"{name} must be {_described(hint)}. Received: {text!r}.") from None


def _optional(hint: Any) -> tuple[Any, bool]:
    """The type without None, and whether None is one of its values."""
    if isinstance(hint, types.UnionType):
        return typing.get_args(hint)[0], True
    return hint, False


def _parsed(text: str, hint: Any) -> Any:
    kind, optional = _optional(hint)
    if optional and text.lower() == "none":
        return None
    if typing.get_origin(kind) is tuple:
        part = typing.get_args(kind)[0]
        text = text.strip("[]()")  # as Python and JSON show a tuple
        return tuple(_parsed(item.strip(), part) for item in text.split(",")) if text else ()
    if kind is bool:
        if text.lower() not in _BOOLS:
            raise ValueError(text)
        return _BOOLS[text.lower()]
    return kind(text)


def _is(value: Any, hint: Any) -> bool:
    kind, optional = _optional(hint)
    if value is None:
        return optional
    if typing.get_origin(kind) is tuple:
        parts = typing.get_args(kind)
        right = isinstance(value, tuple) and (parts[-1] is ... or len(value) == len(parts))
        return right and all(_is(item, parts[0]) for item in value)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    if kind is Path:
        return isinstance(value, Path)
    return type(value) is kind


def _described(hint: Any) -> str:
    kind, optional = _optional(hint)
    if typing.get_origin(kind) is tuple:
        parts = typing.get_args(kind)
        many = "" if parts[-1] is ... else f"{len(parts)} "
        text = f"{many}{_PLURALS[parts[0]]} separated by commas"
    else:
        text = _KINDS[kind]
    return f"{text}, or none" if optional else text
