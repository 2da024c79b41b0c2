"""Flax's msgpack files, as `flax.serialization.to_bytes` writes them, without Flax.

Nested maps whose leaves are extensions of msgpack: type 1 an array, its payload again msgpack,
[shape, name of the type, raw bytes in C order]; type 2 a complex number, [real, imaginary]; type 3
a NumPy number, stored like an array. An array above 1 GiB is a map of flat pieces. A native name
is the path of keys, joined by ":" as in `flax_pickle`.
"""

import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgpack
import numpy as np

from common.io import replacing
from convert.formats import _raw_values, flax_pickle, pickles
from convert.formats._mapped_file import first_bytes, mapped, one_error, release, single_file
from convert.formats._raw_values import Array

NAME = "flax_msgpack"
SUFFIXES = (".msgpack",)

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3  # Flax's extension types
_PIECES = "__msgpack_chunked_array__"
_LARGEST = 2**30  # bytes in one piece; an extension of msgpack may have four times as many
# msgpack allocates what a map or list declares, for each of 500 levels; networks have far fewer.
_MOST_ENTRIES = 10_000

files = single_file


def recognises(path: Path) -> bool:
    """Whether the file starts like a map whose first key is a name."""
    unpacker = msgpack.Unpacker(io.BytesIO(first_bytes(Path(path), 1024)))
    try:
        size, name = unpacker.read_map_header(), unpacker.unpack()
    except Exception:  # the start of any other file
        return False
    return size > 0 and isinstance(name, str) and name.isprintable() and name != ""


