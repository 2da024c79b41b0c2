"""Pickles put together opcode by opcode: the same arrays always give the same bytes.

Python's pickler cannot name `torch._utils._rebuild_tensor_v2` without importing torch, nor NumPy
1's `numpy.core` from NumPy 2. No memo is used: nothing that is written here is shared.
"""

import struct
from collections.abc import Iterable

STOP = b"."
NONE = b"N"
TRUE = b"\x88"
FALSE = b"\x89"
EMPTY_TUPLE = b")"
EMPTY_DICT = b"}"
REDUCE = b"R"  # takes a function and a tuple
BUILD = b"b"  # takes an object and its state
PERSISTENT = b"Q"  # takes a tuple that names the object


def protocol(number: int) -> bytes:
    """The start of a pickle."""
    return bytes([0x80, number])


def text(value: str) -> bytes:
    """A string."""
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def integer(value: int) -> bytes:
    """An integer of up to 255 bytes, in the shortest form that protocol 2 has."""
    if 0 <= value < 2**8:
        return b"K" + bytes([value])
    if 0 <= value < 2**16:
        return b"M" + struct.pack("<H", value)
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    encoded = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def bytes_header(size: int) -> bytes:
    """What stands before `size` raw bytes (protocol 3; from 4 GiB on protocol 4)."""
    if size < 2**32:
        return b"B" + struct.pack("<I", size)
    return b"\x8e" + struct.pack("<Q", size)


def group(items: Iterable[bytes]) -> bytes:
    """A tuple of what is already pickled."""
    return b"(" + b"".join(items) + b"t"


def integers(values: Iterable[int]) -> bytes:
    """A tuple of integers."""
    return group(integer(value) for value in values)


def items(pairs: Iterable[tuple[str, bytes]]) -> bytes:
    """Entries with string keys, put into the dictionary on top."""
    return b"(" + b"".join(text(key) + value for key, value in pairs) + b"u"


def name(module: str, attribute: str) -> bytes:
    """A function or class by its name."""
    return f"c{module}\n{attribute}\n".encode("ascii")
