"""MessagePack's values in every form, read and started."""

import struct

import numpy as np
import pytest

from convert.formats import _msgpack


def read(data):
    return _msgpack.Reader(np.frombuffer(data, np.uint8)).whole()


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\x00", 0),
        (b"\x7f", 127),
        (b"\xe0", -32),
        (b"\xff", -1),
        (b"\xcc\x80", 128),
        (b"\xcd\x01\x02", 258),
        (b"\xce\x01\x02\x03\x04", 0x01020304),
        (b"\xcf" + b"\xff" * 8, 2**64 - 1),
        (b"\xd0\x80", -128),
        (b"\xd1\xff\x00", -256),
        (b"\xd2\x80\0\0\0", -(2**31)),
        (b"\xd3\x80" + bytes(7), -(2**63)),
        (b"\xca" + struct.pack(">f", 0.5), 0.5),
        (b"\xcb" + struct.pack(">d", -0.1), -0.1),
        (b"\xc0", None),
        (b"\xc2", False),
        (b"\xc3", True),
        (b"\xa3abc", "abc"),
        (b"\xd9\x02\xc3\xa9", "é"),
        (b"\xda\0\1a", "a"),
        (b"\xdb\0\0\0\1a", "a"),
        (b"\x80", {}),
        (b"\x82\xa1a\1\xa1b\x81\xa0\2", {"a": 1, "b": {"": 2}}),
        (b"\xde\0\1\xa1a\1", {"a": 1}),
        (b"\xdf\0\0\0\1\xa1a\1", {"a": 1}),
        (b"\x92\x05\x91\x06", {"0": 5, "1": {"0": 6}}),
        (b"\xdc\0\1\5", {"0": 5}),
        (b"\xdd\0\0\0\1\5", {"0": 5}),
    ],
)
def test_values(data, value):
    got = read(data)
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize("start", [b"\xc4\3", b"\xc5\0\3", b"\xc6\0\0\0\3"])
def test_bytes_are_views(start):
    data = np.frombuffer(start + b"\1\2\3", np.uint8)
    got = _msgpack.Reader(data).whole()
    assert got.tolist() == [1, 2, 3] and np.shares_memory(got, data)


@pytest.mark.parametrize(
    ("start", "size"),
    [
        *((b"\xd4", 1), (b"\xd5", 2), (b"\xd6", 4), (b"\xd7", 8), (b"\xd8", 16)),
        *((b"\xc7\3", 3), (b"\xc8\1\0", 256), (b"\xc9\0\0\1\0", 256)),
    ],
)
def test_extensions_and_maps_are_for_a_subclass(start, size):
    class Reader(_msgpack.Reader):
        def extension(self, code, payload):
            return code, bytes(payload)

        def mapping(self, entries):
            return list(entries.items())

    data = b"\x81\xa1a" + start + b"\x09" + b"x" * size
    assert Reader(np.frombuffer(data, np.uint8)).whole() == [("a", (9, b"x" * size))]
    with pytest.raises(ValueError, match="an extension of type 9 where none is expected"):
        read(data)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "needs 1 bytes at byte 0, but 0 are left: it is cut off"),
        (b"\xcd\1", "needs 2 bytes at byte 1, but 1 are left"),
        (b"\xc6\xff\xff\xff\xff", "needs 4294967295 bytes at byte 5, but 0 are left"),
        (b"\x92\1", "a list of 2 entries at byte 1: it is cut off"),
        (b"\xdf\xff\xff\xff\xff", "a map of 4294967295 entries at byte 5"),
        (b"\x81\1\1", "a plain value at byte 1 where a name is expected"),
        (b"\x82\xa1a\1\xa1a\1", "the key 'a' twice in one map"),
        (b"\xa1\xff", "a name that is not UTF-8"),
        (b"\xc1", "byte 0 is 0xc1, which msgpack does not use"),
        (b"\x91" * 102 + b"\0", "nested more than 100 deep"),
        (b"\xc0\xc0\xc0", "2 bytes follow the end of its msgpack"),
    ],
)
def test_what_is_refused(data, text):
    with pytest.raises(ValueError, match=text):
        read(data)


def test_starts_of_every_width():
    head = _msgpack.head
    assert head("map", 15) == b"\x8f" and head("map", 16) == b"\xde\0\x10"
    assert head("map", 2**16 - 1) == b"\xde\xff\xff" and head("map", 2**16) == b"\xdf\0\1\0\0"
    assert head("list", 15) == b"\x9f" and head("list", 2**16) == b"\xdd\0\1\0\0"
    assert head("extension", 16) == b"\xd8" and head("extension", 17) == b"\xc7\x11"
    assert head("bytes", 2**30) == b"\xc6\x40\0\0\0"
    assert head("text", 31) == b"\xbf" and head("text", 32) == b"\xd9\x20"
    with pytest.raises(ValueError, match="too large for msgpack"):
        head("bytes", 2**32)


@pytest.mark.parametrize(
    ("number", "size"),
    [
        *((0, 1), (127, 1), (128, 2), (255, 2), (256, 3), (2**16 - 1, 3)),
        *((2**16, 5), (2**32 - 1, 5), (2**32, 9), (2**64 - 1, 9)),
    ],
)
def test_integers_are_written_in_their_shortest_form(number, size):
    data = _msgpack.integer(number)
    assert read(data) == number and len(data) == size


@pytest.mark.parametrize("size", [0, 15, 16, 127, 128, 2**15])
def test_texts(size):
    assert read(_msgpack.text("é" * size)) == "é" * size
