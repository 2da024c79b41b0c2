"""Flax's msgpack files, what `flax.serialization.to_bytes` gives, read and written without Flax.

Nested maps whose leaves are extensions of msgpack: type 1 an array, its payload again msgpack,
[shape, name of the type, raw bytes in C order]; type 2 a complex number, [real, imaginary]; type 3
a NumPy number, stored like an array. An array above 1 GiB is a map of flat pieces. A native name
is the path of keys, joined by ":" as in `flax_pickle`.

Own code rather than the `msgpack` package, which copies an array twice on reading, its payload and
then its bytes, and packs it in memory on writing; the format is small.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.files import replacing
from convert.formats import _nested_names, _pickled_tree, _raw_values
from convert.formats._mapped_file import Bytes, first_bytes, mapped, one_error
from convert.formats._raw_values import Array

NAME = "flax_msgpack"
SUFFIXES = (".msgpack",)

# The first byte of a value says its kind: small sizes are part of it, larger ones follow in so
# many bytes, numbers in a form of `struct`. Below 128 and from 224 on it is a number itself.
_SHORT = {"map": (0x80, 16), "list": (0x90, 16), "text": (0xA0, 32)}
_SIZED = {
    **{0xC4: ("bytes", 1), 0xC5: ("bytes", 2), 0xC6: ("bytes", 4)},
    **{0xC7: ("extension", 1), 0xC8: ("extension", 2), 0xC9: ("extension", 4)},
    **{0xD9: ("text", 1), 0xDA: ("text", 2), 0xDB: ("text", 4)},
    **{0xDC: ("list", 2), 0xDD: ("list", 4), 0xDE: ("map", 2), 0xDF: ("map", 4)},
}
_FIXED_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = dict(zip(range(0xCA, 0xD4), "fdBHIQbhiq", strict=True))

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3  # Flax's extension types
_PIECES = "__msgpack_chunked_array__"
_LARGEST = 2**30  # bytes in one piece; an extension of msgpack may have four times as many


def recognises(path: Path) -> bool:
    """Whether the file starts like a map whose first key is a name."""
    try:
        reader = _Reader(np.frombuffer(first_bytes(Path(path), 1024), np.uint8))
        kind, size = reader.head()
        key, length = reader.head()
        name = reader.take(length).tobytes().decode()
        return (kind, key) == ("map", "text") and size > 0 and name.isprintable() and name != ""
    except Exception:  # the start of any other file
        return False


def files(path: Path) -> list[Path]:
    """The one file."""
    return [Path(path)]


def read(path: Path) -> dict[str, Array]:
    """All arrays in stored order, as views of the mapped file (bfloat16, bool, pieces: copies).

    Plain integers, floats and complex numbers (a step, say) become int64, float64 and complex128 of
    shape (); None, switches, strings and bytes are left out. Lists count as maps with the keys "0",
    "1", ..., which is what Flax makes of them itself.

    Raises:
        CheckpointError: The file is malformed, holds extensions that are not Flax's, or no array.
    """
    path = Path(path)
    with one_error(path):
        reader = _Reader(mapped(path))
        tree = reader.value()
        reader.expect_end()
        if not isinstance(tree, dict):
            raise ValueError("holds no map of arrays, but a single value")
        arrays: dict[str, Array] = {}
        for name, value in _nested_names.leaves(tree):
            if isinstance(value, (_StoredArray, _StoredPieces)):
                arrays[name] = _pickled_tree.resolved(name, value)
            elif type(value) in (int, float, complex):
                arrays[name] = _pickled_tree.number(name, value)
        if not arrays:
            raise ValueError("holds no array")
        return arrays


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes, byte for byte, what `flax.serialization.to_bytes` gives for the same nested arrays.

    Raises:
        CheckpointError: A value is no array of plain numbers, or one name is the start of another
            or has a part that Flax reserves.
    """
    path = Path(path)
    with one_error(path):
        tree = _nested_names.nested(arrays)
        for name in arrays:
            if _PIECES in name.split(_nested_names.SEPARATOR):
                raise ValueError(f"{name}: Flax reserves the name {_PIECES}")
        with replacing(path) as temporary, temporary.open("wb") as file:
            _write_tree(file, tree)


