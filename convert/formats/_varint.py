"""Base-128 integers, low group first, as protocol buffers, LevelDB and snappy write them."""


def read(data: bytes, position: int) -> tuple[int, int]:
    """The integer at `position` and the position after it.

    Raises:
        ValueError: The data ends inside it, it is longer than 64 bits, or not in its shortest form
            (a writer never does that, a flipped bit does).
    """
    value = 0
    for count in range(10):
        if position + count >= len(data):
            raise ValueError(f"an integer at byte {position} runs past the end of its block")
        byte = data[position + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            if value >= 2**64:
                break
            if byte == 0 and count:
                raise ValueError(f"the integer at byte {position} is not in its shortest form")
            return value, position + count + 1
    raise ValueError(f"the integer at byte {position} is longer than 64 bits")


def write(value: int) -> bytes:
    """`value` (0..2**64-1) as bytes."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
