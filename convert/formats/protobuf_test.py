"""Protocol buffer fields: the specification's examples, Google's package, malformed messages."""

import numpy as np
import pytest

from convert.formats import _protobuf
from convert.formats._protobuf import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    bytes_field,
    fields,
    fixed32_field,
    header,
    string_field,
    varint_field,
)


def listed(data, what="a message"):
    """The fields, with what has a length as bytes."""
    return [
        (number, kind, value if isinstance(value, int) else bytes(value))
        for number, kind, value in fields(data, what)
    ]


def test_examples_of_the_specification():
    assert listed(bytes.fromhex("089601")) == [(1, VARINT, 150)]
    assert listed(bytes.fromhex("120774657374696e67")) == [(2, BYTES, b"testing")]
    assert listed(bytes.fromhex("1a03089601")) == [(3, BYTES, b"\x08\x96\x01")]
    assert listed(bytes.fromhex("08feffffffffffffffff01")) == [(1, VARINT, 2**64 - 2)]
    assert varint_field(1, 150) == bytes.fromhex("089601")
    assert string_field(2, "testing") == bytes.fromhex("120774657374696e67")
    assert bytes_field(3, varint_field(1, 150)) == bytes.fromhex("1a03089601")
    assert varint_field(1, -2) == bytes.fromhex("08feffffffffffffffff01")


@pytest.mark.parametrize("number", [1, 15, 16, 1000, 2**29 - 1])
def test_round_trip(number):
    message = (
        varint_field(number, 0)
        + varint_field(number, 2**64 - 1)
        + fixed32_field(number, 0x01020304)
        + bytes_field(number, b"")
        + string_field(number, "é" * 100)
        + header(number, 3)
        + b"abc"
    )
    assert listed(message) == [
        (number, VARINT, 0),
        (number, VARINT, 2**64 - 1),
        (number, FIXED32, 0x01020304),
        (number, BYTES, b""),
        (number, BYTES, "é".encode() * 100),
        (number, BYTES, b"abc"),
    ]


def test_fixed_width_is_little_endian():
    assert listed(b"\x0d\x01\x02\x03\x04\x11\x01\0\0\0\0\0\0\x80") == [
        (1, FIXED32, 0x04030201),
        (2, FIXED64, 2**63 + 1),
    ]
    assert fixed32_field(1, 0x04030201) == b"\x0d\x01\x02\x03\x04"


@pytest.mark.parametrize("kind", [bytes, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_payloads_are_views(kind):
    data = np.frombuffer(bytes_field(1, bytes_field(2, b"abcd")), np.uint8)
    ((_, _, message),) = fields(kind(data.tobytes()))
    ((_, _, content),) = fields(message)
    assert bytes(content) == b"abcd"
    ((_, _, message),) = fields(data)
    ((_, _, content),) = fields(message)
    assert np.shares_memory(np.frombuffer(content, np.uint8), data)


def test_googles_package_reads_and_writes_the_same():
    descriptor = pytest.importorskip(
        "google.protobuf.descriptor_pb2", reason="protobuf, which comes with TensorFlow"
    )
    theirs = descriptor.FileDescriptorProto(
        name="é.proto",
        dependency=["a", "b" * 300],
        message_type=[descriptor.DescriptorProto(name="M" * i) for i in range(3)],
        public_dependency=[0, 300, -3],
    )
    ours = (
        string_field(1, "é.proto")
        + string_field(3, "a")
        + string_field(3, "b" * 300)
        + b"".join(bytes_field(4, string_field(1, "M" * i)) for i in range(3))
        + b"".join(varint_field(10, value) for value in (0, 300, -3))
    )
    assert descriptor.FileDescriptorProto.FromString(ours) == theirs
    assert theirs.SerializeToString() == ours


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x08", "m: the integer at byte 1 runs past the end"),
        (b"\x08\x80\x80", "m: the integer at byte 1 runs past the end"),
        (b"\x80", "m: the integer at byte 0 runs past"),
        (b"\x08\x80\x00", "not in its shortest form"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "longer than 64 bits"),
        (b"\x08" + b"\xff" * 11, "longer than 64 bits"),
        (b"\x0a\x05abcd", "m is cut off: its field 1 needs 5 bytes, 4 are left"),
        (b"\x0a" + b"\xff" * 9 + b"\x01", r"needs 18446744073709551615 bytes, 0 are left"),
        (b"\x0d\0\0\0", "m is cut off: its field 1 needs 4 bytes, 3 are left"),
        (b"\x09\0\0\0\0", "m is cut off: its field 1 needs 8 bytes, 4 are left"),
        (b"\x00\x00", "the impossible number 0"),
        (b"\x80\x80\x80\x80\x10\x00", f"the impossible number {2**29}"),
        (b"\x0b", "m has a field of unknown kind 3"),
        (b"\x0c", "m has a field of unknown kind 4"),
        (b"\x0e", "m has a field of unknown kind 6"),
        (b"\x0f", "m has a field of unknown kind 7"),
    ],
)
def test_malformed(data, text):
    for form in (data, np.frombuffer(data, np.uint8)):
        with pytest.raises(ValueError, match=text):
            list(fields(form, "m"))


def test_every_truncation():
    message = varint_field(1, 300) + bytes_field(2, b"abc") + fixed32_field(3, 7)
    ends = {0: 0, 3: 1, 8: 2, 13: 3}
    for size in range(len(message) + 1):
        if size in ends:
            assert len(listed(message[:size])) == ends[size]
        else:
            with pytest.raises(ValueError, match=r"runs past the end|is cut off"):
                list(fields(message[:size]))


def test_random_bytes():
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(3000):
        try:
            for _, _, value in fields(random.bytes(int(random.integers(1, 30)))):
                assert isinstance(value, int | memoryview)
        except ValueError:
            refused += 1
    assert refused > 1000


def test_an_empty_message_has_no_field():
    assert listed(b"") == listed(np.zeros(0, np.uint8)) == []
    assert _protobuf.header(1, 0) == b"\x0a\x00"
