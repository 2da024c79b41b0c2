"""Pickles, written from the records of calls that `pickles` reads.

Python's own pickler cannot name functions of torch without importing it, nor `numpy.core` of NumPy
1 under NumPy 2. The same values always give the same bytes.
"""

import struct
from typing import Any, BinaryIO

from convert.arrays import Array
from convert.formats._mapped_file import STORED, name_of, raw_bytes, release
from convert.formats.pickles import Call

BYTE_STRING_LIMIT = 2**31  # bytes: protocol 2 has a signed length of four bytes


def dump(value: Any, *, python2: bool = False) -> bytes:
    """The opcodes that make a value.

    Args:
        value: None, a bool, an integer, text, up to 255 bytes, a tuple of these, or a `Call`.
        python2: Writes text and bytes as byte strings of Python 2, of up to 255 bytes.
    """
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int() if 0 <= value < 2**8:
            return b"K" + bytes([value])
        case int() if 0 <= value < 2**16:
            return b"M" + struct.pack("<H", value)
        case int() if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        case int():
            number = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(number)]) + number
        case str() | bytes() if python2:
            encoded = value.encode("ascii") if isinstance(value, str) else value
            return b"U" + bytes([len(encoded)]) + encoded
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case bytes():
            return b"C" + bytes([len(value)]) + value
        case tuple():
            return b"(" + b"".join(dump(item, python2=python2) for item in value) + b"t"
        case Call(function=str(function), args=None):
            module, _, name = function.rpartition(".")
            return f"c{module}\n{name}\n".encode("ascii")
        case Call(function="persistent id", args=(pid,)):
            return dump(pid) + b"Q"
        case Call(function=str(function), args=args, state=state):
            arguments = dump(args, python2=python2) if args else b")"
            made = dump(Call(function)) + arguments + b"R"
            return made if state is None else made + dump(state, python2=python2) + b"b"
    raise TypeError(f"cannot pickle a {type(value).__name__}")


def write_array(file: BinaryIO, array: Array, *, python2: bool = False) -> None:
    """Writes the opcodes of an array that any NumPy opens, without a copy of its data.

    Args:
        file: The pickle, opened for writing.
        array: A numeric array.
        python2: Writes strings as Python 2 does (protocol 2), not Python 3 (protocol 4).
    """
    size = array.nbytes
    if python2:
        header = b"U" + bytes([size]) if size < 2**8 else b"T" + struct.pack("<i", size)
    else:
        header = (
            b"B" + struct.pack("<I", size) if size < 2**32 else b"\x8e" + struct.pack("<Q", size)
        )
    stored = STORED[name_of(array, "the array")].str  # NumPy's byte order and type code
    dtype = Call(
        "numpy.dtype", (stored[1:], False, True), (3, stored[0], None, None, None, -1, -1, 0)
    )
    file.write(
        dump(
            Call("numpy.core.multiarray._reconstruct", (Call("numpy.ndarray"), (0,), b"b")),
            python2=python2,
        )
    )
    file.write(b"(" + dump(1) + dump(array.shape) + dump(dtype, python2=python2) + dump(False))
    file.write(header)
    file.write(raw_bytes(array).data)
    release(array)
    file.write(b"tb")
