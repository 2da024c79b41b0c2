"""TensorFlow's V1 checkpoints: names, shapes and values in one file, as TF-slim published them.

    read("inception_v1.ckpt")   {name: array}; every checksum is verified

The file is a sorted table. Under the empty key stands the list of all tensors, under every other
key one slice of a tensor: all of it, but for partitioned variables. Nothing writes this format
any more, so neither does this module: it has no `write`.

Sources: tensorflow/core/util/{saved_tensor_slice.proto,saved_tensor_slice_util.h} and
framework/{tensor,tensor_shape,tensor_slice}.proto.
"""

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common.io import CheckpointError, listing
from convert.formats import _leveldb_table, _raw_values, _varint
from convert.formats._bundle_entry import DTYPES
from convert.formats._mapped_file import Bytes, last_bytes, mapped, one_error
from convert.formats._protobuf import FIXED32, FIXED64, VARINT, fields
from convert.formats._raw_values import Array

NAME = "tf1_v1_checkpoint"
SUFFIXES = ()

_SHARD = re.compile(r".+-\d{5}-of-(\d{5})")

# The field of TensorProto that holds the values of each type, and the wire type of one value there.
_FIELDS = {
    **dict.fromkeys(["int8", "int16", "int32", "uint8", "uint16"], (7, VARINT)),
    **dict.fromkeys(["float16", "bfloat16"], (13, VARINT)),  # the bits
    "float32": (5, FIXED32),
    "float64": (6, FIXED64),
    "complex64": (9, FIXED32),
    "int64": (10, VARINT),
    "bool": (11, VARINT),
    "complex128": (12, FIXED64),
}
_CONTENT = 4  # the field with the bytes of values of any type
_MOST_FIELDS = 50_000  # of a message: two bytes in the file are hundreds in memory

# Wire type and value of everything in a message, by field number.
_Message = dict[int, list[tuple[int, int | memoryview]]]
_Window = tuple[slice, ...]


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """What the list of all tensors says about one."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def recognises(path: Path) -> bool:
    """Whether `path` is one file: a table that begins with the list of its tensors."""
    path = Path(path)
    # Every error is one of these two behind `one_error`.
    with contextlib.suppress(CheckpointError, OSError), one_error(path):
        if last_bytes(path, len(_leveldb_table.MAGIC)) == _leveldb_table.MAGIC:
            key, value = next(_leveldb_table.read(mapped(path)), (b"-", b""))
            return key == b"" and value[:1] == b"\x0a"
    return False


def files(path: Path) -> list[Path]:
    """The one file."""
    return [Path(path)]


def read(path: Path) -> dict[str, Array]:
    """All tensors in key order; slices are put together, string tensors left out.

    Floats are read-only views of the table's entries, which are in memory once.

    Raises:
        CheckpointError: The file is damaged, one of several that belong together, or holds no
            array.
        FileNotFoundError: There is no such file.
    """
    path = Path(path)
    with one_error(path):
        match = _SHARD.fullmatch(path.name)
        if match and int(match[1]) != 1:
            raise ValueError(
                f"is one of the {int(match[1])} files of a V1 checkpoint, which is not supported;"
                " save it in TensorFlow with tf.train.Saver(sharded=False)"
            )
        items = _leveldb_table.read(mapped(path))
        tensors = _tensors(items)
        slices: dict[str, list[tuple[_Window, Array]]] = {}
        for _, value in items:
            tensor, window, array = _slice(value, tensors)
            if array is not None:
                slices.setdefault(tensor.name, []).append((window, array))
        missing = [t.name for t in tensors.values() if t.dtype != "string" and t.name not in slices]
        if missing:
            raise ValueError(f"its list of tensors names {listing(missing)}, but no values of them")
        if not slices:
            raise ValueError("holds no array")
        return {name: _joined(tensors[name], found) for name, found in slices.items()}


def _tensors(items: Iterator[tuple[bytes, bytes]]) -> dict[str, _Tensor]:
    """The list of all tensors (SavedTensorSliceMeta), which is the first entry."""
    key, value = next(items, (b"-", b""))
    if key != b"" or value[:1] != b"\x0a":
        raise ValueError("does not begin with a list of tensors; it is not a V1 checkpoint")
    tensors: dict[str, _Tensor] = {}
    for meta in _messages(_message(_one(_message(value), 1)), 1):
        name = _text(meta, 1)
        number = _integer(meta, 3)
        if number not in DTYPES or DTYPES[number] not in {*_FIELDS, "string"}:
            raise ValueError(f"{name} has the unsupported TensorFlow data type {number}")
        if name in tensors:
            raise ValueError(f"its list of tensors names {name} twice")
        shape = tuple(_integer(dim, 1) for dim in _messages(_message(_one(meta, 2)), 2))
        _raw_values.elements(shape)  # checks the dimensions
        tensors[name] = _Tensor(name, DTYPES[number], shape)
    return tensors


def _slice(entry: bytes, tensors: dict[str, _Tensor]) -> tuple[_Tensor, _Window, Array | None]:
    """The tensor, place and values of one SavedSlice; strings have no values here."""
    saved = _message(_one(_message(entry), 2))
    name = _text(saved, 1)
    if name not in tensors:
        raise ValueError(f"holds values of {name}, which its list of tensors does not name")
    tensor = tensors[name]
    window = _window(_messages(_message(_one(saved, 2)), 1), tensor)
    if tensor.dtype == "string":
        return tensor, window, None
    shape = tuple(part.stop - part.start for part in window)
    return tensor, window, _values(_message(_one(saved, 3)), tensor, shape)


def _window(extents: list[_Message], tensor: _Tensor) -> _Window:
    """Which part of the tensor a TensorSliceProto means; without a length it is all of an axis."""
    if len(extents) != len(tensor.shape):
        raise ValueError(
            f"a slice of {tensor.name} has {len(extents)} axes; expected {len(tensor.shape)}"
        )
    window = []
    for extent, size in zip(extents, tensor.shape, strict=True):
        start = _integer(extent, 1)
        stop = start + _integer(extent, 2) if 2 in extent else size
        if not start <= stop <= size:
            raise ValueError(f"a slice of {tensor.name} spans {start}..{stop} of an axis of {size}")
        window.append(slice(start, stop))
    return tuple(window)


def _values(proto: _Message, tensor: _Tensor, shape: tuple[int, ...]) -> Array:
    """The values of a TensorProto, whose own type and shape are seldom set."""
    declared = _integer(proto, 1)
    if declared and DTYPES.get(declared) != tensor.dtype:
        raise ValueError(f"{tensor.name} is {tensor.dtype}, but has values of type {declared}")
    number, kind = _FIELDS[tensor.dtype]
    if _CONTENT in proto:
        raw = np.frombuffer(_one(proto, _CONTENT), np.uint8)
    else:
        raw = np.frombuffer(_packed(proto.get(number, []), kind, tensor.name), np.uint8)
        if kind == VARINT:
            raw = _narrowed(_integers(raw, tensor.name), tensor)
    stored = _raw_values.STORED[tensor.dtype]
    if len(raw) != _raw_values.elements(shape) * stored.itemsize:
        raise ValueError(f"{tensor.name}: {tensor.dtype} {list(shape)} cannot be {len(raw)} bytes")
    return _raw_values.values(raw, tensor.dtype, shape)


def _packed(values: list[tuple[int, int | memoryview]], kind: int, name: str) -> bytes | memoryview:
    """The values of a repeated field behind each other, as it holds them when it is packed."""
    parts: list[bytes | memoryview] = []
    for wire, value in values:
        if isinstance(value, memoryview):
            parts.append(value)
        elif wire == kind:
            parts.append(
                _varint.write(value)
                if kind == VARINT
                else value.to_bytes(4 if kind == FIXED32 else 8, "little")
            )
        else:
            raise ValueError(f"{name} has a value of wire type {wire}; expected {kind}")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _integers(raw: Bytes, name: str) -> Array:
    """[N] int64 of packed varints."""
    ends = np.flatnonzero(raw < 0x80)
    if len(raw) and (len(ends) == 0 or ends[-1] != len(raw) - 1):
        raise ValueError(f"the values of {name} end inside an integer")
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    sizes = ends - starts + 1
    if sizes.max(initial=0) > 10:
        raise ValueError(f"{name} has a value that is longer than 64 bits")
    out = np.zeros(len(ends), np.uint64)
    for at in range(sizes.max(initial=0)):  # the low seven bits come first
        longer = sizes > at
        out[longer] |= (raw[starts[longer] + at] & 0x7F).astype(np.uint64) << np.uint64(7 * at)
    return out.view(np.int64)


def _narrowed(integers: Array, tensor: _Tensor) -> Bytes:
    """The bytes of [N] int64 as the tensor's type, or as the unsigned bits of it."""
    stored = _raw_values.STORED[tensor.dtype]
    narrow = stored if stored.kind in "iu" else np.dtype(f"u{stored.itemsize}")
    limits = np.iinfo(narrow)
    if len(integers) and not limits.min <= integers.min() <= integers.max() <= limits.max:
        raise ValueError(f"{tensor.name} has a value outside {limits.min}..{limits.max}")
    return integers.astype(narrow).view(np.uint8)


