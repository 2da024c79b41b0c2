"""Fields of frozen dataclasses: what a value must be by its annotation, and values from texts.

Annotations are int, float, str, bool, a tuple of one of them, or any of these `| None`.
"""

import difflib
import functools
import math
import types
import typing
from collections.abc import Iterable
from typing import Any

_KINDS = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}
_BOOLS = {"true": True, "false": False}


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
    """The value of a field that is written "1,2", "none", "true" or just so.

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
    if optional and text == "none":
        return None
    if typing.get_origin(kind) is tuple:
        part = typing.get_args(kind)[0]
        return tuple(_parsed(item, part) for item in text.split(",")) if text else ()
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
    return type(value) is kind


def _described(hint: Any) -> str:
    kind, optional = _optional(hint)
    if typing.get_origin(kind) is tuple:
        parts = typing.get_args(kind)
        many = "any number" if parts[-1] is ... else str(len(parts))
        text = f"{many} of {_KINDS[parts[0]]}, with commas"
    else:
        text = _KINDS[kind]
    return f"{text}, or none" if optional else text
