"""Readers of a data set's lists and CSV files; every error names the file and the line."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from common.annotations import Record
from common.io import listing


def malformed(path: Path, line: int, expected: str, received: object) -> NoReturn:
    """Raises the ValueError for a malformed line (1-based)."""
    raise ValueError(f"{path}, line {line}: expected {expected}. Received: {received!r}.")


def missing(folder: Path, names: Iterable[str]) -> NoReturn:
    """Raises the FileNotFoundError for an annotation folder without the files `names`."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder of annotations.")
    there = sorted(path.name for path in folder.iterdir())
    raise FileNotFoundError(
        f"{folder} holds no annotations of this data set. Looked for {', '.join(names)}. "
        f"Found: {listing(there) if there else 'nothing'}."
    )


def require(folder: Path, name: str) -> Path:
    """Returns the path of the file `name`; FileNotFoundError if it is missing."""
    path = folder / name
    if not path.is_file():
        missing(folder, [name])
    return path


def subset_files(folder: Path, names: Mapping[str, Iterable[str]]) -> dict[str, Path]:
    """Finds the annotation file of each subset.

    Args:
        folder: Annotation folder.
        names: Subset to the names that its file may have.

    Returns:
        Subset to path, for the files that exist, in the order of `names`.

    Raises:
        FileNotFoundError: The folder does not exist, or has none of the files.
        ValueError: A subset has several files, which may differ.
    """
    found = {}
    for subset, choices in names.items():
        paths = [folder / name for name in choices if (folder / name).is_file()]
        if len(paths) > 1:
            raise ValueError(
                f"{folder} has {listing(path.name for path in paths)}, which are copies of the "
                "same list. Keep only one of them."
            )
        if paths:
            found[subset] = paths[0]
    if not found:
        missing(folder, [name for choices in names.values() for name in choices])
    return found


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
    path: Path, required: Iterable[str], renamed: Mapping[str, str]
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
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = [renamed.get(column.strip(), column.strip()) for column in next(reader, [])]
        if not set(required) <= set(header) or len(set(header)) < len(header):
            malformed(path, 1, f"a header with {', '.join(required)}, each once", ",".join(header))
        for row in reader:
            if len(row) == len(header):
                yield reader.line_num, dict(zip(header, map(str.strip, row), strict=True))
            elif row:  # a blank line has no values
                malformed(path, reader.line_num, f"{len(header)} values as in the header", row)
    except csv.Error as error:
        malformed(path, reader.line_num, "comma-separated values", str(error))


def label_of(
    indices: Mapping[str, int], label: str, path: Path, line: int, where: str
) -> tuple[int]:
    """Returns the labels of a clip of class `label`; `where` names the list of classes."""
    if label not in indices:
        malformed(path, line, f"one of the {len(indices)} classes of {where}", label)
    return (indices[label],)


class UniqueNames:
    """Refuses records whose name has been added before."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def add(self, record: Record, path: Path, line: int) -> Record:
        """Returns `record`, or raises ValueError for a repeated name."""
        here = f"{path.name}, line {line}"
        before = self._seen.setdefault(record.name, here)
        if before != here:
            malformed(path, line, f"a clip that is not listed before ({before})", record.name)
        return record


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text; {error}.") from error
