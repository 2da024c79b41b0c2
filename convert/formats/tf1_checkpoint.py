"""TensorFlow's checkpoints of named variables: a bundle, or one file from before 2017.

A bundle ("V2") is `P.index` and `P.data-00000-of-00001`; a path is the prefix P, either file, or a
folder of one. One file ("V1"), as TF-slim published them, is read through TensorFlow and never
written. Every checksum is verified; `write` gives the bytes of TensorFlow.

Sources: tensorflow/core/protobuf/tensor_bundle.proto, framework/{tensor_shape,types}.proto.
"""

import contextlib
import importlib
import re
import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from common.io import CheckpointError, listing, replacing
from convert.arrays import Array, LazyArrays
from convert.formats import _raw, _wire
from convert.formats._wire import FIXED32, field, fields, integers, varint

NAME = "tf1_checkpoint"
SUFFIXES = (".ckpt", ".index")

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # the key that tells TensorFlow 2's objects

# DataType numbers of types.proto, and NumPy's name of each type.
_DTYPES = {
    **{1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string"},
    **{8: "complex64", 9: "int64", 10: "bool", 14: "bfloat16", 17: "uint16", 18: "complex128"},
    **{19: "float16", 22: "uint32", 23: "uint64"},
}
_NUMBERS = {name: number for number, name in _DTYPES.items()}

# The value of the empty key: one shard, little-endian, version {producer: 1}.
HEADER = bytes.fromhex("08011a020801")
_DATA_FILE = re.compile(r"(.+)\.data-\d{5}-of-\d{5}")


class Entry(NamedTuple):
    dtype: str  # NumPy's name, "bfloat16" or "string"
    shape: tuple[int, ...]
    shard: int  # the number of its data file
    offset: int  # its first byte in that file
    size: int  # in bytes
    crc32c: int  # masked, of these bytes


def recognises(path: Path) -> bool:
    """Whether a bundle without an object graph belongs to `path`, or it is a V1 file."""
    path = Path(path)
    return _is_v1(path) or (is_bundle(path) and not has_objects(path))


def is_bundle(path: Path) -> bool:
    if path.is_dir():
        return any(path.glob("*.index"))
    prefix = _prefix(path)
    return not (path == prefix and path.is_file()) and _with_ending(prefix, ".index").is_file()


def has_objects(path: Path) -> bool:
    """Whether the index of a bundle has an object graph; a damaged one has none."""
    with contextlib.suppress(CheckpointError, OSError):
        return OBJECT_GRAPH in read_index(path)[1]
    return False


def files(path: Path) -> list[Path]:
    if _is_v1(path := Path(path)):
        return [path]
    prefix, count = _prefix(path), 1
    # A damaged or missing index says nothing about the number of shards.
    with contextlib.suppress(CheckpointError, OSError):
        prefix = _existing_prefix(path)
        count = read_index(path)[0]
    return [_shard(prefix, i, count) for i in range(count)] + [_with_ending(prefix, ".index")]


@_raw.reader
def read(path: Path) -> Mapping[str, Array]:
    """All numeric tensors in key order, as read-only views of the mapped data files."""
    if path.is_file() and path == _prefix(path):
        return _read_v1(path)
    entries = read_index(path)[1]
    *shards, _ = files(path)
    if missing := [file for file in shards if not file.is_file()]:
        raise CheckpointError(f"{missing[0]}: this data file is missing; it belongs to the index")
    data = [_raw.mapped(file) for file in shards]
    if sum(entry.size for entry in entries.values()) > sum(map(len, data)):
        raise ValueError("its data files are smaller than its tensors: cut off, or others")
    arrays = LazyArrays()
    for name, entry in entries.items():
        raw = data[entry.shard][entry.offset : entry.offset + entry.size]
        if entry.dtype == "string":
            continue
        if len(raw) != entry.size or _raw.masked_crc32c(raw) != entry.crc32c:
            raise CheckpointError(
                f"{shards[entry.shard]}: {name} is cut off or its checksum does not match."
            )
        arrays.add(name, entry.shape, partial(_raw.values, raw, entry.dtype, entry.shape))
    return arrays


def read_index(path: Path) -> tuple[int, dict[str, Entry]]:
    """The number of data files, and the place of every tensor by name, in key order."""
    path = _with_ending(_existing_prefix(Path(path)), ".index")
    entries: dict[str, Entry] = {}
    with _raw.one_error(path):
        (key, head), *items = _wire.read_table(_raw.mapped(path))
        header = integers(head)
        count = header.get(1, 0)
        if key or header.get(2) or not 1 <= count <= 99_999:
            raise ValueError("does not start with the header of a little-endian bundle")
        for key, value in items:
            name = key.decode()
            entries[name] = entry = parse(value, name)
            if entry.shard >= count:
                raise ValueError(f"{name} lies in data file {entry.shard}, of {count}")
    return count, entries


def write(
    path: Path, arrays: Mapping[str, Array], strings: Mapping[str, bytes] = MappingProxyType({})
) -> None:
    """Writes `P.data-00000-of-00001` and `P.index`, in the order of the names' bytes.

    `strings` are string tensors of shape [] by name, stored among the others.
    """
    path = Path(path)
    prefix = _prefix(path)
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; expected a prefix, as {path / 'model.ckpt'}")
    if "" in arrays:
        raise CheckpointError(f"{path}: a name is empty")
    items, offset = [(b"", HEADER)], 0
    # The data file is renamed into place first: an index never points to data that is not there.
    with _raw.one_error(path), replacing(_with_ending(prefix, ".index")) as index:
        with replacing(_shard(prefix, 0, 1)) as data, data.open("wb") as file:
            for name in sorted((*arrays, *strings), key=str.encode):
                if name in strings:
                    stored, crc32c = _string(strings[name])
                    entry = Entry("string", (), 0, offset, file.write(stored), crc32c)
                else:
                    array = np.asarray(arrays[name])
                    dtype, raw = _raw.name_of(array, name, _NUMBERS), _raw.raw_bytes(array)
                    size, crc32c = file.write(raw.data), _raw.masked_crc32c(raw)
                    entry = Entry(dtype, array.shape, 0, offset, size, crc32c)
                    _raw.release(array)
                items.append((name.encode(), serialise(entry)))
                offset += entry.size
        index.write_bytes(_wire.write_table(items))


def _string(content: bytes) -> tuple[bytes, int]:
    length = struct.pack("<I", len(content))
    checked = struct.pack("<I", _raw.masked_crc32c(length)) + content
    return varint(len(content)) + checked, _raw.masked_crc32c(length + checked)


def _prefix(path: Path) -> Path:
    match = _DATA_FILE.fullmatch(path.name)
    name = match[1] if match else path.name.removesuffix(".index") or path.name
    return path.with_name(name) if path.name else path


def _existing_prefix(path: Path) -> Path:
    if not path.is_dir():
        prefix = _prefix(path)
        index = _with_ending(prefix, ".index")
        if not index.is_file():
            raise FileNotFoundError(f"{index}: no such file; the checkpoint {prefix} needs it")
        return prefix
    found = {file.name.removesuffix(".index") for file in path.glob("*.index")}
    if len(found) != 1:
        what = f"several checkpoints: {listing(found)}" if found else "no *.index file"
        raise CheckpointError(f"{path}: holds {what}; expected one, give the prefix of one")
    return path / found.pop()


def _with_ending(prefix: Path, ending: str) -> Path:
    return prefix.with_name(prefix.name + ending)


def _shard(prefix: Path, number: int, count: int) -> Path:
    return _with_ending(prefix, f".data-{number:05d}-of-{count:05d}")


def parse(message: bytes, name: str) -> Entry:
    numbers = dict.fromkeys(range(1, 7), 0)
    shape: tuple[int, ...] = ()
    for number, value, content in fields(message, name):
        if number not in numbers:
            raise ValueError(f"{name} is stored in slices; save it whole in TensorFlow")
        numbers[number] = value
        if number == 2:
            shape = tuple(integers(dim, name).get(1, 0) for _, _, dim in fields(content, name))
    dtype = _DTYPES.get(numbers[1], f"TensorFlow's number {numbers[1]}")
    if dtype != "string":
        _raw.check_size(numbers[5], dtype, shape, name)
    return Entry(dtype, shape, numbers[3], numbers[4], numbers[5], numbers[6])


def serialise(entry: Entry) -> bytes:
    """The message of an entry, byte for byte as TensorFlow writes it: proto3 leaves out zeros."""
    dims = b"".join(field(2, field(1, size) if size else b"") for size in entry.shape)
    message = field(1, _NUMBERS[entry.dtype]) + field(2, dims)
    for number, value in ((3, entry.shard), (4, entry.offset), (5, entry.size)):
        message += field(number, value) if value else b""
    if entry.crc32c:
        message += varint(6 << 3 | FIXED32) + struct.pack("<I", entry.crc32c)
    return message


def _is_v1(path: Path) -> bool:
    end = _raw.part(path, -len(_wire.MAGIC), len(_wire.MAGIC))
    return path == _prefix(path) and end == _wire.MAGIC


def _read_v1(path: Path) -> dict[str, Array]:
    """All numeric tensors in name order; slices are joined, bfloat16 is widened to float32."""
    try:
        importlib.import_module("i3d_tf")  # before TensorFlow, see there
        tf = importlib.import_module("tensorflow")
    except ImportError as error:
        raise ValueError(
            "a TensorFlow V1 checkpoint (one file) is read by TensorFlow: pip install '.[tf]'"
        ) from error
    types = tf.compat.v1.train.NewCheckpointReader(str(path)).get_variable_to_dtype_map()
    arrays: dict[str, Array] = {}
    for name in sorted(types):
        if types[name] != tf.string:
            tensor = tf.raw_ops.Restore(file_pattern=str(path), tensor_name=name, dt=types[name])
            wide = tf.cast(tensor, tf.float32) if types[name] == tf.bfloat16 else tensor
            arrays[name] = np.asarray(wide)
    return arrays
