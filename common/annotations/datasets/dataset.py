"""Dataset: the facts about a data set; and how its lists are read, with the place of each error."""

import csv
import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn, TypeVar

from common.annotations import Record
from common.io import listing

Row = TypeVar("Row")  # of a list: its text; of a CSV file: column to value
Context = TypeVar("Context")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set.

    `read` maps the annotation folder and a variant to the class names in label order, and the
    records in the files' order with paths as in the published archive; `FileNotFoundError` for a
    wrong folder, `ValueError` for a malformed row. `candidates` yields the forms in which a record
    may exist in a user's folder, the preferred first. A path with a video's suffix stands for every
    such suffix, in any case; a path without is a folder of frames.
    """

    name: str
    title: str  # as its authors write it
    read: Callable[[Path, str], tuple[tuple[str, ...], list[Record]]]
    variant: str = ""  # what its variants are: "fold", "version", "order"
    variants: tuple[str, ...] = ("",)  # the default first
    # By variant: of each of `SUBSETS` the clip counts of known copies, the original's first.
    counts: Mapping[str, tuple[tuple[int, ...], ...]] = dataclasses.field(default_factory=dict)
    candidates: Callable[[Record], Iterable[Record]] = lambda record: (record,)


def below(*folders: str) -> Callable[[Record], Iterator[Record]]:
    """`candidates` that look in folders of the user's; "{subset}/" is the record's subset."""

    def candidates(record: Record) -> Iterator[Record]:
        for folder in folders:
            path = folder.format(subset=record.subset) + record.path
            yield dataclasses.replace(record, path=path)

    return candidates


def wrong(expected: str, received: object) -> ValueError:
    """The error for a malformed row, to which readers add the file and the line."""
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
    """The path of a file that must be there."""
    path = folder / name
    return path if path.is_file() else missing(folder, [name])


def subset_files(folder: Path, names: Mapping[str, Iterable[str]]) -> list[tuple[Path, str]]:
    """The path and subset of each annotation file that exists, by the names that it may have.

    Raises `FileNotFoundError` if there is none, and `ValueError` for several of one subset.
    """
    found = []
    for subset, choices in names.items():
        paths = [folder / name for name in choices if (folder / name).is_file()]
        if len(paths) > 1:
            copies = listing(path.name for path in paths)
            raise ValueError(f"{folder} has {copies}, copies of the same list. Keep only one.")
        found += [(path, subset) for path in paths]
    return found or missing(folder, [name for choices in names.values() for name in choices])


def read_records(
    files: Iterable[tuple[Path, Context]],
    rows: Callable[[Path], Iterable[tuple[int, Row]]],
    parse: Callable[[Row, Context], Record | None],
) -> list[Record]:
    """The records of all numbered rows of some files, each with the context that `parse` needs.

    `parse` may return None to skip a row. A malformed one, or a repeated name, is a `ValueError`.
    """
    found: dict[str, Record] = {}
    for path, context in files:
        for line, row in rows(path):
            try:
                record = parse(row, context)
                if record and record.name in found:
                    raise wrong("a clip that is not listed before", record.name)
            except ValueError as error:
                raise ValueError(f"{path}, line {line}: {error}") from error
            if record:
                found[record.name] = record
    return list(found.values())


def classes(path: Path, number: Callable[[int], str] | None = None) -> tuple[str, ...]:
    """Reads different class names, one a line, the index-th after `number(index)` and a blank."""
    names: dict[str, None] = {}
    for line, text in lines(path):
        prefix = number(len(names)) if number else ""
        first, name = (*text.split(maxsplit=1), "")[:2] if number else ("", text)
        if first != prefix or not name or name in names:
            error = wrong(f"{prefix} and a class that is not listed before", text)
            raise ValueError(f"{path}, line {line}: {error}")
        names[name] = None
    return tuple(names)


def lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, stripped, with their numbers from 1; there must be one."""
    # Not splitlines(), which also splits names that contain a form feed or U+2028.
    numbered = enumerate((line.strip() for line in _text(path).split("\n")), 1)
    found = [(number, line) for number, line in numbered if line]
    if not found:
        raise ValueError(f"{path} is empty.")
    return found


def csv_rows(
    path: Path, required: Iterable[str], renamed: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields the rows of a CSV file with a header, as line number and column to value.

    `renamed` has the columns that are called otherwise in some files.
    """
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = [renamed.get(column.strip(), column.strip()) for column in next(reader, [])]
        if not set(required) <= set(header) or len(set(header)) < len(header):
            raise wrong(f"a header with {', '.join(required)}, each once", ",".join(header))
        for row in filter(None, reader):  # a blank line has no values
            if len(row) != len(header):
                raise wrong(f"{len(header)} values as in the header", row)
            yield reader.line_num, dict(zip(header, map(str.strip, row), strict=True))
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path}, line {max(reader.line_num, 1)}: {error}") from error


def labeller(names: Iterable[str], source: str) -> Callable[[str], tuple[int]]:
    """Maps class names to the labels of a clip; `source` says where the classes are from."""
    indices = {name: index for index, name in enumerate(names)}

    def labels(name: str) -> tuple[int]:
        if name not in indices:
            raise wrong(f"one of the {len(indices)} classes of {source}", name)
        return (indices[name],)

    return labels


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text; {error}.") from error
