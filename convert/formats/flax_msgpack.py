"""Flax's msgpack files, what `flax.serialization.to_bytes` gives, read and written without Flax.

Nested maps whose leaves are extensions of msgpack: type 1 an array, its payload again msgpack,
[shape, name of the type, raw bytes in C order]; type 2 a complex number, [real, imaginary]; type 3
a NumPy number, stored like an array. An array above 1 GiB is a map of flat pieces. A native name
is the path of keys, joined by ":" as in `flax_pickle`.

Own code rather than the `msgpack` package, which copies an array twice on reading, its payload and
then its bytes, and packs it in memory on writing; the format is small.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.io import replacing
from convert.formats import _msgpack, _nested_names, _pickled_tree, _raw_values
from convert.formats._mapped_file import Bytes, first_bytes, mapped, one_error, release
from convert.formats._msgpack import head, integer, text
from convert.formats._raw_values import Array

NAME = "flax_msgpack"
SUFFIXES = (".msgpack",)

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3  # Flax's extension types
_PIECES = "__msgpack_chunked_array__"
_LARGEST = 2**30  # bytes in one piece; an extension of msgpack may have four times as many


def recognises(path: Path) -> bool:
    """Whether the file starts like a map whose first key is a name."""
    try:
        reader = _msgpack.Reader(np.frombuffer(first_bytes(Path(path), 1024), np.uint8))
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
        tree = _Reader(mapped(path)).whole()
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


class _Reader(_msgpack.Reader):
    """Knows Flax's extensions, and its maps of pieces."""

    def extension(self, code: int, payload: Bytes) -> Any:
        if code in (_ARRAY, _SCALAR):
            return _StoredArray(payload)
        if code != _COMPLEX:
            raise ValueError(f"holds an extension of type {code}; Flax has 1, 2 and 3")
        parts = _numbered(_msgpack.Reader(payload).whole())
        if [type(part) for part in parts] != [float, float]:
            raise ValueError("a complex number that is not [real, imaginary]")
        return complex(*parts)

    def mapping(self, entries: dict[str, Any]) -> Any:
        return _StoredPieces(entries) if _PIECES in entries else entries


class _StoredArray:
    """What a file says about an array."""

    def __init__(self, payload: Bytes) -> None:
        self._payload = payload

    def resolve(self) -> Array:
        """The array, a view of the file where its type allows.

        Raises:
            ValueError: Shape, type and number of bytes contradict each other.
        """
        parts = _numbered(_msgpack.Reader(self._payload).whole())
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
        return _raw_values.values(raw, dtype, shape)


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


def _numbered(node: Any) -> list[Any]:
    """The values of what was a list, or is a map that stands for one."""
    if not isinstance(node, dict) or list(node) != [str(number) for number in range(len(node))]:
        raise ValueError("something else where a list is expected")
    return list(node.values())


def _write_tree(file: BinaryIO, tree: Mapping[str, Any]) -> None:
    file.write(head("map", len(tree)))
    for key, value in tree.items():
        file.write(text(key))
        if isinstance(value, dict):
            _write_tree(file, value)
        elif value.nbytes > _LARGEST:
            _write_pieces(file, value)
        else:
            _write_array(file, value.shape, value.dtype.name, _raw_values.raw_bytes(value))
            release(value)


def _write_pieces(file: BinaryIO, array: Array) -> None:
    file.write(head("map", 3) + text(_PIECES) + b"\xc3")
    file.write(text("shape") + head("map", array.ndim))
    for axis, size in enumerate(array.shape):
        file.write(text(str(axis)) + integer(size))
    raw, itemsize = _raw_values.raw_bytes(array), array.dtype.itemsize
    step = max(1, _LARGEST // itemsize) * itemsize
    starts = range(0, len(raw), step)
    file.write(text("chunks") + head("map", len(starts)))
    for number, start in enumerate(starts):
        piece = raw[start : start + step]
        file.write(text(str(number)))
        _write_array(file, (len(piece) // itemsize,), array.dtype.name, piece)


def _write_array(file: BinaryIO, shape: tuple[int, ...], dtype: str, raw: Bytes) -> None:
    sizes = b"".join(integer(size) for size in shape)
    start = head("list", 3) + head("list", len(shape)) + sizes + text(dtype)
    start += head("bytes", len(raw))
    file.write(head("extension", len(start) + len(raw)) + bytes([_ARRAY]) + start)
    file.write(raw.data)  # straight from the array: no second copy of the weights
