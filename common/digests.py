"""What a file must be: its git blob id or its SHA-256."""

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Literal

_CHUNK = 1 << 20


class DigestError(ValueError):
    """A file is there, and it is not the file it should be."""


@dataclasses.dataclass(frozen=True)
class Digest:
    """The identity of a file's content.

    Attributes:
        kind: "git_blob" is the id git gives the file: SHA-1 of "blob SIZE", a zero byte, content.
        value: Hexadecimal digits, lower case.
    """

    kind: Literal["git_blob", "sha256"]
    value: str

    def of(self, path: str | os.PathLike[str]) -> str:
        """The same kind of digest of a file; 50 MB take about 0.1 s."""
        if self.kind == "sha256":
            digest = hashlib.sha256()
        else:
            digest = hashlib.sha1(f"blob {os.stat(path).st_size}\0".encode(), usedforsecurity=False)
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def check(self, path: str | os.PathLike[str], advice: str) -> None:
        """Raises `DigestError` unless the file at `path` is the one; `advice` says what to do."""
        actual = self.of(path)
        if actual != self.value:
            size = os.stat(path).st_size
            raise DigestError(
                f"{os.fspath(path)}: not the expected file. Expected {self}, "
                f"got {actual} ({size:,} bytes). {_cause(Path(path))} {advice}"
            )

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.value}"


def git_blob(value: str) -> Digest:
    return Digest("git_blob", value)


def sha256(value: str) -> Digest:
    return Digest("sha256", value)


def _cause(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "It is a Git LFS pointer, not the file."
    if start.startswith((b"<!doctype html", b"<html")):
        return "It is an HTML page: a login page of the network, or an error page."
    return (
        "Likely causes: a download that was cut short, a page of the network in its place, "
        "or a file of another version."
    )
