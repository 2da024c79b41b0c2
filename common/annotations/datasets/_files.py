"""Reads the files of a data set so that every complaint names the file and the line."""

import csv
import dataclasses
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from common.annotations import Record
from common.io import listing
from common.video import video_files


def malformed(path: Path, line: int, expected: str, received: object) -> NoReturn:
    """Raises the ValueError for a line (1-based) that is not as it should be."""
    raise ValueError(f"{path}, line {line}: expected {expected}. Received: {received!r}.")


def pick(folder: Path, names: Iterable[str]) -> Path | None:
    """The file in `folder` that has one of these names, None where there is none.

    Raises:
        FileNotFoundError: `folder` is no folder.
        ValueError: Several have, and may differ.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder of annotations.")
    found = [folder / name for name in names if (folder / name).is_file()]
    if len(found) > 1:
        raise ValueError(
            f"{folder} has {listing(path.name for path in found)}, which are copies of the same "
            "list. Keep one of them there."
        )
    return found[0] if found else None


def pick_subsets(folder: Path, names: Mapping[str, tuple[str, ...]]) -> dict[str, Path]:
    """The annotation files of the subsets that are there, in the order of `names`.

    Args:
        folder: Of the annotations.
        names: Subset to the names its file may have.

    Raises:
        FileNotFoundError: There is no such folder, or it has none of the files.
        ValueError: Several files for one subset.
    """
    found = {subset: pick(folder, choices) for subset, choices in names.items()}
    paths = {subset: path for subset, path in found.items() if path is not None}
    if not paths:
        missing(folder, [name for choices in names.values() for name in choices])
    return paths


def require(folder: Path, name: str) -> Path:
    """The file `name` in `folder`; FileNotFoundError says what was looked for."""
    path = pick(folder, [name])
    if path is None:
        missing(folder, [name])
    return path


def missing(folder: Path, names: Iterable[str]) -> NoReturn:
    """Raises the FileNotFoundError for a folder with none of the files it should have."""
    there = sorted(path.name for path in folder.iterdir())
    raise FileNotFoundError(
        f"{folder} holds no annotations of this data set. Looked for {', '.join(names)}. "
        f"Found: {listing(there) if there else 'nothing'}."
    )


def lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not empty, without blanks around them, with their 1-based numbers.

    Raises:
        ValueError: It is not UTF-8 text, or empty.
    """
    text = _text(path)
    # Not splitlines(): it also splits where a name holds a form feed or U+2028.
    numbered = enumerate((line.strip() for line in text.split("\n")), 1)
    found = [(number, line) for number, line in numbered if line]
    if not found:
        raise ValueError(f"{path} is empty.")
    return found


def csv_rows(
    path: Path, required: Iterable[str], renamed: Mapping[str, str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields the rows of a CSV file with a header, as column to value, with their line numbers.

    Args:
        path: The file.
        required: Columns it must have, by their present names.
        renamed: Former name of a column to the present one.

    Raises:
        ValueError: It is not UTF-8 text or CSV, lacks a column or names one twice, or a row has
            another number of values.
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
    """The labels of a clip of class `label`; `where` says what lists the classes."""
    if label not in indices:
        malformed(path, line, f"one of the {len(indices)} classes of {where}", label)
    return (indices[label],)


def also_in(folder: str) -> Callable[[Record], Iterator[Record]]:
    """Candidates of a record: its path in the folder that is given, and in `folder` there."""

    def candidates(record: Record) -> Iterator[Record]:
        yield record
        yield dataclasses.replace(record, path=f"{folder}/{record.path}")

    return candidates


class Names:
    """Sees to it that no two records have the same name."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def add(self, record: Record, path: Path, line: int) -> Record:
        """Returns the record; ValueError when its name has been there before."""
        here = f"{path.name}, line {line}"
        before = self._seen.setdefault(record.name, here)
        if before != here:
            malformed(path, line, f"a clip that is not listed before ({before})", record.name)
        return record


class VideoFolder:
    """The videos under a folder, found without regard to case and suffix."""

    def __init__(self, root: Path):
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: there is no such folder of videos.")
        self._root = root
        self._videos: dict[str, list[str]] | None = None  # lower-case stem to paths

    def find(self, path: str) -> str | None:
        """The path, relative to the folder, of what `path` stands for; None where it is missing.

        Args:
            path: With a video's suffix: a file of any such suffix. Without: a folder of frames.

        Raises:
            ValueError: Several files fit, none of them exactly.
        """
        if not video_files.is_video(path):
            return path if (self._root / path).is_dir() else None
        if self._videos is None:
            self._videos = self._walk()
        found = self._videos.get(_stem(path), [])
        if len(found) <= 1:
            return found[0] if found else None
        if path in found:
            return path
        raise ValueError(
            f"{self._root}: {listing(found)} all fit {path}. Keep the one that is meant there."
        )

    def _walk(self) -> dict[str, list[str]]:
        videos: dict[str, list[str]] = {}
        for path in filter(video_files.is_video, video_files.files_under(self._root)):
            relative = path.relative_to(self._root).as_posix()
            videos.setdefault(_stem(relative), []).append(relative)
        return videos


def _stem(path: str) -> str:
    return os.path.splitext(path)[0].lower()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text; {error}.") from error
