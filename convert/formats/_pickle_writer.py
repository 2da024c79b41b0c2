"""Opcodes of pickles. The same arrays always give the same bytes.

Python's own pickler cannot name `torch._utils._rebuild_tensor_v2` without importing torch, nor
`numpy.core` of NumPy 1 under NumPy 2. No memo is used, as nothing written here is shared.
"""

import struct
from collections.abc import Iterable
from typing import BinaryIO

from convert.formats import _raw_values
from convert.formats._mapped_file import release
from convert.formats._raw_values import Array

STOP = b"."
NONE = b"N"
TRUE = b"\x88"
FALSE = b"\x89"
EMPTY_TUPLE = b")"
EMPTY_DICT = b"}"
REDUCE = b"R"  # takes a function and a tuple
BUILD = b"b"  # takes an object and its state
PERSISTENT = b"Q"  # takes a tuple that names the object

BYTE_STRING_LIMIT = 2**31  # bytes: protocol 2 has a length of four bytes with a sign


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
    """The opcode before `size` raw bytes (protocol 3; from 4 GiB on protocol 4)."""
    if size < 2**32:
        return b"B" + struct.pack("<I", size)
    return b"\x8e" + struct.pack("<Q", size)


def byte_string(value: bytes) -> bytes:
    """A `str` of Python 2, which Python 3 decodes by its argument `encoding`."""
    return byte_string_header(len(value)) + value


def byte_string_header(size: int) -> bytes:
    """The opcode before a `str` of Python 2 of `size` < `BYTE_STRING_LIMIT` bytes."""
    return b"U" + bytes([size]) if size < 2**8 else b"T" + struct.pack("<i", size)


def group(items: Iterable[bytes]) -> bytes:
    """A tuple of pickled items."""
    return b"(" + b"".join(items) + b"t"


def integers(values: Iterable[int]) -> bytes:
    """A tuple of integers."""
    return group(integer(value) for value in values)


def items(pairs: Iterable[tuple[str, bytes]]) -> bytes:
    """Sets entries of the dictionary on top of the stack; values are pickled."""
    return b"(" + b"".join(text(key) + value for key, value in pairs) + b"u"


def name(module: str, attribute: str) -> bytes:
    """A function or class by its name."""
    return f"c{module}\n{attribute}\n".encode("ascii")


def write_array(file: BinaryIO, array: Array, *, python2: bool = False) -> None:
    """Writes an array that any NumPy opens; the data goes to the file without a copy.

    Args:
        file: The pickle, opened for writing.
        array: A numeric array.
        python2: Whether to write strings and data as byte strings of Python 2 (protocol 2) instead
            of the text and bytes of Python 3 (protocol 3 and later).
    """
    size = array.size * array.dtype.itemsize
    header = byte_string_header(size) if python2 else bytes_header(size)
    string = _string_of_python_2 if python2 else text
    flag = byte_string(b"b") if python2 else b"C\x01b"
    # NumPy's code and byte order. It calls no type bfloat16, so none of these is.
    stored = _raw_values.STORED[_raw_values.name_of(array, "the array")].str
    reconstruct = name("numpy.core.multiarray", "_reconstruct")
    reconstruct += group([name("numpy", "ndarray"), integers([0]), flag]) + REDUCE
    state = [integer(3), string(stored[0]), *[NONE] * 3, integer(-1), integer(-1), integer(0)]
    dtype = name("numpy", "dtype") + group([string(stored[1:]), FALSE, TRUE]) + REDUCE
    dtype += group(state) + BUILD
    file.write(reconstruct + b"(" + integer(1) + integers(array.shape) + dtype + FALSE + header)
    file.write(_raw_values.raw_bytes(array).data)  # no second copy of the weights
    release(array)
    file.write(b"t" + BUILD)


def _string_of_python_2(value: str) -> bytes:
    return byte_string(value.encode("ascii"))
