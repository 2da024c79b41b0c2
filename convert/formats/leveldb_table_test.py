"""The sorted table of TensorFlow's indexes, with its checksums, integers and compression."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.formats import _leveldb_table
from convert.formats._mapped_file import crc32c, masked_crc32c
from convert.formats._protobuf import read_varint, write_varint


def read(table):
    return list(_leveldb_table.read(np.frombuffer(table, np.uint8)))


def table_of(stored, compression=b"\0", key=b"y"):
    """A table of one block as it is stored."""
    out = bytearray(stored + compression)
    out += struct.pack("<I", masked_crc32c(stored + compression))
    index = _leveldb_table._Block(1)
    index.add(key, write_varint(0) + write_varint(len(stored)))
    handles = _leveldb_table._append(out, _leveldb_table._Block(16))
    handles += _leveldb_table._append(out, index)
    return bytes(out) + handles.ljust(40, b"\0") + _leveldb_table.MAGIC


def test_crc32c_values():
    assert crc32c(b"123456789") == 0xE3069283
    assert masked_crc32c(b"123456789") == 0xC78AB0E5
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert (crc32c(b""), masked_crc32c(b"")) == (0, 0xA282EAD8)


@given(st.integers(0, 2**64 - 1))
def test_varint_round_trip(value):
    encoded = write_varint(value)
    assert read_varint(b"x" + encoded, 1) == (value, 1 + len(encoded))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9 + b"\x02", b"\x80" * 11, b"\x81\x00"])
def test_bad_varint(data):
    with pytest.raises(ValueError, match=r"runs past the end|longer than 64 bits|shortest form"):
        read_varint(data, 0)


@given(st.dictionaries(st.binary(max_size=30), st.binary(max_size=300), max_size=60))
def test_table_round_trip(entries):
    items = sorted(entries.items())
    assert read(_leveldb_table.write(items)) == items


def test_keys_out_of_order():
    with pytest.raises(ValueError, match="b'a' is not above"):
        read(_leveldb_table.write([(b"b", b""), (b"a", b"")]))


def test_keys_that_expand():
    """Every key shares a long prefix: three bytes an entry stand for 100 kB."""
    block = _leveldb_table._Block(10**9)
    block.add(b"x" * 100_000, b"")
    for i in range(2000):  # as `add` would, but it compares 100 kB byte by byte
        block.buffer += write_varint(100_000) + b"\4\0" + struct.pack(">I", i)
    table = table_of(block.content())
    assert len(table) < 150_000
    with pytest.raises(ValueError, match="keys are longer than"):
        read(table)


SNAPPY = [
    (b"\x00", b""),
    (b"\x03\x08abc", b"abc"),
    (b"\x0c\x04ab\x26\x02\x00", b"ababababababab"[:12]),
    (b"\x06\x08xyz\x0b\x03\x00\x00\x00", b"xyzxyz"),
    (b"\x46\xf0\x45" + bytes(70), bytes(70)),
]


@pytest.mark.parametrize(("block", "expected"), SNAPPY)
def test_snappy(block, expected):
    assert _leveldb_table.decompress(block) == expected


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (b"\xff\xff\xff\xff\x0fabc", "declares"),
        (b"\x05\x08abc", "yields 3 bytes"),
        (b"\x02\x08abc", "yields 3 bytes or more"),
        (b"\x03\x08ab", "past the end"),
        (b"\x04\x00a\x01\x02", "reaches back 2 of 1"),
        (b"\x04\x00a\x02\x01", "past the end"),
        (b"", "past the end"),
    ],
)
def test_bad_snappy(block, text):
    with pytest.raises(ValueError, match=text):
        _leveldb_table.decompress(block)


def test_compressed_block():
    plain = _leveldb_table._Block(16)
    plain.add(b"key", b"value")
    content = plain.content()
    packed = write_varint(len(content)) + bytes([(len(content) - 1) << 2]) + content
    assert read(table_of(packed, b"\1")) == [(b"key", b"value")]
    with pytest.raises(ValueError, match="unknown compression 2"):
        read(table_of(packed, b"\2"))


def test_blocks_that_overlap():
    """One block many times over would take any amount of time."""
    entry = write_varint(0) + write_varint(8)
    index = _leveldb_table._Block(1)
    out = bytearray()
    _leveldb_table._append(out, _leveldb_table._Block(16))
    for i in range(3):
        index.add(b"%d" % i, entry)
    handles = _leveldb_table._append(out, _leveldb_table._Block(16))
    handles += _leveldb_table._append(out, index)
    with pytest.raises(ValueError, match="overlaps the block before it"):
        read(bytes(out) + handles.ljust(40, b"\0") + _leveldb_table.MAGIC)
