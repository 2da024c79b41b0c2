"""Decoder of raw snappy blocks, which Google-internal builds use in checkpoint index files.

Format: github.com/google/snappy/blob/main/format_description.txt
"""

from convert.formats._protobuf import read_varint

# The densest element is a three-byte copy that yields 64 bytes: 64/3 is the largest possible ratio,
# so a longer declared length is a lie and nothing of that size is ever allocated.
_LARGEST_RATIO = 22


def decompress(block: bytes) -> bytes:
    """The data that a raw snappy block stands for.

    Raises:
        ValueError: The block is malformed or does not yield the length it declares.
    """
    length, position = read_varint(block, 0)
    if length > _LARGEST_RATIO * len(block):
        raise ValueError(f"a snappy block of {len(block)} bytes declares {length} bytes of content")
    out = bytearray()
    while position < len(block):
        tag = block[position]
        if tag & 3 == 0:
            size, position = _literal_size(block, position)
            out += block[position : position + size]
            if position + size > len(block):
                raise ValueError("a snappy literal runs past the end of its block")
            position += size
        else:
            size, offset, position = _copy(block, position)
            if not 0 < offset <= len(out):
                raise ValueError(f"a snappy copy reaches back {offset} of {len(out)} bytes")
            # A copy may overlap itself: the last `offset` bytes are then repeated.
            piece = bytes(out[len(out) - offset : len(out) - offset + size])
            out += (piece * (size // len(piece) + 1))[:size]
        if len(out) > length:
            break
    if len(out) != length:
        raise ValueError(f"a snappy block yields {len(out)} bytes or more; it declares {length}")
    return bytes(out)


def _literal_size(block: bytes, position: int) -> tuple[int, int]:
    size = block[position] >> 2
    if size < 60:
        return size + 1, position + 1
    after = position + 1 + (size - 59)  # the length follows in one to four bytes
    return int.from_bytes(block[position + 1 : after], "little") + 1, after


def _copy(block: bytes, position: int) -> tuple[int, int, int]:
    tag = block[position]
    kind = tag & 3
    after = position + (2, 3, 5)[kind - 1]
    if after > len(block):
        raise ValueError("a snappy copy runs past the end of its block")
    offset = int.from_bytes(block[position + 1 : after], "little")
    if kind == 1:  # four to eleven bytes; three bits of the offset are in the tag
        return (tag >> 2 & 7) + 4, (tag >> 5) << 8 | offset, after
    return (tag >> 2) + 1, offset, after
