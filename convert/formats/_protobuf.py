"""Protocol buffers on the wire: base-128 integers, and messages as numbered fields, no schema.

    for number, kind, value in fields(data): ...    # payloads are views, never copies
    bytes_field(1, string_field(1, "w") + varint_field(2, 3))

Source: https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator

import numpy as np

from convert.formats._mapped_file import Bytes

# The wire types that are in use; 3 and 4, the groups, have been deprecated since proto2.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_WIDTHS = {FIXED64: 8, FIXED32: 4}
_MOST_NUMBER = 2**29 - 1  # of a field, by the specification


def read_varint(data: bytes | memoryview, position: int, what: str = "") -> tuple[int, int]:
    """The base-128 integer (low group first) at `position`, and the position after it.

    Raises:
        ValueError: The data ends inside it, it is longer than 64 bits, or not in its shortest form
            (a writer never does that, a flipped bit does). The text starts with `what`.
    """
    value = 0
    for count in range(10):
        if position + count >= len(data):
            break
        byte = data[position + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            if value >= 2**64 or (byte == 0 and count):
                break
            return value, position + count + 1
    raise ValueError(
        f"{what and what + ': '}the integer at byte {position} runs past the end, is longer than"
        " 64 bits or not in its shortest form"
    )


def write_varint(value: int) -> bytes:
    """`value` (0..2**64-1) as bytes."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def fields(
    data: bytes | memoryview | Bytes, what: str = "a message"
) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yields field number, wire type and value of each field, in stored order.

    Integers are unsigned: a negative int64 is 2**64 too large, and a float is its bits. Whatever
    has a length (wire type BYTES: strings, messages, packed arrays) is a view of `data` that
    `fields`, `str(view, "utf-8")` and `np.frombuffer(view, ...)` take.

    Args:
        data: The message; of a mapped file only tags and lengths are touched.
        what: Names the message in errors.

    Raises:
        ValueError: The message is cut off or malformed.
    """
    view = data.data if isinstance(data, np.ndarray) else memoryview(data)
    position = 0
    while position < len(view):
        tag, position = read_varint(view, position, what)
        number, kind = tag >> 3, tag & 7
        if not 1 <= number <= _MOST_NUMBER:
            raise ValueError(f"{what} has a field with the impossible number {number}")
        if kind == VARINT:
            value, position = read_varint(view, position, what)
            yield number, kind, value
            continue
        if kind == BYTES:
            size, position = read_varint(view, position, what)
        elif kind in _WIDTHS:
            size = _WIDTHS[kind]
        else:
            raise ValueError(f"{what} has a field of unknown kind {kind}")
        if size > len(view) - position:
            raise ValueError(
                f"{what} is cut off: its field {number} needs {size} bytes, {len(view) - position}"
                " are left"
            )
        content = view[position : position + size]
        position += size
        yield number, kind, content if kind == BYTES else int.from_bytes(content, "little")


def varint_field(number: int, value: int) -> bytes:
    """A field of type int32, int64, uint32, uint64, bool or enum.

    Args:
        number: The field's number.
        value: -2**63 .. 2**64 - 1; zero is written too, which proto3's writers leave out.
    """
    return _tag(number, VARINT) + write_varint(value % 2**64)


def fixed32_field(number: int, value: int) -> bytes:
    """A field of type fixed32 (`value` in 0..2**32-1), or the bits of a float."""
    return _tag(number, FIXED32) + value.to_bytes(4, "little")


def bytes_field(number: int, content: bytes) -> bytes:
    """A field of type bytes, a message, or a packed array."""
    return header(number, len(content)) + content


def string_field(number: int, text: str) -> bytes:
    """A field of type string."""
    return bytes_field(number, text.encode())


def header(number: int, size: int) -> bytes:
    """Tag and length of a field whose `size` bytes of content are written after it."""
    return _tag(number, BYTES) + write_varint(size)


def _tag(number: int, kind: int) -> bytes:
    return write_varint(number << 3 | kind)
