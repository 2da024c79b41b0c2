"""The two messages in a TensorFlow bundle's index: its header and one entry for each tensor.

Sources: tensorflow/core/protobuf/tensor_bundle.proto, framework/{tensor_shape,types}.proto.
"""

from dataclasses import dataclass
from functools import partial

from convert.formats._mapped_file import STORED, elements
from convert.formats._protobuf import FIXED32, VARINT, bytes_field, fixed32_field, varint_field
from convert.formats._protobuf import fields as any_fields

# DataType numbers of types.proto, and NumPy's name of each type.
_DTYPES = {
    **{1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string"},
    **{8: "complex64", 9: "int64", 10: "bool", 14: "bfloat16", 17: "uint16", 18: "complex128"},
    **{19: "float16", 22: "uint32", 23: "uint64"},
}
_NUMBERS = {name: number for number, name in _DTYPES.items()}

# One shard, little-endian, version {producer: 1}: what TensorFlow writes.
HEADER = bytes.fromhex("08011a020801")

V1 = b"\x0a"  # what the header of a V1 checkpoint, a list of tensors, starts with

_fields = partial(any_fields, what="a message of the index")


@dataclass(frozen=True)
class Entry:
    """The place of one tensor.

    Attributes:
        dtype: NumPy's name of the element type, "bfloat16" or "string".
        shape: Its sizes; () is a scalar.
        shard: The number of its data file.
        offset: Its first byte in that file.
        size: Its number of bytes.
        crc32c: The masked CRC-32C of these bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc32c: int


def shards(header: bytes) -> int:
    """The number of data files of the bundle whose header is `header`, the value of the empty key.

    Raises:
        ValueError: It is a V1 checkpoint, big-endian, or malformed.
    """
    if header[:1] == V1:
        raise ValueError(
            "a TensorFlow V1 checkpoint (one file with index and data), not the index of a V2 one;"
            " give this file itself as the checkpoint, and it is read as tf1_v1_checkpoint"
        )
    count = 0
    for field, kind, value in _fields(header):
        if field == 1 and kind == VARINT and isinstance(value, int):
            count = value
        elif field == 2 and value != 0:
            raise ValueError("a big-endian bundle; only little-endian ones can be read")
    if not 1 <= count <= 99_999:
        raise ValueError(f"its header declares {count} data files; expected 1 to 99999")
    return count


def parse(message: bytes, name: str) -> Entry:
    """The entry of the tensor `name`.

    Raises:
        ValueError: The message is malformed, partitioned, or its numbers contradict each other.
    """
    numbers = {1: 0, 3: 0, 4: 0, 5: 0, 6: 0}
    shape: tuple[int, ...] = ()
    for field, kind, value in _fields(message):
        if field == 7:
            raise ValueError(
                f"{name} is stored in slices (a partitioned variable), which is not supported;"
                " save it whole in TensorFlow"
            )
        if field == 2 and isinstance(value, memoryview):
            shape = tuple(_size(dim) for number, _, dim in _fields(value) if number == 2)
        elif field in numbers and isinstance(value, int) and (field == 6) == (kind == FIXED32):
            numbers[field] = value
        else:
            raise ValueError(f"the entry of {name} has an unknown field {field} (kind {kind})")
    if numbers[1] not in _DTYPES:
        raise ValueError(f"{name} has the unsupported TensorFlow data type {numbers[1]}")
    dtype = _DTYPES[numbers[1]]
    count = elements(shape)
    if dtype != "string" and numbers[5] != count * STORED[dtype].itemsize:
        raise ValueError(f"{name}: {dtype} {list(shape)} cannot be {numbers[5]} bytes")
    return Entry(dtype, shape, numbers[3], numbers[4], numbers[5], numbers[6])


def serialise(entry: Entry) -> bytes:
    """The message of an entry, byte for byte as TensorFlow writes it.

    Raises:
        ValueError: TensorFlow bundles have no such data type.
    """
    if entry.dtype not in _NUMBERS:
        raise ValueError(f"a TensorFlow checkpoint cannot hold dtype {entry.dtype}")
    dims = b"".join(bytes_field(2, _integer(1, size)) for size in entry.shape)
    return (
        _integer(1, _NUMBERS[entry.dtype])
        + bytes_field(2, dims)
        + _integer(3, entry.shard)
        + _integer(4, entry.offset)
        + _integer(5, entry.size)
        + (fixed32_field(6, entry.crc32c) if entry.crc32c else b"")
    )


def _integer(field: int, value: int) -> bytes:
    return varint_field(field, value) if value else b""  # as proto3 leaves out zeros


def _size(dim: int | memoryview) -> int:
    """The size in a dimension's message, 0 where it is left out."""
    sizes = [] if isinstance(dim, int) else [v for number, _, v in _fields(dim) if number == 1]
    return sizes[-1] if sizes and isinstance(sizes[-1], int) else 0
