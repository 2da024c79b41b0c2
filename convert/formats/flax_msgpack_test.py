"""Flax's msgpack files: Flax itself as the judge, and content that is damaged or hostile."""

import re
import struct

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import flax_msgpack


def extension(code, payload):
    return b"\xc8" + struct.pack(">HB", len(payload), code) + payload


def stored(shape=b"\x92\x01\x02", dtype=b"\xa7float32", raw=None, size=None):
    """An array whose parts can be wrong."""
    raw = struct.pack("<2f", 1, 2) if raw is None else raw
    return b"\x93" + shape + dtype + b"\xc4" + bytes([len(raw) if size is None else size]) + raw


def text(value):
    return bytes([0xA0 + len(value)]) + value.encode()


@pytest.fixture
def nested(arrays):
    return {f"params:{name}": array for name, array in arrays.items()}


def test_plain_values(tmp_path):
    """A step or a learning rate beside the weights, as in a training state."""
    path = tmp_path / "m.msgpack"
    path.write_bytes(
        b"\x8b" + text("step") + b"\xcd\x01\x00" + text("minus") + b"\xd0\x85" + text("five")
        + b"\xfb" + text("rate") + b"\xcb" + struct.pack(">d", 0.1) + text("float")
        + b"\xca" + struct.pack(">f", 0.5) + text("complex")
        + extension(2, b"\x92\xcb" + struct.pack(">d", 1) + b"\xcb" + struct.pack(">d", -2))
        + text("none") + b"\xc0" + text("on") + b"\xc3" + text("name") + b"\xa1x"
        + text("number") + extension(3, stored(b"\x90", raw=struct.pack("<f", 2.5)))
        + text("list") + b"\x92" + extension(1, stored()) + b"\x81\xa1q\x07"
    )  # fmt: skip
    got = flax_msgpack.read(path)
    assert {name: (array.dtype.name, array.tolist()) for name, array in got.items()} == {
        "step": ("int64", 256),
        "minus": ("int64", -123),
        "five": ("int64", -5),
        "rate": ("float64", 0.1),
        "float": ("float64", 0.5),
        "complex": ("complex128", 1 - 2j),
        "number": ("float32", 2.5),
        "list:0": ("float32", [[1.0, 2.0]]),
        "list:1:q": ("int64", 7),
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x81\xa1w\xc9\xff\xff\xff\xff\x01", "not well-formed msgpack"),
        (b"\xdf\xff\xff\xff\xff\xa1w", "exceeds max_map_len"),
        (b"\x81\xa1w\xdd\xff\xff\xff\xff\x00", "exceeds max_array_len"),
        (b"\x81\xa1w" * 5000 + b"\x00", "StackError"),
        (b"\x81\xa1w" * 200 + b"\x00", "nested more than 100 deep"),
        (b"\x81\xa1w" + b"\xdc\x27\x10" * 5000 + bytes(50_000), "StackError"),
        (b"\x81\xa1w" + extension(5, b"abc"), "an extension of type 5; Flax has 1, 2 and 3"),
        (b"\x82\xa1w\x01\xa1w\x02", "the key 'w' twice"),
        (b"\x81\x01\x02", "int is not allowed for map key"),
        (b"\x81\xc4\x01w\x02", "a key is no string"),
        (b"\x81\xa3a:b\x02", "'a:b': a key is no string or contains ':'"),
        (b"\x81\xa1w\xcf" + b"\xff" * 8, "w is an integer of 64 bits"),
        (b"\x81\xa1w\x01\x00", "extra data"),
        (b"\x81\xa1w\xc0", "holds no array"),
        (b"\x05", "holds no map of arrays"),
        (b"", "incomplete input"),
    ],
)
def test_what_is_refused(data, message, tmp_path):
    path = tmp_path / "m.msgpack"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as caught:
        flax_msgpack.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert isinstance(flax_msgpack.recognises(path), bool)


@pytest.mark.parametrize(
    ("code", "payload", "message"),
    [
        (1, stored(b"\x92\x01\x03"), r"float32 \[1, 3\] needs 12 bytes, not 8"),
        (1, stored(b"\x92\x01\xff"), "a dimension of -1"),
        (1, stored(b"\x92\xcf\x7f" + b"\xff" * 7 + b"\x00"), "a dimension of 92233"),
        (1, stored(b"\xdc\x00\x28" + b"\x01" * 40), "40 dimensions"),
        (1, stored(dtype=b"\xa6object"), "an array of dtype 'object'; expected one of"),
        (1, stored(dtype=b"\x07"), "an array that is not"),
        (1, stored(size=9), "incomplete input"),
        (3, stored() + b"x", "extra data"),
        (1, b"\xc4\x00", "an array that is not"),
        (1, stored(shape=extension(1, stored())), "an array that is not"),
    ],
)
def test_arrays_that_contradict_themselves(code, payload, message, tmp_path):
    path = tmp_path / "m.msgpack"
    path.write_bytes(b"\x81\xa1w" + extension(code, payload))
    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(path))}: .*{message}"):
        flax_msgpack.read(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros(1), "a:b": np.zeros(1)}, "a:b: a is an array and a group"),
        ({"a": [1.0]}, "a is a list; expected a NumPy array"),
        ({"a:__msgpack_chunked_array__": np.zeros(1)}, "Flax reserves the name"),
        ({":".join("a" * 101): np.zeros(1)}, "nested 101 deep; expected 100 at most"),
    ],
)
def test_what_cannot_be_written(arrays, message, tmp_path):
    with pytest.raises(CheckpointError, match=message):
        flax_msgpack.write(tmp_path / "m.msgpack", arrays)
    assert list(tmp_path.iterdir()) == []


def test_flax_writes_and_reads_the_same(tmp_path, nested, same, judge):
    """The judge: the bytes of `to_bytes`, and `msgpack_restore` of ours."""
    serialization = judge("flax.serialization")
    path = tmp_path / "m.msgpack"
    flax_msgpack.write(path, nested)
    data = path.read_bytes()
    same(
        {f"params:{k}": v for k, v in serialization.msgpack_restore(data)["params"].items()}, nested
    )
    tree = {name.removeprefix("params:"): array for name, array in nested.items()}
    little = {k: v.astype(v.dtype.newbyteorder("<")) for k, v in tree.items()}
    assert serialization.to_bytes({"params": little}) == data
