"""Annotation files: the project's own and those of others, told apart by what is in them."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import (
    annotations,
    files,
    json_files,
    kenshohara_annotations,
    native_annotations,
    piergiaj_annotations,
)
from common.annotations import Annotations


@dataclasses.dataclass(frozen=True)
class Format:
    """One way to write annotations as JSON.

    Attributes:
        recognises: Whether a document, read from JSON, is in this format.
        read: From a file's path and such a document to what it says; ValueError where something
            is wrong with it.
        write: Writes a file, all or nothing; ValueError where the format cannot say it.
    """

    recognises: Callable[[Any], bool]
    read: Callable[[Path, Any], Annotations]
    write: Callable[[Path, Annotations], None]


def _read_piergiaj(path: Path, document: Any) -> Annotations:
    return Annotations(classes=(), records=tuple(piergiaj_annotations.read(path)))


def _write_piergiaj(path: Path, content: Annotations) -> None:
    piergiaj_annotations.write(path, content.records)


def _is_piergiaj(document: Any) -> bool:
    return (
        isinstance(document, dict)
        and bool(document)
        and all(
            isinstance(entry, dict) and {"subset", "actions"} <= set(entry)
            for entry in document.values()
        )
    )


# In the order in which they are tried.
FORMATS = {
    "native": Format(
        native_annotations.recognises,
        lambda path, document: native_annotations.read(document),
        lambda path, content: files.write_text(path, native_annotations.text(content)),
    ),
    "kenshohara": Format(
        kenshohara_annotations.recognises,
        lambda path, document: kenshohara_annotations.read(document),
        lambda path, content: files.write_text(path, kenshohara_annotations.text(content)),
    ),
    "piergiaj": Format(_is_piergiaj, _read_piergiaj, _write_piergiaj),
}


def read(path: str | os.PathLike[str]) -> Annotations:
    """Reads a file in any of the formats.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is in none of them, or something in it is wrong; the text names the file.
    """
    path = Path(path)
    document = json_files.load(path)
    for row in FORMATS.values():
        if row.recognises(document):
            try:
                content = row.read(path, document)
                annotations.check(content)
            except ValueError as error:
                named = str(error).startswith(f"{path}")
                raise ValueError(str(error) if named else f"{path}: {error}") from error
            return content
    raise ValueError(
        f"{path}: these are no annotations in a format that is known: {', '.join(FORMATS)}. "
        "`python -m common.prepare.make_annotations` makes them from a data set's own files."
    )


def write(path: str | os.PathLike[str], content: Annotations, container: str = "native") -> None:
    """Writes a file in the format called `container`, all or nothing.

    Raises:
        ValueError: Something in `content` is wrong, or the format cannot say it.
    """
    annotations.check(content)
    FORMATS[container].write(Path(path), content)
