"""The messages of an ONNX model as protocol buffers.

A model is `model_start`, its graph, `model_end`; a graph is any number of the other messages in
this order, each with its field's tag.

Source of the field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from convert.formats import _raw_values
from convert.formats._mapped_file import Bytes
from convert.formats._protobuf import (
    bytes_field,
    fields,
    fixed32_field,
    header,
    string_field,
    varint_field,
)
from convert.formats._raw_values import Array

Attribute = int | float | str | Sequence[int]

_DATA_TYPES = {"float32": 1, "int64": 7}  # TensorProto.DataType


def model_start(ir_version: int, opset: int, producer: str, graph_size: int) -> bytes:
    """A ModelProto up to its graph of `graph_size` bytes."""
    return (
        varint_field(1, ir_version)
        + string_field(2, producer)
        + bytes_field(8, string_field(1, "") + varint_field(2, opset))
        + header(7, graph_size)
    )


def node_message(
    op: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Attribute]
) -> bytes:
    """A node with one output, called like it."""
    message = b"".join(string_field(1, name) for name in inputs)
    message += string_field(2, output) + string_field(3, output) + string_field(4, op)
    message += b"".join(
        bytes_field(5, _attribute(name, value)) for name, value in attributes.items()
    )
    return bytes_field(1, message)


def graph_name(name: str) -> bytes:
    """The name of the graph."""
    return string_field(2, name)


def tensor_start(name: str, array: Array) -> bytes:
    """An initialiser up to its raw data.

    Raises:
        ValueError: The array is neither float32 nor int64.
    """
    dtype = _raw_values.name_of(array, name)
    if dtype not in _DATA_TYPES:
        raise ValueError(f"{name} has dtype {dtype}; expected {' or '.join(_DATA_TYPES)}")
    message = b"".join(varint_field(1, size) for size in array.shape)
    message += varint_field(2, _DATA_TYPES[dtype]) + string_field(8, name)
    message += header(9, array.nbytes)
    return header(5, len(message) + array.nbytes) + message


def input_message(name: str, sizes: Sequence[int | str]) -> bytes:
    """A float32 input; a size that is a name is free."""
    return bytes_field(11, _value(name, sizes))


def output_message(name: str, sizes: Sequence[int | str]) -> bytes:
    """A float32 output; a size that is a name is free."""
    return bytes_field(12, _value(name, sizes))


def model_end(metadata: Mapping[str, str]) -> bytes:
    """What stands behind the graph of a ModelProto."""
    return b"".join(
        bytes_field(14, string_field(1, key) + string_field(2, value))
        for key, value in metadata.items()
    )


def tensors(model: Bytes) -> Iterator[tuple[str, Array]]:
    """Name and values of every initialiser of a model, as views.

    Raises:
        ValueError: A message is malformed, or a tensor is of another kind than those written here.
    """
    for number, _, graph in fields(model, "the model"):
        if number == 7 and isinstance(graph, memoryview):
            for inner, _, tensor in fields(graph, "the graph"):
                if inner == 5 and isinstance(tensor, memoryview):
                    yield _tensor(tensor)


def _attribute(name: str, value: Attribute) -> bytes:
    # The last number is the AttributeProto.AttributeType.
    match value:
        case int():
            content, kind = varint_field(3, value), 2
        case float():
            (bits,) = struct.unpack("<I", struct.pack("<f", value))
            content, kind = fixed32_field(2, bits), 1
        case str():
            content, kind = string_field(4, value), 3
        case _:
            content, kind = b"".join(varint_field(8, number) for number in value), 7
    return string_field(1, name) + content + varint_field(20, kind)


def _value(name: str, sizes: Sequence[int | str]) -> bytes:
    shape = b"".join(
        bytes_field(1, string_field(2, size) if isinstance(size, str) else varint_field(1, size))
        for size in sizes
    )
    tensor = varint_field(1, _DATA_TYPES["float32"]) + bytes_field(2, shape)
    return string_field(1, name) + bytes_field(2, bytes_field(1, tensor))


def _tensor(message: memoryview) -> tuple[str, Array]:
    shape: list[int] = []
    name, kind, raw = "", 0, memoryview(b"")
    for number, _, value in fields(message, "a tensor"):
        match number, value:
            case 1, int():
                shape.append(value)
            case 2, int():
                kind = value
            case 8, memoryview():
                name = str(value, "utf-8")
            case 9, memoryview():
                raw = value
    dtypes = [dtype for dtype, number in _DATA_TYPES.items() if number == kind]
    if not dtypes:
        raise ValueError(f"{name[:200]} has the type {kind}; expected {_DATA_TYPES}")
    stored = _raw_values.STORED[dtypes[0]]
    if len(raw) != _raw_values.elements(shape) * stored.itemsize:
        raise ValueError(f"{name[:200]} has {len(raw)} bytes; expected {dtypes[0]} {shape}")
    array: Array = np.frombuffer(raw, stored).reshape(shape)
    return name, array