def read(path: Path) -> dict[str, Array]:
    """All arrays in stored order.

    Plain integers, floats and complex numbers (a step, say) become int64, float64 and complex128 of
    shape (); None, switches, strings and bytes are left out. Lists count as maps with the keys "0",
    "1", ..., as in Flax.

    Raises:
        CheckpointError: The file is malformed, holds extensions that are not Flax's, or no array.
    """
    path = Path(path)
    with one_error(path):
        data = mapped(path)
        tree = _unpack(data.data)
        release(data)
        if not isinstance(tree, dict):
            raise ValueError("holds no map of arrays, but a single value")
        arrays: dict[str, Array] = {}
        for name, value in flax_pickle.leaves(tree):
            try:
                if isinstance(value, (msgpack.ExtType, _Pieces)):
                    arrays[name] = _array(value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            if type(value) in (int, float):
                arrays[name] = pickles.number(name, value)
        if not arrays:
            raise ValueError("holds no array")
        return arrays


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes, byte for byte, what `flax.serialization.to_bytes` gives for the same nested arrays.

    Raises:
        CheckpointError: A value is no numeric array, or one name is the start of another or has a
            part that Flax reserves.
    """
    path = Path(path)
    with one_error(path):
        tree = flax_pickle.nested(arrays)
        for name in arrays:
            if _PIECES in name.split(flax_pickle.SEPARATOR):
                raise ValueError(f"{name}: Flax reserves the name {_PIECES}")
        with replacing(path) as temporary, temporary.open("wb") as file:
            _write_tree(file, tree)


class _Pieces(NamedTuple):
    """The map of an array that is stored in flat pieces."""

    entries: dict[str, Any]


def _unpack(data: bytes | memoryview) -> Any:
    """The value of the msgpack `data`, which fills it; extensions as msgpack.ExtType.

    Raises:
        ValueError: It is malformed, too deep, too wide, or has a key twice.
    """
    limit = min(len(data), _MOST_ENTRIES)
    try:
        return msgpack.unpackb(data, object_pairs_hook=_map, max_array_len=limit, max_map_len=limit)
    except Exception as error:
        text = f"{type(error).__name__}: {error}".rstrip(": ")  # some have no text
        raise ValueError(f"not well-formed msgpack ({text})") from error


def _map(pairs: list[tuple[Any, Any]]) -> dict[str, Any] | _Pieces:
    entries = {key: _listed(value) for key, value in pairs}
    if len(entries) != len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {str(twice)[:200]!r} twice in one map")
    return _Pieces(entries) if _PIECES in entries else entries


def _listed(value: Any) -> Any:
    """A list as Flax sees it, a map of its positions."""
    if not isinstance(value, list):
        return value
    return {str(number): _listed(item) for number, item in enumerate(value)}


def _array(stored: msgpack.ExtType | _Pieces) -> Array:
    """The array or number that an extension or a map of pieces means.

    Raises:
        ValueError: It is malformed, or its shape, type and number of bytes contradict each other.
    """
    if isinstance(stored, _Pieces):
        return _joined(stored.entries)
    if stored.code not in (_ARRAY, _COMPLEX, _SCALAR):
        raise ValueError(f"an extension of type {stored.code}; Flax has 1, 2 and 3")
    parts = _unpack(stored.data)
    kinds = [type(part) for part in parts] if isinstance(parts, list) else []
    if stored.code == _COMPLEX:
        if kinds != [float, float]:
            raise ValueError("a complex number that is not [real, imaginary]")
        return np.array(complex(*parts))
    if kinds != [list, str, bytes]:
        raise ValueError("an array that is not [shape, name of the type, bytes]")
    shape, dtype, raw = parts
    if dtype not in _raw_values.STORED:
        known = ", ".join(sorted(_raw_values.STORED))
        raise ValueError(f"an array of dtype {dtype[:40]!r}; expected one of {known}")
    expected = _raw_values.elements(shape) * _raw_values.STORED[dtype].itemsize
    if len(raw) != expected:
        raise ValueError(f"an array of {dtype} {shape} needs {expected} bytes, not {len(raw)}")
    # The bytes end the payload, of which this is a view; `raw`, a copy, is freed.
    content = np.frombuffer(stored.data, np.uint8)[len(stored.data) - len(raw) :]
    return _raw_values.values(content, dtype, shape)


def _joined(entries: dict[str, Any]) -> Array:
    """An array that is stored in flat pieces."""
    shape, chunks = (_values(entries.get(key)) for key in ("shape", "chunks"))
    if len(entries) != 3 or not all(isinstance(chunk, msgpack.ExtType) for chunk in chunks):
        raise ValueError(f"{_PIECES} without shape and chunks, or with more than these")
    pieces = [_array(chunk) for chunk in chunks]
    if len({(piece.dtype, piece.ndim) for piece in pieces}) != 1 or pieces[0].ndim != 1:
        raise ValueError("its pieces are not flat arrays of one type")
    expected, size = _raw_values.elements(shape), sum(piece.size for piece in pieces)
    if size != expected:
        raise ValueError(f"its shape {shape} needs {expected} values, its pieces have {size}")
    return np.concatenate(pieces).reshape(shape)


def _values(node: Any) -> list[Any]:
    """The values of a map that stands for a list."""
    if not isinstance(node, dict) or list(node) != [str(number) for number in range(len(node))]:
        raise ValueError("something else where a list is expected")
    return list(node.values())


def _write_tree(file: BinaryIO, tree: Mapping[str, Any]) -> None:
    packer = msgpack.Packer()
    file.write(packer.pack_map_header(len(tree)))
    for key, value in tree.items():
        file.write(packer.pack(key))
        if isinstance(value, dict):
            _write_tree(file, value)
            continue
        dtype, raw = value.dtype.name, _raw_values.raw_bytes(value)
        if value.nbytes <= _LARGEST:
            file.write(_packed(value.shape, dtype, raw.tobytes()))
        else:
            itemsize = value.dtype.itemsize
            step = max(1, _LARGEST // itemsize) * itemsize
            starts = range(0, len(raw), step)
            shape = {str(axis): size for axis, size in enumerate(value.shape)}
            file.write(packer.pack_map_header(3) + packer.pack(_PIECES) + packer.pack(True))
            file.write(packer.pack("shape") + packer.pack(shape))
            file.write(packer.pack("chunks") + packer.pack_map_header(len(starts)))
            for number, start in enumerate(starts):
                piece = raw[start : start + step].tobytes()
                file.write(packer.pack(str(number)))
                file.write(_packed((len(piece) // itemsize,), dtype, piece))
        release(value)


def _packed(shape: tuple[int, ...], dtype: str, raw: bytes) -> bytes:
    payload = msgpack.packb((shape, dtype, raw))
    return bytes(msgpack.packb(msgpack.ExtType(_ARRAY, payload)))
