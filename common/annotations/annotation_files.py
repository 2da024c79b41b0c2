"""Annotation files: the project's own and those of others, told apart by what is in them."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import annotations
from common.annotations import (
    Annotations,
    kenshohara_annotations,
    native_annotations,
    piergiaj_annotations,
)
from common.io import load_json, write_text


@dataclasses.dataclass(frozen=True)
class Format:
    """One way to write annotations as JSON.

    Attributes:
        recognises: Whether a document, read from JSON, is in this format.
        read: From such a document to what it says; ValueError where something is wrong with it.
        text: From what there is to say to the file; ValueError where the format cannot say it.
    """

    recognises: Callable[[Any], bool]
    read: Callable[[Any], Annotations]
    text: Callable[[Annotations], str]


# In the order in which they are tried.
FORMATS = {
    name: Format(module.recognises, module.read, module.text)
    for name, module in (
        ("native", native_annotations),
        ("kenshohara", kenshohara_annotations),
        ("piergiaj", piergiaj_annotations),
    )
}


def read(path: str | os.PathLike[str]) -> Annotations:
    """Reads a file in any of the formats.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is in none of them, or something in it is wrong; the text names the file.
    """
    path = Path(path)
    document = load_json(path)
    for row in FORMATS.values():
        if row.recognises(document):
            try:
                content = row.read(document)
                annotations.check(content)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
            return content
    raise ValueError(
        f"{path}: these are no annotations in a format that is known: {', '.join(FORMATS)}. "
        "`python -m common.prepare.make_annotations` makes them from a data set's own files."
    )


def text(content: Annotations, container: str = "native") -> str:
    """A file in the format called `container`; the same content gives the same bytes.

    Raises:
        ValueError: Something in `content` is wrong, or the format cannot say it.
    """
    annotations.check(content)
    return FORMATS[container].text(content)


def write(path: str | os.PathLike[str], content: Annotations, container: str = "native") -> None:
    """Writes the file of `text`, all or nothing; errors as there."""
    write_text(path, text(content, container))
