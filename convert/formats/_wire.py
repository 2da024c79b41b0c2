"""The bytes of TensorFlow's and MindSpore's files: protocol buffers, and LevelDB's sorted tables.

Protocol buffers are base-128 integers, and messages as numbered fields
(https://protobuf.dev/programming-guides/encoding/). A table, with TensorFlow's settings, is

    data block ... | metaindex block (empty) | index block | footer (48 bytes)

A block is its entries, the offsets of its restart points (u32 each) and their count; behind it
stand one byte for the compression (0: none) and the masked CRC-32C of both. An entry leaves out the
bytes its key shares with the previous key, except at a restart point.
"""

import struct
from collections.abc import Iterator, Sequence

from convert.formats import _raw

# The wire types that are in use; 3 and 4, the groups, have been deprecated since proto2.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)  # the last eight bytes of the file

_FOOTER = 48
_TRAILER = 5  # compression byte and checksum
_RESTART_INTERVAL = 16
# Shared prefixes let a small block declare gigabytes of keys.
_MOST_KEY_BYTES = 16 * 2**20


def read_varint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """The base-128 integer (low group first) at `position`, and the position after it."""
    value = 0
    for count, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80 and value < 2**64:
            return value, position + count + 1
    raise ValueError(f"is cut off or damaged: no integer of 64 bits at byte {position}")


def varint(value: int) -> bytes:
    """`value` (0..2**64-1) as bytes."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def fields(
    data: bytes | memoryview, what: str = "a message"
) -> Iterator[tuple[int, int, memoryview]]:
    """Yields number, integer and content of each field, in stored order.

    Whatever has a length has a content, a view of `data`; others an unsigned integer, so that a
    negative int64 is 2**64 too large, and a float its bits. Errors call the message `what`.
    """
    view, position = memoryview(data), 0
    while position < len(view):
        tag, position = read_varint(view, position)
        kind = tag & 7
        size = _WIDTHS.get(kind, 0)
        if kind not in (VARINT, BYTES, *_WIDTHS):
            raise ValueError(f"{what} has a field of unknown kind {kind}")
        value = 0
        if kind == VARINT:
            value, position = read_varint(view, position)
        elif kind == BYTES:
            size, position = read_varint(view, position)
        content = view[position : position + size]
        position += size
        if position > len(view):
            raise ValueError(f"{what} is cut off: its last field needs {size} bytes")
        if kind in _WIDTHS:
            value, content = int.from_bytes(content, "little"), view[:0]
        yield tag >> 3, value, content


def integers(data: bytes | memoryview, what: str = "a message") -> dict[int, int]:
    """The last integer of each field by its number."""
    return {number: value for number, value, _ in fields(data, what)}


def field(number: int, value: int | bytes) -> bytes:
    """A field: an integer or enum (0..2**64-1), or bytes, text in UTF-8 or a message."""
    if isinstance(value, bytes):
        return header(number, len(value)) + value
    return varint(number << 3 | VARINT) + varint(value)


def header(number: int, size: int) -> bytes:
    """Tag and length of a field whose `size` bytes of content are written after it."""
    return varint(number << 3 | BYTES) + varint(size)


def read_table(data: _raw.Bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields key and value of every entry of a table, in key order."""
    footer = data[-_FOOTER:].tobytes()
    if len(footer) < _FOOTER or not footer.endswith(MAGIC):
        raise ValueError("does not end like a table: the file is cut off or something else")
    position, last, key_bytes = 0, None, 0
    for _ in range(3):  # to the offset of the index block
        index, position = read_varint(footer, position)
    for _, handle in _entries(_block(data, index, read_varint(footer, position)[0])):
        offset, position = read_varint(handle, 0)
        for key, value in _entries(_block(data, offset, read_varint(handle, position)[0])):
            key_bytes += len(key)
            if (last is not None and key <= last) or key_bytes > _MOST_KEY_BYTES:
                raise ValueError(f"key {key[:80]!r} is out of order, or all are too long together")
            last = key
            yield key, value


def write_table(items: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The table of sorted `items`, as TensorFlow writes it up to 256 KiB (one block)."""
    last = items[-1][0]
    rest = last.lstrip(b"\xff")  # LevelDB's index has a short key that is not below the last one
    key = last[: len(last) - len(rest)] + bytes([rest[0] + 1]) if rest else last
    out, data = _append(b"", items)
    out, metaindex = _append(out, [])
    out, index = _append(out, [(key, data)])
    return out + (metaindex + index).ljust(_FOOTER - len(MAGIC), b"\0") + MAGIC


def _append(out: bytes, items: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Adds a block of `items`; returns the table and the block's handle: its offset and size."""
    block, last, restarts = bytearray(), b"", [0]
    for number, (key, value) in enumerate(items):
        shared = next(
            (i for i, byte in enumerate(last) if key[i : i + 1] != last[i : i + 1]), len(last)
        )
        if number % _RESTART_INTERVAL == 0:
            shared = 0
            restarts[number // _RESTART_INTERVAL :] = [len(block)]
        block += varint(shared) + varint(len(key) - shared) + varint(len(value))
        block += key[shared:] + value
        last = key
    block += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    handle = varint(len(out)) + varint(len(block))
    stored = bytes(block) + b"\0"  # uncompressed
    return out + stored + struct.pack("<I", _raw.masked_crc32c(stored)), handle


def _block(data: _raw.Bytes, offset: int, size: int) -> bytes:
    stored = data[offset : offset + size + _TRAILER].tobytes()
    checksum = struct.pack("<I", _raw.masked_crc32c(stored[:-4]))
    if len(stored) != size + _TRAILER or stored[-4:] != checksum or stored[size]:
        raise ValueError(f"the block at byte {offset} is damaged or compressed: fetch it again")
    return stored[:size]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end = len(block) - 4 - 4 * restarts
    position, key = 0, b""
    while position < end:
        shared, position = read_varint(block, position)
        unshared, position = read_varint(block, position)
        size, position = read_varint(block, position)
        if shared > len(key) or position + unshared + size > end:
            raise ValueError("a table entry runs past the end of its block")
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + size]
        position += size
