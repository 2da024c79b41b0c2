"""TensorFlow's V2 checkpoints ("bundles"): `P.index` and `P.data-00000-of-00001`.

    read_index("model.ckpt")   {name: Entry}, without the data
    read("model.ckpt")         {name: array}; every checksum is verified
    write("model.ckpt", ...)   the same bytes as TensorFlow's own writer

A path is the prefix P, either file, or a folder. DeepMind's five I3D checkpoints are of this
format; the checkpoints of objects in `tf2_checkpoint` are bundles too.
"""

import contextlib
import re
import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Literal

import numpy as np

from common.io import CheckpointError, listing, replacing
from convert.arrays import Array, LazyArrays
from convert.formats import _bundle_entry, _leveldb_table
from convert.formats._bundle_entry import Entry
from convert.formats._mapped_file import (
    Bytes,
    first_bytes,
    last_bytes,
    mapped,
    masked_crc32c,
    name_of,
    one_error,
    raw_bytes,
    release,
    values,
)
from convert.formats._protobuf import write_varint

NAME = "tf1_checkpoint"
SUFFIXES = (".ckpt", ".index")

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # the key that tells TensorFlow 2's objects

_DATA_FILE = re.compile(r"(.+)\.data-\d{5}-of-\d{5}")
_MODEL_PATH = re.compile(r'^[ \t]*model_checkpoint_path:[ \t]*"([^"\n]*)"', re.MULTILINE)
_STATE_SIZE = 2**20  # bytes of the file `checkpoint`, whose first line is the path


def recognises(path: Path) -> bool:
    """Whether an index file belongs to `path` (a prefix, index, data file or folder).

    Damaged indexes count too; V1 checkpoints and those of TensorFlow 2's objects do not.
    """
    path = Path(path)
    return is_bundle(path) and kind_of(path) == "names"


def is_bundle(path: Path) -> bool:
    """Whether an index belongs to `path`, whatever it holds."""
    if path.is_dir():
        return any(name.suffix == ".index" for name in path.iterdir())
    if path.is_file() and not _DATA_FILE.fullmatch(path.name):
        return last_bytes(path, 8) == _leveldb_table.MAGIC
    # A damaged index is still an index when its data stands beside it.
    prefix = _prefix(path)
    index = _with_ending(prefix, ".index")
    return index.is_file() and (
        last_bytes(index, 8) == _leveldb_table.MAGIC or _shard(prefix, 0, 1).is_file()
    )


def kind_of(path: Path) -> Literal["v1", "objects", "names"]:
    """What the keys of an index are: of a V1 file, paths of objects, or names of variables.

    A damaged index counts as one of names.
    """
    # `one_error` turns every error into one of these two.
    with contextlib.suppress(CheckpointError, OSError), one_error(path):
        index = path if path.is_file() and not _DATA_FILE.fullmatch(path.name) else None
        index = index or _with_ending(_existing_prefix(path), ".index")
        for key, value in _leveldb_table.read(mapped(index)):
            if key == b"" and value[:1] == _bundle_entry.V1:
                return "v1"
            if key >= OBJECT_GRAPH.encode():
                return "objects" if key == OBJECT_GRAPH.encode() else "names"
    return "names"


def files(path: Path) -> list[Path]:
    """The data files and the index of the checkpoint at `path`, or of one to be written there."""
    path = Path(path)
    prefix, count = _prefix(path), 1
    # A damaged or missing index says nothing about the number of shards.
    with contextlib.suppress(CheckpointError, OSError):
        prefix = _existing_prefix(path)
        count = _index(_with_ending(prefix, ".index"))[0]
    return [_shard(prefix, i, count) for i in range(count)] + [_with_ending(prefix, ".index")]


def read_index(path: Path) -> dict[str, Entry]:
    """Name and place of every tensor, in key order; the data files are not needed.

    Raises:
        CheckpointError: The index is damaged or of a kind that cannot be read.
        FileNotFoundError: There is no index.
    """
    return _index(_with_ending(_existing_prefix(Path(path)), ".index"))[1]


def read(path: Path) -> Mapping[str, Array]:
    """All numeric tensors in key order, as read-only views of the mapped data files.

    Raises:
        CheckpointError: Index or data are damaged, a data file is missing, a tensor is partitioned,
            or there is none but strings.
        FileNotFoundError: There is no index.
    """
    prefix = _existing_prefix(Path(path))
    count, entries = _index(_with_ending(prefix, ".index"))
    data: dict[int, Bytes] = {}
    arrays = LazyArrays()
    for name, entry in entries.items():
        file = _shard(prefix, entry.shard, count)
        with one_error(file):
            if entry.shard >= count:
                raise ValueError(
                    f"{name} lies in data file {entry.shard}; the index declares {count}"
                )
            if entry.shard not in data:
                if not file.is_file():
                    raise ValueError("this data file is missing; it belongs beside the index")
                data[entry.shard] = mapped(file)
            raw = data[entry.shard][entry.offset : entry.offset + entry.size]
            if len(raw) != entry.size:
                raise ValueError(
                    f"{name} lies at bytes {entry.offset}..{entry.offset + entry.size}, but the"
                    f" file has {len(data[entry.shard])}: it is cut off or of another checkpoint"
                )
            if entry.dtype == "string":
                continue
            if (actual := masked_crc32c(raw)) != entry.crc32c:
                raise ValueError(
                    f"{name} has checksum {actual:#010x}, the index says {entry.crc32c:#010x}: the"
                    " data is damaged or of another checkpoint"
                )
            arrays.add(name, entry.shape, partial(values, raw, entry.dtype, entry.shape))
    if not arrays:
        raise CheckpointError(f"{prefix}: holds no array")
    return arrays


