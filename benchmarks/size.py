"""Prints the size of the source and the tests per folder, and what exceeds the project's budgets.

    python benchmarks/size.py [--check]

Source is every tracked Python file that is not a test. Tests are `*_test.py`, `conftest.py`,
`common/testing/` and `parity_tests/`.
"""

import ast
import dataclasses
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from common import command
from common.settings import setting

# The house, and what FVD added.
SOURCE_LINES, SOURCE_FILES, TEST_LINES = 20_000 + 1_800, 170, 17_000 + 900
COMMON_FILES = 8  # source files directly in common/, besides __init__.py
FILE_LINES, FUNCTION_LINES, LINE_LENGTH = 400, 60, 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Prints the size of the source and the tests, and what exceeds the project's budgets."""

    check: bool = setting("Exit with status 1 if something exceeds its budget.", False)


class File(NamedTuple):
    """A tracked Python file: its path relative to the root, and its text."""

    path: str
    text: str

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    @property
    def is_test(self) -> bool:
        """Whether it is a test, or a helper of tests."""
        tests = self.path.endswith(("_test.py", "conftest.py"))
        return tests or self.path.startswith(("common/testing/", "parity_tests/"))

    @property
    def folder(self) -> str:
        """The top-level folder, or the folder in `common`."""
        parts = self.path.split("/")[:-1]
        return "/".join(parts[: 2 if parts[:1] == ["common"] else 1]) or "."


def tracked(root: Path) -> list[File]:
    """Reads the Python files that git tracks, sorted by path."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=root, capture_output=True, text=True, check=True
    )
    paths = (path for path in sorted(listed.stdout.splitlines()) if (root / path).is_file())
    return [File(path, (root / path).read_text(encoding="utf-8")) for path in paths]


def table(files: Sequence[File]) -> list[str]:
    """Returns lines and files of source and tests for each folder, with the sums."""
    counts: Counter[tuple[str, str]] = Counter()
    for file in files:
        kind = "test" if file.is_test else "source"
        for folder in (file.folder, "all"):
            counts[folder, f"{kind} lines"] += file.lines
            counts[folder, f"{kind} files"] += 1
    columns = ("source lines", "source files", "test lines", "test files")
    rows = [f"{'':24}" + "".join(f"{column:>14}" for column in columns)]
    for folder in [*sorted({file.folder for file in files}), "all"]:
        cells = (f"{counts[folder, column]:>14,}" for column in columns)
        rows.append(f"{folder:24}" + "".join(cells))
    return rows


def excesses(files: Sequence[File]) -> Iterator[str]:
    """Yields a line for each broken budget and for each place that breaks a rule."""
    source = [file for file in files if not file.is_test]
    beside = [f for f in source if f.path.count("/") == 1 and f.path.startswith("common/")]
    for what, found, most in (
        ("lines of source", sum(file.lines for file in source), SOURCE_LINES),
        ("files of source", len(source), SOURCE_FILES),
        ("lines of tests", sum(f.lines for f in files if f.is_test), TEST_LINES),
        ("files beside the folders of common/", len(beside) - 1, COMMON_FILES),
    ):
        if found > most:
            yield f"{found:,} {what}; the budget is {most:,}"
    for file in files:
        if file.lines > FILE_LINES:
            yield f"{file.path}: {file.lines} lines; at most {FILE_LINES}"
        yield from _long_functions(file)
        if not file.is_test:
            for number, line in enumerate(file.text.splitlines(), 1):
                if len(line) > LINE_LENGTH:
                    yield f"{file.path}:{number}: {len(line)} characters; at most {LINE_LENGTH}"


def _long_functions(file: File) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{file.path}:{node.lineno}: {node.name} has {length} lines; at most 60"


def main(settings: Settings) -> int:
    files = tracked(Path(__file__).parents[1])
    print("\n".join(table(files)))
    found = list(excesses(files))
    print("\n".join(["", *found, f"{len(found)} excesses"]))
    return int(settings.check and bool(found))


if __name__ == "__main__":
    command.start(main, Settings)
