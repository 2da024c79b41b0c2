"""Flax's msgpack files, as `flax.serialization.to_bytes` writes them, without Flax.

Nested maps whose leaves are extensions of msgpack: type 1 an array, its payload again msgpack,
[shape, name of the type, raw bytes in C order]; type 2 a complex number, [real, imaginary]; type 3
a NumPy number, stored like an array. An array above 1 GiB is a map of flat pieces. A native name
is the path of keys, joined by ":" as in `flax_pickle`.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgpack
import numpy as np

from convert.arrays import Array
from convert.formats import _raw, flax_pickle, pickles

NAME = "flax_msgpack"
SUFFIXES = (".msgpack",)

_PIECES = "__msgpack_chunked_array__"
_LARGEST = 2**30  # bytes; Flax stores larger arrays in pieces
# msgpack allocates what a map or list declares, for each of 500 levels; networks have far fewer.
_MOST_ENTRIES = 10_000

files = _raw.single_file


def recognises(path: Path) -> bool:
    unpacker = msgpack.Unpacker(io.BytesIO(_raw.part(Path(path), 0, 1024)))
    try:
        size, name = unpacker.read_map_header(), unpacker.unpack()
    except Exception:  # the start of any other file
        return False
    return size > 0 and isinstance(name, str) and name.isprintable() and name != ""


@_raw.reader
def read(path: Path) -> dict[str, Array]:
    """All arrays, and plain numbers as arrays of shape (); lists count as maps by position."""
    data = _raw.mapped(path)
    tree = _unpack(data.data, ext_hook=_extension)
    _raw.release(data)
    arrays: dict[str, Array] = {}
    for name, value in flax_pickle.leaves(tree):
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif type(value) in (int, float):
            arrays[name] = pickles.number(name, value)
    return arrays


@_raw.writer
def write(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Writes the bytes that `flax.serialization.to_bytes` gives for the same nested arrays."""
    for name, array in arrays.items():
        if _PIECES in name.split(flax_pickle.SEPARATOR) or array.nbytes > _LARGEST:
            raise ValueError(f"{name} is larger than 1 GiB, or has a name that Flax reserves")
    _write_tree(file, flax_pickle.nested(arrays))


def _unpack(data: bytes | memoryview, **options: Any) -> Any:
    limit = min(len(data), _MOST_ENTRIES)
    limits = {"max_array_len": limit, "max_map_len": limit}
    return msgpack.unpackb(data, object_pairs_hook=_map, **limits, **options)


def _map(pairs: list[tuple[Any, Any]]) -> dict[str, Any] | Array:
    entries = {key: _listed(value) for key, value in pairs}
    if len(entries) != len(pairs):
        raise ValueError("one key twice in one map")
    if _PIECES not in entries:
        return entries
    shape, pieces = ([*entries[key].values()] for key in ("shape", "chunks"))
    _raw.elements(shape)  # checks that they are integers from 0 on
    return np.concatenate(pieces).reshape(shape)


def _listed(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return {str(number): _listed(item) for number, item in enumerate(value)}


def _extension(code: int, data: bytes) -> Array:
    match code, _unpack(data):
        case 2, [float(real), float(imaginary)]:
            return np.array(complex(real, imaginary))
        case 1 | 3, [list(shape), str(dtype), bytes(raw)]:
            # The bytes end the payload, of which this is a view; `raw`, a copy, is freed.
            return _raw.values(np.frombuffer(data, np.uint8)[len(data) - len(raw) :], dtype, shape)
    raise ValueError(f"an extension of type {code} that is not one of Flax's")


def _write_tree(file: BinaryIO, tree: Mapping[str, Any]) -> None:
    packer = msgpack.Packer()
    file.write(packer.pack_map_header(len(tree)))
    for key, value in tree.items():
        file.write(packer.pack(key))
        if isinstance(value, dict):
            _write_tree(file, value)
        else:
            parts = (value.shape, _raw.name_of(value, key), _raw.raw_bytes(value).tobytes())
            file.write(packer.pack(msgpack.ExtType(1, msgpack.packb(parts))))
            _raw.release(value)