def _joined(tensor: _Tensor, slices: list[tuple[_Window, Array]]) -> Array:
    """The whole of a tensor, which its slices must cover exactly once."""
    sizes = sum(array.size for _, array in slices)
    if sizes != _raw_values.elements(tensor.shape):
        raise ValueError(
            f"{tensor.name} {list(tensor.shape)} has slices of {sizes} values altogether"
        )
    if len(slices) == 1:
        return slices[0][1]
    whole = np.empty(tensor.shape, slices[0][1].dtype)
    covered = np.zeros(tensor.shape, bool)
    for window, array in slices:
        if covered[window].any():
            raise ValueError(f"the slices of {tensor.name} overlap")
        covered[window] = True
        whole[window] = array
    return whole


def _message(data: bytes | memoryview) -> _Message:
    message: _Message = {}
    for count, (number, kind, value) in enumerate(fields(data, "a message of the table")):
        if count >= _MOST_FIELDS:
            raise ValueError(f"a message of the table has more than {_MOST_FIELDS} fields")
        message.setdefault(number, []).append((kind, value))
    return message


def _all(message: _Message, number: int) -> list[memoryview]:
    """Every field of a number, which has a length: texts or messages."""
    found = []
    for kind, value in message.get(number, []):
        if not isinstance(value, memoryview):
            raise ValueError(f"field {number} of a message has wire type {kind}; expected a length")
        found.append(value)
    return found


def _one(message: _Message, number: int) -> memoryview:
    """The last such field, as protocol buffers want it; nothing at all where it is left out."""
    return (_all(message, number) or [memoryview(b"")])[-1]


def _messages(message: _Message, number: int) -> list[_Message]:
    return [_message(inner) for inner in _all(message, number)]


def _integer(message: _Message, number: int) -> int:
    """An integer field; zero where it is left out, as protocol buffers do with zeros."""
    kind, value = message.get(number, [(VARINT, 0)])[-1]
    if kind != VARINT or not isinstance(value, int):
        raise ValueError(f"field {number} of a message has wire type {kind}; expected an integer")
    return value


def _text(message: _Message, number: int) -> str:
    return str(_one(message, number), "utf-8")