def write(
    path: Path, arrays: Mapping[str, Array], strings: Mapping[str, bytes] = MappingProxyType({})
) -> None:
    """Writes `P.data-00000-of-00001` and `P.index`, and nothing else in the folder.

    Args:
        path: The prefix P, or the name of either file.
        arrays: Tensors by name; stored in the order of the names' bytes.
        strings: String tensors of shape [] by name, stored among the others.

    Raises:
        CheckpointError: A name is empty or an array is of a type that the format lacks.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(
            f"{path}: is a folder; expected a prefix such as {path / 'model.ckpt'}"
        )
    prefix = _prefix(path)
    if "" in arrays:
        raise CheckpointError(f"{path}: a tensor has the empty name, which is the header's place")
    names = sorted((*arrays, *strings), key=lambda name: name.encode())
    items, offset = [(b"", _bundle_entry.HEADER)], 0
    # The data file is renamed into place first: an index never points to data that is not there.
    with one_error(path), replacing(_with_ending(prefix, ".index")) as index:
        with replacing(_shard(prefix, 0, 1)) as data, data.open("wb") as file:
            for name in names:
                if name in strings:
                    entry = _write_string(file, strings[name], offset)
                else:
                    entry = _write_array(file, name, np.asarray(arrays[name]), offset)
                items.append((name.encode(), _bundle_entry.serialise(entry)))
                offset += entry.size
        index.write_bytes(_leveldb_table.write(items))


def _prefix(path: Path) -> Path:
    """The prefix that a file name stands for."""
    match = _DATA_FILE.fullmatch(path.name)
    name = match[1] if match else path.name.removesuffix(".index") or path.name
    return path.with_name(name) if path.name else path


def _existing_prefix(path: Path) -> Path:
    """The prefix of the checkpoint at `path`.

    Raises:
        CheckpointError: A folder holds none or several, or the file cannot be one of a pair.
        FileNotFoundError: There is no index.
    """
    if path.is_dir():
        return _prefix_in_folder(path)
    if path.is_file() and path.suffix != ".index" and not _DATA_FILE.fullmatch(path.name):
        with one_error(path):
            _index(path)  # says so if it is a V1 checkpoint
            raise ValueError(
                "is the index of a bundle; rename it to end in .index, beside its data"
            )
    prefix = _prefix(path)
    index = _with_ending(prefix, ".index")
    if not index.is_file():
        raise FileNotFoundError(f"{index}: no such file; the checkpoint {prefix} needs it")
    return prefix


def _prefix_in_folder(folder: Path) -> Path:
    found = {
        file.name.removesuffix(".index") for file in folder.iterdir() if file.suffix == ".index"
    }
    state = folder / "checkpoint"
    if state.is_file():
        # Often an absolute path of the machine that trained: only the last component is meant.
        text = first_bytes(state, _STATE_SIZE).decode("utf-8", errors="replace")
        match = _MODEL_PATH.search(text)
        name = re.split(r"[/\\]", match[1])[-1] if match else ""
        if name in found:
            return folder / name
    if len(found) != 1:
        what = f"several checkpoints: {listing(found)}" if found else "no *.index file"
        raise CheckpointError(
            f"{folder}: holds {what}; expected one, give the prefix of a checkpoint"
        )
    return folder / found.pop()


def _with_ending(prefix: Path, ending: str) -> Path:
    return prefix.with_name(prefix.name + ending)


def _shard(prefix: Path, number: int, count: int) -> Path:
    return _with_ending(prefix, f".data-{number:05d}-of-{count:05d}")


def _index(path: Path) -> tuple[int, dict[str, Entry]]:
    """The number of data files, and name and place of every tensor; none overlap."""
    entries = {}
    with one_error(path):
        items = _leveldb_table.read(mapped(path))
        key, value = next(items, (b"-", b""))
        if key != b"":
            raise ValueError("its first key is not the header's; it is not a checkpoint index")
        count = _bundle_entry.shards(value)
        for key, value in items:
            if key[:1] == b"\0":  # the binary key of a slice
                raise ValueError("holds slices of a partitioned variable, which is not supported")
            name = key.decode("utf-8")
            entries[name] = _bundle_entry.parse(value, name)
        end = (0, 0)  # overlapping tensors would let a small file stand for any amount of data
        for name, entry in sorted(entries.items(), key=lambda item: _place(item[1])):
            if entry.size and _place(entry) < end:
                raise ValueError(f"{name} overlaps another tensor in the data file")
            end = max(end, (entry.shard, entry.offset + entry.size))
    return count, entries


def _place(entry: Entry) -> tuple[int, int]:
    return entry.shard, entry.offset


def _write_array(file: BinaryIO, name: str, array: Array, offset: int) -> Entry:
    dtype = name_of(array, name)
    raw = raw_bytes(array)
    file.write(raw.data)
    release(array)
    return Entry(dtype, array.shape, 0, offset, len(raw), masked_crc32c(raw))


def _write_string(file: BinaryIO, content: bytes, offset: int) -> Entry:
    """Writes a tensor of one string: its length, the checksum of that, and its bytes.

    The entry's checksum is of the same, but for the length as u32.
    """
    length = struct.pack("<I", len(content))
    checked = struct.pack("<I", masked_crc32c(length)) + content
    stored = write_varint(len(content)) + checked
    file.write(stored)
    return Entry("string", (), 0, offset, len(stored), masked_crc32c(length + checked))
