"""The sorted table of a TensorFlow checkpoint's index: LevelDB's format, TensorFlow's settings.

    data block ... | metaindex block (empty) | index block | footer (48 bytes)

A block is its entries, the offsets of its restart points (u32 each) and their count; behind it
stand one byte for the compression and the masked CRC-32C of both. An entry leaves out the bytes its
key shares with the previous key, except at a restart point.
"""

import struct
from collections.abc import Iterable, Iterator

from convert.formats import _snappy
from convert.formats._crc32c import masked
from convert.formats._mapped_file import Bytes
from convert.formats._protobuf import read_varint, write_varint

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)  # the last eight bytes of the file

_FOOTER = 48
_TRAILER = 5  # compression byte and checksum
_BLOCK_SIZE = 262_144  # TensorFlow's target
_RESTART_INTERVAL = 16
# Shared prefixes let a small block declare gigabytes of keys.
_MOST_KEY_BYTES = 16 * 2**20


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
    for separator, value in _entries(_block(data, *index)):
        key_bytes = _add(key_bytes, separator)
        (offset, size), _ = _handle(value, 0)
        if offset < end:  # one block many times over would take any amount of time
            raise ValueError(f"the table block at byte {offset} overlaps the block before it")
        end = offset + size + _TRAILER
        for key, content in _entries(_block(data, offset, size)):
            if last is not None and key <= last:
                raise ValueError(f"key {key[:80]!r} is not above the key before it")
            key_bytes = _add(key_bytes, key)
            last = key
            yield key, content


def write(items: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The table of `items`, which are sorted by key; the same bytes as TensorFlow writes."""
    out = bytearray()
    index = _Block(restart_interval=1)
    block = _Block(_RESTART_INTERVAL)
    flushed: tuple[bytes, bytes] | None = None  # last key and handle of the block before
    for key, value in items:
        if flushed is not None:
            index.add(_separator(flushed[0], key), flushed[1])
            flushed = None
        block.add(key, value)
        if block.size() >= _BLOCK_SIZE:
            flushed = (block.last, _append(out, block))
            block = _Block(_RESTART_INTERVAL)
    if block.last or block.buffer:
        flushed = (block.last, _append(out, block))
    if flushed is not None:
        index.add(_successor(flushed[0]), flushed[1])
    handles = _append(out, _Block(_RESTART_INTERVAL)) + _append(out, index)
    return bytes(out + handles.ljust(_FOOTER - len(MAGIC), b"\0") + MAGIC)


class _Block:
    """A block while it is written."""

    def __init__(self, restart_interval: int) -> None:
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
    out += content + b"\0" + struct.pack("<I", masked(content + b"\0"))
    return handle


def _common_prefix(first: bytes, second: bytes) -> int:
    count = 0
    while count < min(len(first), len(second)) and first[count] == second[count]:
        count += 1
    return count


def _separator(last: bytes, following: bytes) -> bytes:
    """A short key from `last` on and below `following`, as LevelDB chooses it."""
    at = _common_prefix(last, following)
    if at < min(len(last), len(following)) and last[at] < 0xFF and last[at] + 1 < following[at]:
        return last[:at] + bytes([last[at] + 1])
    return last


def _successor(last: bytes) -> bytes:
    """A short key from `last` on, as LevelDB chooses it."""
    for at, byte in enumerate(last):
        if byte != 0xFF:
            return last[:at] + bytes([byte + 1])
    return last


def _add(key_bytes: int, key: bytes) -> int:
    if key_bytes + len(key) > _MOST_KEY_BYTES:
        raise ValueError(f"its keys are longer than {_MOST_KEY_BYTES} bytes together")
    return key_bytes + len(key)


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
    actual = masked(stored[: size + 1])
    if actual != checksum:
        raise ValueError(
            f"the table block at byte {offset} has checksum {actual:#010x}, expected"
            f" {checksum:#010x}: the file is damaged, fetch it again"
        )
    compression = stored[size]
    if compression > 1:
        raise ValueError(f"the table block at byte {offset} has unknown compression {compression}")
    return _snappy.decompress(stored[:size]) if compression else stored[:size]


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
