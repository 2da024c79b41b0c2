"""The sorted table of a TensorFlow checkpoint's index: LevelDB's format, TensorFlow's settings.

    data block ... | metaindex block (empty) | index block | footer (48 bytes)

A block is its entries, the offsets of its restart points (u32 each) and their count; behind it
stand one byte for the compression and the masked CRC-32C of both. An entry leaves out the bytes its
key shares with the previous key, except at a restart point. TensorFlow writes blocks uncompressed;
Google-internal builds compress them with snappy.
Source: github.com/google/snappy/blob/main/format_description.txt
"""

import struct
from collections.abc import Iterable, Iterator

from convert.formats._mapped_file import Bytes, masked_crc32c
from convert.formats._protobuf import read_varint, write_varint

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)  # the last eight bytes of the file

_FOOTER = 48
_TRAILER = 5  # compression byte and checksum
_BLOCK_SIZE = 262_144  # TensorFlow's target
_RESTART_INTERVAL = 16
# Shared prefixes let a small block declare gigabytes of keys.
_MOST_KEY_BYTES = 16 * 2**20
# The densest element of snappy, a copy of three bytes, yields 64: a longer length is a lie.
_LARGEST_RATIO = 22


def read(data: Bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields key and value of every entry, in key order.

    Args:
        data: [N] bytes of the whole table file.

    Raises:
        ValueError: A checksum does not match or the table is malformed.
    """
    footer = data[-_FOOTER:].tobytes()
    if len(footer) < _FOOTER or not footer.endswith(MAGIC):
        raise ValueError(
            f"does not end like a table: the last 8 bytes are {footer[-8:].hex()}, expected"
            f" {MAGIC.hex()}; the file is cut off or something else"
        )
    meta, position = _handle(footer, 0)
    index, position = _handle(footer, position)
    if any(footer[position : _FOOTER - len(MAGIC)]):
        raise ValueError("the padding of its footer is not zero")
    _block(data, *meta)
    last, end, key_bytes = None, 0, 0
    for _, value in _entries(_block(data, *index)):
        (offset, size), _ = _handle(value, 0)
        if offset < end:  # one block many times over would take any amount of time
            raise ValueError(f"the table block at byte {offset} overlaps the block before it")
        end = offset + size + _TRAILER
        for key, content in _entries(_block(data, offset, size)):
            if last is not None and key <= last:
                raise ValueError(f"key {key[:80]!r} is not above the key before it")
            key_bytes += len(key)
            if key_bytes > _MOST_KEY_BYTES:
                raise ValueError(f"its keys are longer than {_MOST_KEY_BYTES} bytes together")
            last = key
            yield key, content


def write(items: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The table of `items`, which are sorted by key; the same bytes as TensorFlow writes."""
    out = bytearray()
    index, block = _Block(restart_interval=1), _Block()
    handle = b""  # of the block before, which is not in the index yet
    last = b""
    for key, value in items:
        if handle:
            index.add(_separator(last, key), handle)
            handle = b""
        block.add(key, value)
        if block.size() >= _BLOCK_SIZE:
            handle, last, block = _append(out, block), block.last, _Block()
    if block.buffer:
        handle, last = _append(out, block), block.last
    if handle:
        index.add(_separator(last, b""), handle)
    handles = _append(out, _Block()) + _append(out, index)
    return bytes(out + handles.ljust(_FOOTER - len(MAGIC), b"\0") + MAGIC)


class _Block:
    """A block while it is written."""

    def __init__(self, restart_interval: int = _RESTART_INTERVAL) -> None:
        self.buffer = bytearray()
        self.last = b""
        self._interval = restart_interval
        self._restarts = [0]
        self._since_restart = 0

    def add(self, key: bytes, value: bytes) -> None:
        if self._since_restart == self._interval:
            self._restarts.append(len(self.buffer))
            self._since_restart = 0
        shared = _common_prefix(self.last, key) if self._since_restart else 0
        for number in (shared, len(key) - shared, len(value)):
            self.buffer += write_varint(number)
        self.buffer += key[shared:] + value
        self.last = key
        self._since_restart += 1

    def size(self) -> int:
        return len(self.buffer) + 4 * len(self._restarts) + 4

    def content(self) -> bytes:
        restarts = struct.pack(f"<{len(self._restarts) + 1}I", *self._restarts, len(self._restarts))
        return bytes(self.buffer) + restarts


def _append(out: bytearray, block: _Block) -> bytes:
    """Adds an uncompressed block and its trailer; returns its handle."""
    content = block.content()
    handle = write_varint(len(out)) + write_varint(len(content))
    out += content + b"\0" + struct.pack("<I", masked_crc32c(content + b"\0"))
    return handle


def _common_prefix(first: bytes, second: bytes) -> int:
    """The number of bytes that both start with."""
    most = min(len(first), len(second))
    return next((at for at in range(most) if first[at] != second[at]), most)


def _separator(last: bytes, following: bytes) -> bytes:
    """A short key from `last` on and below `following` (none: b""), as LevelDB chooses it."""
    if not following:
        at = len(last) - len(last.lstrip(b"\xff"))
        return last[:at] + bytes([last[at] + 1]) if at < len(last) else last
    at = _common_prefix(last, following)
    if at < min(len(last), len(following)) and last[at] < 0xFF and last[at] + 1 < following[at]:
        return last[:at] + bytes([last[at] + 1])
    return last


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, and the position after them."""
    offset, position = read_varint(data, position)
    size, position = read_varint(data, position)
    return (offset, size), position


def _block(data: Bytes, offset: int, size: int) -> bytes:
    """The content of one block, checked and decompressed."""
    end = offset + size + _TRAILER
    if end > len(data) - _FOOTER:
        raise ValueError(
            f"a block at bytes {offset}..{end} reaches past the {len(data)} bytes of the file"
        )
    stored = data[offset:end].tobytes()
    (checksum,) = struct.unpack_from("<I", stored, size + 1)
    actual = masked_crc32c(stored[: size + 1])
    if actual != checksum:
        raise ValueError(
            f"the table block at byte {offset} has checksum {actual:#010x}, expected"
            f" {checksum:#010x}: the file is damaged, fetch it again"
        )
    compression = stored[size]
    if compression > 1:
        raise ValueError(f"the table block at byte {offset} has unknown compression {compression}")
    return decompress(stored[:size]) if compression else stored[:size]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(block) < 4:
        raise ValueError(f"a table block of {len(block)} bytes; expected at least 4")
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise ValueError(f"a table block of {len(block)} bytes declares {restarts} restart points")
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


def decompress(block: bytes) -> bytes:
    """The data that a raw snappy block stands for.

    Raises:
        ValueError: The block is malformed or does not yield the length it declares.
    """
    length, position = read_varint(block, 0)
    if length > _LARGEST_RATIO * len(block):
        raise ValueError(f"a snappy block of {len(block)} bytes declares {length} bytes of content")
    out = bytearray()
    while position < len(block) and len(out) <= length:
        tag, kind, size = block[position], block[position] & 3, (block[position] >> 2) + 1
        position += 1
        # A long literal has its length, a copy its offset, in the next one to four bytes.
        extra = (max(0, size - 60), 1, 2, 4)[kind]
        number = int.from_bytes(block[position : position + extra], "little")
        position += extra
        if kind == 0:
            size = number + 1 if extra else size
            out += block[position : position + size]
            position += size
        else:
            offset = number
            if kind == 1:  # four to eleven bytes; three bits of the offset are in the tag
                size, offset = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | number
            if not 0 < offset <= len(out):
                raise ValueError(f"a snappy copy reaches back {offset} of {len(out)} bytes")
            # A copy may overlap itself: the last `offset` bytes are then repeated.
            piece = bytes(out[len(out) - offset : len(out) - offset + size])
            out += (piece * (size // len(piece) + 1))[:size]
        if position > len(block):
            raise ValueError("a snappy element runs past the end of its block")
    if len(out) != length:
        raise ValueError(f"a snappy block yields {len(out)} bytes or more; it declares {length}")
    return bytes(out)
