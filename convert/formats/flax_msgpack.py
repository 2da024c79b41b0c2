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
from typing import Any, BinaryIO

import msgpack
import numpy as np

from common.io import replacing
from convert.arrays import Array
from convert.formats import flax_pickle, pickles
from convert.formats._mapped_file import (
    STORED,
    elements,
    first_bytes,
    mapped,
    one_error,
    raw_bytes,
    release,
    single_file,
    values,
)

NAME = "flax_msgpack"
SUFFIXES = (".msgpack",)

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3  # Flax's extension types
_PIECES = "__msgpack_chunked_array__"
_LARGEST = 2**30  # bytes; Flax stores larger arrays in pieces
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
        CheckpointError: The file is malformed, has extensions that are not Flax's, or no array.
    """
    path = Path(path)
    with one_error(path):
        data = mapped(path)
        tree = _unpack(data.data, ext_hook=_extension)
        release(data)
        if not isinstance(tree, dict):
            raise ValueError("holds no map of arrays, but a single value")
        arrays: dict[str, Array] = {}
        for name, value in flax_pickle.leaves(tree):
            if isinstance(value, np.ndarray):
                arrays[name] = value
            elif type(value) in (int, float):
                arrays[name] = pickles.number(name, value)
        if not arrays:
            raise ValueError("holds no array")
        return arrays


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes, byte for byte, what `flax.serialization.to_bytes` gives for the same nested arrays.

    Raises:
        CheckpointError: A value is not a numeric array or above 1 GiB, or one name is the start of
            another or has a part that Flax reserves.
    """
    path = Path(path)
    with one_error(path):
        tree = flax_pickle.nested(arrays)
        for name, array in arrays.items():
            if _PIECES in name.split(flax_pickle.SEPARATOR):
                raise ValueError(f"{name}: Flax reserves the name {_PIECES}")
            if array.nbytes > _LARGEST:
                raise ValueError(f"{name} has {array.nbytes} bytes; expected at most {_LARGEST}")
        with replacing(path) as temporary, temporary.open("wb") as file:
            _write_tree(file, tree)


def _unpack(data: bytes | memoryview, **options: Any) -> Any:
    """The value of the msgpack `data`, which fills it."""
    limit = min(len(data), _MOST_ENTRIES)
    try:
        return msgpack.unpackb(
            data, object_pairs_hook=_map, max_array_len=limit, max_map_len=limit, **options
        )
    except Exception as error:
        text = f"{type(error).__name__}: {error}".rstrip(": ")  # some have no text
        raise ValueError(f"not well-formed msgpack ({text})") from error


def _map(pairs: list[tuple[Any, Any]]) -> dict[str, Any] | Array:
    entries = {key: _listed(value) for key, value in pairs}
    if len(entries) != len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {str(twice)[:200]!r} twice in one map")
    return _joined(entries) if _PIECES in entries else entries


def _listed(value: Any) -> Any:
    """A list as Flax sees it, a map of its positions."""
    if not isinstance(value, list):
        return value
    return {str(number): _listed(item) for number, item in enumerate(value)}


def _extension(code: int, data: bytes) -> Array:
    """The array or number that an extension means."""
    if code not in (_ARRAY, _COMPLEX, _SCALAR):
        raise ValueError(f"an extension of type {code}; Flax has 1, 2 and 3")
    parts = _unpack(data)
    kinds = [type(part) for part in parts] if isinstance(parts, list) else []
    if code == _COMPLEX:
        if kinds != [float, float]:
            raise ValueError("a complex number that is not [real, imaginary]")
        return np.array(complex(*parts))
    if kinds != [list, str, bytes]:
        raise ValueError("an array that is not [shape, name of the type, bytes]")
    shape, dtype, raw = parts
    if dtype not in STORED:
        known = ", ".join(sorted(STORED))
        raise ValueError(f"an array of dtype {dtype[:40]!r}; expected one of {known}")
    expected = elements(shape) * STORED[dtype].itemsize
    if len(raw) != expected:
        raise ValueError(f"an array of {dtype} {shape} needs {expected} bytes, not {len(raw)}")
    # The bytes end the payload, of which this is a view; `raw`, a copy, is freed.
    return values(np.frombuffer(data, np.uint8)[len(data) - len(raw) :], dtype, shape)


def _joined(entries: dict[str, Any]) -> Array:
    """An array that is stored in flat pieces."""
    shape, pieces = ([*entries[key].values()] for key in ("shape", "chunks"))
    size = sum(piece.size for piece in pieces)
    if size != elements(shape) or any(piece.ndim != 1 for piece in pieces):
        raise ValueError(f"an array of shape {shape} in pieces of {size} values")
    return np.concatenate(pieces).reshape(shape)


def _write_tree(file: BinaryIO, tree: Mapping[str, Any]) -> None:
    packer = msgpack.Packer()
    file.write(packer.pack_map_header(len(tree)))
    for key, value in tree.items():
        file.write(packer.pack(key))
        if isinstance(value, dict):
            _write_tree(file, value)
        else:
            parts = (value.shape, value.dtype.name, raw_bytes(value).tobytes())
            file.write(packer.pack(msgpack.ExtType(_ARRAY, msgpack.packb(parts))))
            release(value)
