"""Readers of a data set's lists and CSV files; every error names the file and the line."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

from common.annotations import Record
from common.io import listing

Row = TypeVar("Row")  # of a list: its text; of a CSV file: column to value
Context = TypeVar("Context")


def wrong(expected: str, received: object) -> ValueError:
    """Returns the error for a malformed row; readers add the file and the line."""
    return ValueError(f"expected {expected}. Received: {received!r}.")


def missing(folder: Path, names: Iterable[str]) -> NoReturn:
    """Raises the FileNotFoundError for an annotation folder without the files `names`."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder of annotations.")
    there = listing(path.name for path in folder.iterdir())
    raise FileNotFoundError(
        f"{folder} holds no annotations of this data set. Looked for {', '.join(names)}. "
        f"Found: {there or 'nothing'}."
    )


def require(folder: Path, name: str) -> Path:
    """Returns the path of the file `name`; FileNotFoundError if it is missing."""
    path = folder / name
    if not path.is_file():
        missing(folder, [name])
    return path


def subset_files(folder: Path, names: Mapping[str, Iterable[str]]) -> list[tuple[Path, str]]:
    """Returns the paths and subsets of the annotation files that exist.

    Args:
        folder: Annotation folder.
        names: Subset to the names that its file may have.

    Raises:
        FileNotFoundError: The folder does not exist, or has none of the files.
        ValueError: A subset has several files, which may differ.
    """
    found = []
    for subset, choices in names.items():
        paths = [folder / name for name in choices if (folder / name).is_file()]
        if len(paths) > 1:
            raise ValueError(
                f"{folder} has {listing(path.name for path in paths)}, which are copies of the "
                "same list. Keep only one of them."
            )
        found += [(path, subset) for path in paths]
    return found or missing(folder, [name for choices in names.values() for name in choices])


def records(
    files: Iterable[tuple[Path, Context]],
    rows: Callable[[Path], Iterable[tuple[int, Row]]],
    parse: Callable[[Row, Context], Record | None],
) -> list[Record]:
    """Parses every row of some files.

    Args:
        files: Path and context of each file: its subset, or what else `parse` needs.
        rows: Yields the numbered rows of a file.
        parse: Returns the record of a row, or None to skip it; raises ValueError.

    Raises:
        ValueError: A row is malformed or repeats a name; the text starts with file and line.
    """
    found = []
    places: dict[str, str] = {}  # of each name
    for path, context in files:
        for line, row in rows(path):
            try:
                record = parse(row, context)
                if record is None:
                    continue
                if record.name in places:
                    listed = f"a clip that is not listed before ({places[record.name]})"
                    raise wrong(listed, record.name)
            except ValueError as error:
                raise ValueError(f"{path}, line {line}: {error}") from error
            places[record.name] = f"{path.name}, line {line}"
            found.append(record)
    return found


def classes(path: Path, number: Callable[[int], str] | None = None) -> tuple[str, ...]:
    """Reads different class names, one a line, the index-th after `number(index)` and a blank."""
    names: dict[str, None] = {}
    for line, text in lines(path):
        name = text
        if number is not None:
            first, name = (*text.split(maxsplit=1), "")[:2]
            if first != number(len(names)) or not name:
                error = wrong(f"'{number(len(names))} CLASS'", text)
                raise ValueError(f"{path}, line {line}: {error}")
        if name in names:
            error = wrong("a class that is not listed before", name)
            raise ValueError(f"{path}, line {line}: {error}")
        names[name] = None
    return tuple(names)


def lines(path: Path) -> list[tuple[int, str]]:
    """Returns the lines that are not blank, stripped, with their 1-based numbers.

    Raises:
        ValueError: The file is empty or not UTF-8.
    """
    # Not splitlines(), which also splits names that contain a form feed or U+2028.
    numbered = enumerate((line.strip() for line in _text(path).split("\n")), 1)
    found = [(number, line) for number, line in numbered if line]
    if not found:
        raise ValueError(f"{path} is empty.")
    return found


def csv_rows(
    path: Path, required: Iterable[str], renamed: Mapping[str, str] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields the rows of a CSV file as (line number, column to value).

    Args:
        path: CSV file with a header.
        required: Columns that it must have, by their current names.
        renamed: Former to current names of columns.

    Raises:
        ValueError: The file is not UTF-8 or CSV, a column is missing or repeated, or a row has the
            wrong number of values.
    """
    renamed = renamed or {}
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = [renamed.get(column.strip(), column.strip()) for column in next(reader, [])]
        if not set(required) <= set(header) or len(set(header)) < len(header):
            raise wrong(f"a header with {', '.join(required)}, each once", ",".join(header))
        for row in reader:
            if len(row) == len(header):
                yield reader.line_num, dict(zip(header, map(str.strip, row), strict=True))
            elif row:  # a blank line has no values
                raise wrong(f"{len(header)} values as in the header", row)
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path}, line {max(reader.line_num, 1)}: {error}") from error


def label_of(indices: Mapping[str, int], name: str, source: str) -> tuple[int]:
    """Returns the labels of a clip of class `name`; `source` says where the classes are from."""
    if name not in indices:
        raise wrong(f"one of the {len(indices)} classes of {source}", name)
    return (indices[name],)


def indexed(names: Iterable[str]) -> dict[str, int]:
    """Maps each class name to its label."""
    return {name: index for index, name in enumerate(names)}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text; {error}.") from error