class _Reader:
    """Reads msgpack from bytes that are mapped; never takes more than is there."""

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._at = 0
        self._values = 0

    def take(self, size: int) -> Bytes:
        """[size] bytes, a view."""
        left = len(self._data) - self._at
        if size > left:
            raise ValueError(
                f"needs {size} bytes at byte {self._at}, but {left} are left: it is cut off"
            )
        self._at += size
        return self._data[self._at - size : self._at]

    def head(self) -> tuple[str, Any]:
        """The kind of the next value and its size; of a "plain" one the value itself."""
        first = int(self.take(1)[0])
        if first < 0x80 or first >= 0xE0:
            return "plain", first if first < 0x80 else first - 0x100
        for kind, (base, end) in _SHORT.items():
            if base <= first < base + end:
                return kind, first - base
        if first in _SIZED:
            kind, width = _SIZED[first]
            return kind, int.from_bytes(self.take(width).tobytes(), "big")
        if first in _NUMBERS:
            form = f">{_NUMBERS[first]}"
            return "plain", struct.unpack(form, self.take(struct.calcsize(form)).tobytes())[0]
        if first in _CONSTANTS:
            return "plain", _CONSTANTS[first]
        if first not in _FIXED_EXTENSIONS:
            raise ValueError(f"byte {self._at - 1} is 0x{first:02x}, which msgpack does not use")
        return "extension", _FIXED_EXTENSIONS[first]

    def value(self, depth: int = 0) -> Any:
        """The next value; maps and lists as dictionaries."""
        kind, size = self.head()
        self._values += 1
        if self._values > _pickled_tree.MOST_VALUES or depth > _pickled_tree.DEEPEST:
            raise ValueError(
                f"has more than {_pickled_tree.MOST_VALUES} values or is nested more than"
                f" {_pickled_tree.DEEPEST} deep"
            )
        if kind == "plain":
            return size
        if kind == "extension":
            code = int(self.take(1)[0])
            return _extension(code, self.take(size))
        if kind in ("text", "bytes"):
            raw = self.take(size)
            return _text(raw) if kind == "text" else raw
        if size > len(self._data) - self._at:  # each entry has a byte at least
            raise ValueError(f"a {kind} of {size} entries at byte {self._at}: it is cut off")
        return self._map(size, depth) if kind == "map" else self._list(size, depth)

    def name(self) -> str:
        """A string."""
        at = self._at
        kind, size = self.head()
        if kind != "text":
            raise ValueError(f"a {kind} value at byte {at} where a name is expected")
        return _text(self.take(size))

    def expect_end(self) -> None:
        """Raises ValueError for bytes behind the last value."""
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data) - self._at} bytes follow the end of its msgpack")

    def _map(self, size: int, depth: int) -> Any:
        entries: dict[str, Any] = {}
        for _ in range(size):
            name = self.name()
            if name in entries:
                raise ValueError(f"has the key {name[:200]!r} twice in one map")
            entries[name] = self.value(depth + 1)
        return _StoredPieces(entries) if _PIECES in entries else entries

    def _list(self, size: int, depth: int) -> dict[str, Any]:
        return {str(number): self.value(depth + 1) for number in range(size)}


class _StoredArray:
    """What a file says about an array."""

    def __init__(self, payload: Bytes) -> None:
        self._payload = payload

    def resolve(self) -> Array:
        """The array, a view of the file where its type allows.

        Raises:
            ValueError: Shape, type and number of bytes contradict each other.
        """
        reader = _Reader(self._payload)
        parts = _numbered(reader.value())
        reader.expect_end()
        if [type(part) for part in parts] != [dict, str, np.ndarray]:
            raise ValueError("an array that is not [shape, name of the type, bytes]")
        shape, (dtype, raw) = _numbered(parts[0]), parts[1:]
        if dtype not in _raw_values.STORED:
            raise ValueError(
                f"an array of dtype {dtype[:40]!r}; expected one of"
                f" {', '.join(sorted(_raw_values.STORED))}"
            )
        expected = _raw_values.elements(shape) * _raw_values.STORED[dtype].itemsize
        if len(raw) != expected:
            raise ValueError(f"an array of {dtype} {shape} needs {expected} bytes, not {len(raw)}")
        return _raw_values.values(raw, dtype).reshape(shape)


