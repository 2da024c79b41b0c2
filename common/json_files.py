"""JSON files of others: read strictly, and errors that name the file and the entry."""

import json
import math
import os
from pathlib import Path
from typing import Any, NoReturn

_KINDS = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    list: "a list",
    dict: "an object",
}


def load(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON file in which no key stands twice and every number is finite.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not such JSON.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there is no such file.") from error
    try:
        return json.loads(content, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not well-formed JSON: {error}.") from error


def check(value: Any, kind: type, where: str) -> Any:
    """`value`, if it is of that kind: int, float (which an integer is too), str, list or dict.

    Raises:
        ValueError: It is not; the text starts with `where`.
    """
    accepted = (int, float) if kind is float else kind
    right = isinstance(value, accepted) and not isinstance(value, bool)
    if not right or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{where}: expected {_KINDS[kind]}, got {shown(value)}.")
    return value


def field(entry: dict[str, Any], key: str, kind: type, where: str) -> Any:
    """`entry[key]`, checked.

    Raises:
        ValueError: It is missing or of another kind.
    """
    if key not in entry:
        raise ValueError(f"{where}: has no {key!r}; expected {_KINDS[kind]} under that key.")
    return check(entry[key], kind, f"{where}: {key!r}")


def shown(value: Any) -> str:
    """A value for an error text, on one line and not endlessly long."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {shown(twice)} stands twice in one object")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
