"""The sorted table, its checksums and its compression."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.formats import _crc32c, _leveldb_table, _snappy, _varint


def test_crc32c_values():
    assert _crc32c.crc32c(b"123456789") == 0xE3069283
    assert _crc32c.masked(b"123456789") == 0xC78AB0E5
    assert _crc32c.crc32c(bytes(32)) == 0x8A9136AA
    assert _crc32c.mask(0) == 0xA282EAD8
    assert _crc32c.crc32c(b"6789", _crc32c.crc32c(b"12345")) == 0xE3069283


@given(st.integers(0, 2**64 - 1))
def test_varint_round_trip(value):
    encoded = _varint.write(value)
    assert _varint.read(b"x" + encoded, 1) == (value, 1 + len(encoded))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9 + b"\x02", b"\x80" * 11, b"\x81\x00"])
def test_bad_varint(data):
    with pytest.raises(ValueError, match=r"runs past the end|longer than 64 bits|shortest form"):
        _varint.read(data, 0)


@given(st.dictionaries(st.binary(max_size=30), st.binary(max_size=300), max_size=60))
def test_table_round_trip(entries):
    items = sorted(entries.items())
    table = np.frombuffer(_leveldb_table.write(items), np.uint8)
    assert list(_leveldb_table.read(table)) == items


def test_several_blocks_and_short_separators():
    items = [(f"key{i:06d}/same".encode(), bytes(100)) for i in range(9000)]
    table = _leveldb_table.write(items)
    assert list(_leveldb_table.read(np.frombuffer(table, np.uint8))) == items
    assert len(table) > 3 * 262_144


@pytest.mark.parametrize(
    ("last", "following", "expected"),
    [
        (b"abc", b"abz", b"abd"),
        (b"abc", b"abd", b"abc"),
        (b"ab", b"abc", b"ab"),
        (b"a\xff", b"b", b"a\xff"),
    ],
)
def test_separator(last, following, expected):
    assert _leveldb_table._separator(last, following) == expected


def test_successor():
    assert _leveldb_table._successor(b"RGB/x") == b"S"
    assert _leveldb_table._successor(b"\xffa") == b"\xffb"
    assert _leveldb_table._successor(b"\xff") == b"\xff"


def test_keys_out_of_order():
    table = _leveldb_table.write([(b"b", b""), (b"a", b"")])
    with pytest.raises(ValueError, match="b'a' is not above"):
        list(_leveldb_table.read(np.frombuffer(table, np.uint8)))


def test_keys_that_expand():
    """Every key shares a long prefix: three bytes an entry stand for 100 kB."""
    block = _leveldb_table._Block(10**9)
    block.add(b"x" * 100_000, b"")
    for i in range(2000):  # as `add` would, but it compares 100 kB byte by byte
        block.buffer += _varint.write(100_000) + b"\4\0" + struct.pack(">I", i)
    out, index = bytearray(), _leveldb_table._Block(1)
    index.add(b"y", _leveldb_table._append(out, block))
    handles = _leveldb_table._append(out, _leveldb_table._Block(16))
    handles += _leveldb_table._append(out, index)
    table = bytes(out) + handles.ljust(40, b"\0") + _leveldb_table.MAGIC
    assert len(table) < 150_000
    with pytest.raises(ValueError, match="keys are longer than"):
        list(_leveldb_table.read(np.frombuffer(table, np.uint8)))


SNAPPY = [
    (b"\x00", b""),
    (b"\x03\x08abc", b"abc"),
    (b"\x0c\x04ab\x26\x02\x00", b"ababababababab"[:12]),
    (b"\x06\x08xyz\x0b\x03\x00\x00\x00", b"xyzxyz"),
    (b"\x46\xf0\x45" + bytes(70), bytes(70)),
]


@pytest.mark.parametrize(("block", "expected"), SNAPPY)
def test_snappy(block, expected):
    assert _snappy.decompress(block) == expected


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (b"\xff\xff\xff\xff\x0fabc", "declares"),
        (b"\x05\x08abc", "yields 3 bytes"),
        (b"\x02\x08abc", "yields 3 bytes or more"),
        (b"\x03\x08ab", "past the end"),
        (b"\x04\x00a\x01\x02", "reaches back 2 of 1"),
        (b"\x04\x00a\x01\x00", "reaches back 0 of 1"),
        (b"\x04\x00a\x02\x01", "past the end"),
        (b"", "past the end"),
    ],
)
def test_bad_snappy(block, text):
    with pytest.raises(ValueError, match=text):
        _snappy.decompress(block)


@given(st.binary(max_size=60))
def test_snappy_on_anything(block):
    with contextlib.suppress(ValueError):
        assert len(_snappy.decompress(block)) <= 22 * len(block)


def test_compressed_block_in_a_table():
    plain = _leveldb_table._Block(16)
    plain.add(b"key", b"value")
    content = plain.content()
    packed = _varint.write(len(content)) + bytes([(len(content) - 1) << 2]) + content
    out = bytearray(packed + b"\1" + struct.pack("<I", _crc32c.masked(packed + b"\1")))
    index = _leveldb_table._Block(1)
    index.add(b"l", _varint.write(0) + _varint.write(len(packed)))
    handles = _leveldb_table._append(out, _leveldb_table._Block(16))
    handles += _leveldb_table._append(out, index)
    table = bytes(out) + handles.ljust(40, b"\0") + _leveldb_table.MAGIC
    assert list(_leveldb_table.read(np.frombuffer(table, np.uint8))) == [(b"key", b"value")]