class _StoredPieces:
    """What a file says about an array that is stored in flat pieces."""

    def __init__(self, entries: dict[str, Any]) -> None:
        self._entries = entries

    def resolve(self) -> Array:
        """The array, a copy.

        Raises:
            ValueError: The pieces are not flat, not of one type, or not as many as the shape needs.
        """
        shape = _numbered(self._entries.get("shape"))
        stored = _numbered(self._entries.get("chunks"))
        if len(self._entries) != 3 or not all(isinstance(piece, _StoredArray) for piece in stored):
            raise ValueError(f"{_PIECES} without shape and chunks, or with more than these")
        pieces = [piece.resolve() for piece in stored]
        if len({(piece.dtype, piece.ndim) for piece in pieces}) != 1 or pieces[0].ndim != 1:
            raise ValueError("its pieces are not flat arrays of one type")
        expected, size = _raw_values.elements(shape), sum(piece.size for piece in pieces)
        if size != expected:
            raise ValueError(f"its shape {shape} needs {expected} values, its pieces have {size}")
        return np.concatenate(pieces).reshape(shape)


def _extension(code: int, payload: Bytes) -> _StoredArray | complex:
    if code in (_ARRAY, _SCALAR):
        return _StoredArray(payload)
    if code != _COMPLEX:
        raise ValueError(f"holds an extension of type {code}; Flax has 1, 2 and 3")
    reader = _Reader(payload)
    parts = _numbered(reader.value())
    reader.expect_end()
    if [type(part) for part in parts] != [float, float]:
        raise ValueError("a complex number that is not [real, imaginary]")
    return complex(*parts)


def _numbered(node: Any) -> list[Any]:
    """The values of what was a list, or is a map that stands for one."""
    if not isinstance(node, dict) or list(node) != [str(number) for number in range(len(node))]:
        raise ValueError("something else where a list is expected")
    return list(node.values())


def _text(raw: Bytes) -> str:
    try:
        return raw.tobytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"a name that is not UTF-8 ({error.reason})") from error


def _write_tree(file: BinaryIO, tree: Mapping[str, Any]) -> None:
    file.write(_head("map", len(tree)))
    for key, value in tree.items():
        file.write(_string(key))
        if isinstance(value, dict):
            _write_tree(file, value)
        elif value.nbytes > _LARGEST:
            _write_pieces(file, value)
        else:
            _write_array(file, value.shape, value.dtype.name, _raw_values.raw_bytes(value))


def _write_pieces(file: BinaryIO, array: Array) -> None:
    file.write(_head("map", 3) + _string(_PIECES) + b"\xc3")
    file.write(_string("shape") + _head("map", array.ndim))
    for axis, size in enumerate(array.shape):
        file.write(_string(str(axis)) + _integer(size))
    raw, itemsize = _raw_values.raw_bytes(array), array.dtype.itemsize
    step = max(1, _LARGEST // itemsize) * itemsize
    starts = range(0, len(raw), step)
    file.write(_string("chunks") + _head("map", len(starts)))
    for number, start in enumerate(starts):
        piece = raw[start : start + step]
        file.write(_string(str(number)))
        _write_array(file, (len(piece) // itemsize,), array.dtype.name, piece)


def _write_array(file: BinaryIO, shape: tuple[int, ...], dtype: str, raw: Bytes) -> None:
    sizes = b"".join(_integer(size) for size in shape)
    start = _head("list", 3) + _head("list", len(shape)) + sizes + _string(dtype)
    start += _head("bytes", len(raw))
    file.write(_head("extension", len(start) + len(raw)) + bytes([_ARRAY]) + start)
    file.write(raw.data)  # straight from the array: no second copy of the weights


def _head(kind: str, size: int) -> bytes:
    """The shortest start of a value of `kind`, as msgpack writes it."""
    base, end = _SHORT.get(kind, (0, 0))
    if size < end:
        return bytes([base + size])
    for first, fixed in _FIXED_EXTENSIONS.items():
        if kind == "extension" and size == fixed:
            return bytes([first])
    for first, (sized, width) in _SIZED.items():
        if sized == kind and size < 256**width:
            return bytes([first]) + size.to_bytes(width, "big")
    raise ValueError(f"a {kind} of {size} entries is too large for msgpack")


def _integer(value: int) -> bytes:
    if value < 0x80:
        return bytes([value])
    width = next(width for width in (1, 2, 4, 8) if value < 256**width)
    return bytes([0xCC + width.bit_length() - 1]) + value.to_bytes(width, "big")


def _string(value: str) -> bytes:
    encoded = value.encode()
    return _head("text", len(encoded)) + encoded
