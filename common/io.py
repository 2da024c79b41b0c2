"""Files: atomic writes, strict JSON, hashes; and the errors and texts of what goes wrong."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn

_KINDS = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    list: "a list",
    dict: "an object",
}


_MOST_BYTES = 2**30  # that arrays may take whatever the size of their file
_MOST_RATIO = 100  # of arrays to their file; compressed flow and features reach about two


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
    temporary = path.with_name(f".i3d.{secrets.token_hex(4)}.tmp")  # however long the name is
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def scratch_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields an empty folder beside `target`, which is removed at the end."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".partial", ".i3d.", target.parent) as folder:
        yield Path(folder)


def sync(path: str | os.PathLike[str]) -> None:
    """Flushes a file to the disk, so that a rename never outlives the content after a crash."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def check_target(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Raises an `OSError` if a file cannot be written, before the work for it starts."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file to write.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already and stays as it is; --overwrite replaces it.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written: {folder} takes no new files.")


def check_size(path: Path, size: int) -> None:
    """Refuses a small file that declares arrays of a huge `size` in bytes, before it is read."""
    stored = path.stat().st_size
    if size > max(_MOST_BYTES, _MOST_RATIO * stored):
        raise ValueError(f"declares arrays of {size:,} bytes in a file of {stored:,}")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def load_json(path: str | os.PathLike[str]) -> Any:
    """Reads JSON with unique keys and finite numbers; `ValueError` if the file is not such."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file.")
    content = path.read_bytes()
    try:
        return json.loads(content, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not well-formed JSON: {error}.") from error


def _check_kind(value: Any, kind: type, where: str) -> Any:
    right = isinstance(value, (int, float) if kind is float else kind)
    with contextlib.suppress(OverflowError):  # a whole number that no float holds
        if right and not isinstance(value, bool) and (kind is not float or math.isfinite(value)):
            return value
    raise ValueError(f"{where}: expected {_KINDS[kind]}, got {shown(value)}.")


def check_shape(value: Any, shape: Any, where: str = "$", exact: bool = False) -> Any:
    """Returns nested JSON, or raises `ValueError` with the place of what is not of `shape`.

    A shape is int, float (integers included), str, list or dict; `[shape]` for a list of any
    length; `(shape, shape)` for one of as many values; `{str: shape}` for an object with any keys;
    or `{"key": shape, "optional?": shape}`, with other keys unless `exact`. `where` is the place
    of the value, to which errors add the rest: `$.records[3].labels[0]`.
    """
    if isinstance(shape, type):
        return _check_kind(value, shape, where)
    if not isinstance(shape, dict):
        _check_kind(value, list, where)
        if isinstance(shape, tuple) and len(value) != len(shape):
            raise ValueError(f"{where}: expected {len(shape)} values, got {shown(value)}.")
        shapes = shape if isinstance(shape, tuple) else shape * len(value)
        for i, pair in enumerate(zip(value, shapes, strict=True)):
            check_shape(*pair, f"{where}[{i}]", exact)
        return value
    _check_kind(value, dict, where)
    if str in shape:
        for key, item in value.items():
            check_shape(item, shape[str], f"{where}[{shown(key)}]", exact)
        return value
    kinds = {key.removesuffix("?"): kind for key, kind in shape.items()}
    missing = [key for key in shape if not key.endswith("?") and key not in value]
    unknown = [key for key in value if exact and key not in kinds]
    if missing or unknown:
        raise ValueError(
            f"{where}: missing fields: {listing(missing) or 'none'}; unknown fields: "
            f"{listing(unknown) or 'none'}."
        )
    for key, kind in kinds.items():
        if key in value:
            check_shape(value[key], kind, f"{where}.{key}", exact)
    return value


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
    """The identity of a file's content; "git_blob" is the id that git gives it."""

    kind: Literal["git_blob", "sha256"]
    value: str  # hexadecimal digits, lower case

    def of(self, path: str | os.PathLike[str]) -> str:
        """The same kind of digest of a file; 50 MB take about 0.1 s."""
        digest = hashlib.sha256()
        if self.kind == "git_blob":
            digest = hashlib.sha1(f"blob {os.stat(path).st_size}\0".encode(), usedforsecurity=False)
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: digest).hexdigest()

    def check(self, path: str | os.PathLike[str], advice: str) -> None:
        """Raises `DigestError` unless the file at `path` matches; `advice` says what to do."""
        actual = self.of(path)
        if actual != self.value:
            raise DigestError(
                f"{os.fspath(path)}: not the expected file. Expected {self}, got {actual} "
                f"({os.stat(path).st_size:,} bytes): a download that was cut short, a page of the "
                f"network or a pointer of Git LFS in its place, or another version. {advice}"
            )

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.value}"


git_blob = functools.partial(Digest, "git_blob")
sha256 = functools.partial(Digest, "sha256")
