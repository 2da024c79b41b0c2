"""Files: atomic writes, strict JSON, hashes; and the errors and texts of what goes wrong."""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn

import filelock

_CHUNK = 1 << 20

_LONGEST_NAME = 200  # bytes of a file name that a temporary name repeats

_KINDS = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    list: "a list",
    dict: "an object",
}


class CheckpointError(ValueError):
    """A file of weights is unusable; the text names the file and says why."""


class UnknownNetworkError(CheckpointError):
    """Well-formed weights that fit no known network."""


class AmbiguousNetworkError(CheckpointError):
    """Weights that fit several networks; `names` are those of the architectures."""

    def __init__(self, text: str, names: Iterable[str]):
        super().__init__(text)
        self.names = tuple(names)


class AssetError(FileNotFoundError):
    """A file that no source could provide; the text names it and every source tried."""


class DigestError(ValueError):
    """A file that exists but is not the expected one."""


def listing(names: Iterable[str], most: int = 10) -> str:
    """Names for an error text: sorted, at most `most`, then how many more there are."""
    names = sorted(names)
    text = ", ".join(names[:most])
    more = len(names) - most
    return f"{text} and {more} more" if more > 0 else text


def escape(text: str) -> str:
    r"""Escapes unprintable characters of text of unknown origin, such as a name in a file.

    Terminals obey control characters ("\x1b[2J" clears the screen), and direction marks make one
    name look like another. Letters of every language, punctuation and spaces stay as they are.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path in the same folder; syncs and renames it to `path` at the end.

    If the block raises, the temporary file is removed and `path` stays as it was. Missing parent
    folders are created.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # File systems take 255 bytes of a name: a long one leaves no room for what is added.
    name = path.name if len(os.fsencode(path.name)) <= _LONGEST_NAME else "long"
    temporary = path.with_name(f".{name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def scratch_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields an empty folder beside `target`, which is removed at the end.

    Folders that killed processes left there for the same target are removed first: only folders
    with a name of this very shape that no living process holds, and never through a link.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    shape = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{8}\.partial")
    for path in target.parent.iterdir():
        lock = path / ".lock"
        ours = shape.fullmatch(path.name) and not path.is_symlink() and not lock.is_symlink()
        if ours and lock.is_file():
            with (
                contextlib.suppress(filelock.Timeout),  # in use
                filelock.FileLock(lock, blocking=False, fallback_to_soft=False),
            ):
                shutil.rmtree(path)
    folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    folder.mkdir()
    try:
        with filelock.FileLock(folder / ".lock", fallback_to_soft=False):
            yield folder
    finally:
        shutil.rmtree(folder)


def sync(path: str | os.PathLike[str]) -> None:
    """Flushes a file to the disk, so that a rename never outlives the content after a crash."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_target(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Checks that a file can be written, before the work for it starts.

    Raises:
        FileExistsError: It exists and `overwrite` is false.
        IsADirectoryError: It is a folder.
        PermissionError: Its folder, or the nearest existing one, takes no new files.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file to write.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already and stays as it is; --overwrite replaces it.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written: {folder} takes no new files.")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def load_json(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON file with unique keys and finite numbers.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not such JSON.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there is no such file.") from error
    except IsADirectoryError as error:
        raise IsADirectoryError(f"{path}: expected a JSON file, got a folder.") from error
    try:
        return json.loads(content, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not well-formed JSON: {error}.") from error


def check_json(value: Any, kind: type, where: str) -> Any:
    """Returns `value` if it is of `kind`: int, float (integers included), str, list or dict.

    Raises:
        ValueError: It is not; the text starts with `where`.
    """
    accepted = (int, float) if kind is float else kind
    right = isinstance(value, accepted) and not isinstance(value, bool)
    if not right or (kind is float and not _is_finite(value)):
        raise ValueError(f"{where}: expected {_KINDS[kind]}, got {shown(value)}.")
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def check_shape(value: Any, shape: Any, where: str = "$", exact: bool = False) -> Any:
    """Returns nested JSON after checking it against `shape`.

    Args:
        value: What `load_json` returns, or a part of it.
        shape: A kind of `check_json`; `[shape]` for a list of any length; `(shape, shape)` for a
            list of as many values; `{str: shape}` for an object with any keys; or
            `{"key": shape, "optional?": shape}`.
        where: Place of the value, to which errors add the rest: `$.records[3].labels[0]`.
        exact: Whether objects must have no other keys.

    Raises:
        ValueError: A value is missing, unknown or of another kind; the text starts with its place.
    """
    if isinstance(shape, type):
        return check_json(value, shape, where)
    if isinstance(shape, dict):
        children = _children(check_json(value, dict, where), shape, where, exact)
    else:
        items = check_json(value, list, where)
        if isinstance(shape, tuple) and len(items) != len(shape):
            raise ValueError(f"{where}: expected {len(shape)} values, got {shown(value)}.")
        shapes = shape if isinstance(shape, tuple) else shape * len(items)
        children = ((f"[{i}]", *pair) for i, pair in enumerate(zip(items, shapes, strict=True)))
    for place, child, kind in children:
        check_shape(child, kind, where + place, exact)
    return value


def _children(
    value: dict[str, Any], shape: dict[Any, Any], where: str, exact: bool
) -> Iterator[tuple[str, Any, Any]]:
    """Yields the place, value and shape of each known key of an object."""
    if str in shape:
        yield from ((f"[{shown(key)}]", item, shape[str]) for key, item in value.items())
        return
    kinds = {key.removesuffix("?"): kind for key, kind in shape.items()}
    missing = [key for key in shape if not key.endswith("?") and key not in value]
    unknown = [key for key in value if exact and key not in kinds]
    if missing or unknown:
        raise ValueError(
            f"{where}: missing fields: {listing(missing) or 'none'}; unknown fields: "
            f"{listing(unknown) or 'none'}."
        )
    yield from ((f".{key}", value[key], kind) for key, kind in kinds.items() if key in value)


def shown(value: Any) -> str:
    """A value for an error text: on one line, shortened to 80 characters."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def to_json(record: Mapping[str, object]) -> str:
    """JSON of a record, indented; `ValueError` for numbers that are not finite."""
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # A file's name may hold bytes that are no UTF-8: they are escaped, as JSON does it.
    return text.encode(errors="backslashreplace").decode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {shown(twice)} stands twice in one object")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


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
        """Raises `DigestError` unless the file at `path` matches; `advice` says what to do."""
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
