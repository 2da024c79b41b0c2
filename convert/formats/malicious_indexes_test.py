"""Bundles and their folders that are made to do harm: indexes that lie, and what names them."""

import struct

import numpy as np
import pytest

from convert.formats import FORMATS, _leveldb_table, _varint, tf1_checkpoint
from convert.formats._crc32c import masked
from convert.formats._malicious import HUGE, RAW, refusal
from convert.formats._protobuf import bytes_field, fixed32_field, varint_field


def message(shape=(6,), offset=0, size=24, shard=0):
    """What an index says about a tensor."""
    dims = b"".join(bytes_field(2, varint_field(1, n)) for n in shape)
    return (
        varint_field(1, 1)
        + bytes_field(2, dims)
        + b"".join(varint_field(n, v) for n, v in ((3, shard), (4, offset), (5, size)) if v)
        + fixed32_field(6, masked(RAW))
    )


def index(value=None, shards=1, name=b"w", more=()):
    head = varint_field(1, shards) + bytes_field(3, varint_field(1, 1))
    return _leveldb_table.write([(b"", head), (name, value or message()), *more])


def blocks(data, entries):
    """A table whose index block has these entries, keys and handles, behind the bytes `data`."""
    out = data
    handles = b""
    for content in (b"", entries):
        content += struct.pack("<II", 0, 1)
        handles += _varint.write(len(out)) + _varint.write(len(content))
        out += content + b"\0" + struct.pack("<I", masked(content + b"\0"))
    return out + handles.ljust(40, b"\0") + _leveldb_table.MAGIC


NOTHING = struct.pack("<II", 0, 1)  # a block without entries


def block(content, compression=b"\0"):
    return content + compression + struct.pack("<I", masked(content + compression))


def entries(*rows):
    """Entries of a block: how much of the key before they share, the rest of it, the value."""
    return b"".join(
        b"".join(map(_varint.write, (shared, len(rest), len(value)))) + rest + value
        for shared, rest, value in rows
    )


def handles(count, offset, size):
    """Entries of an index block that are all of the same place."""
    place = _varint.write(offset) + _varint.write(size)
    return entries(*[(0, b"", place)] * count)


def named_alike():
    """A few kilobytes that stand for 120 megabytes of names."""
    head = varint_field(1, 1) + bytes_field(3, varint_field(1, 1))
    rows = [(0, b"", head), (0, b"k" * 60_000, message())]
    rows += [(60_000, b"%04d" % i, message()) for i in range(2000)]
    content = entries(*rows) + NOTHING
    return blocks(block(content), handles(1, 0, len(content)))


# Content of 3 MiB in 140 KiB that has no entry either: restart points alone.
POINTS = _varint.write(3 * 2**20) + b"\x0c\xff\xff\x0b\0" + b"\xfe\4\0" * 49_151
POINTS += b"\xee\4\0"
INDEXES = {
    "a shape of 2**40": index(message(shape=(HUGE,))),
    "a shape and size of 2**40": index(message(shape=(HUGE,), size=4 * HUGE)),
    "a shape of 2**61": index(message(shape=(2**61, 2**61))),
    "a shape below zero": index(message(shape=(-6,))),
    "an offset of 2**62": index(message(offset=2**62)),
    "an offset past the end": index(message(offset=1)),
    "a data file of 2**31": index(message(shard=2**31)),
    "99999 data files": index(message(shard=99_998), shards=99_999),
    "2**31 data files": index(shards=2**31),
    "one place for 1000 tensors": index(
        more=[(b"x%04d" % i, message()) for i in range(1000)],
    ),
    "a name that a terminal obeys": index(message(shape=(7,)), name=b"\x1b[2J\n"),
    "a long name": index(message(shape=(7,)), name=b"\n" * 100_000),
    "a block of 2**62": blocks(block(NOTHING), handles(1, 0, 2**62)),
    "a block at 2**62": blocks(block(NOTHING), handles(1, 2**62, 8)),
    "one block many times": blocks(
        block(struct.pack("<I", 2**16 - 1) * 2**16), handles(20_000, 0, 2**18)
    ),
    "one compressed block many times": blocks(
        block(POINTS, b"\1"), handles(20_000, 0, len(POINTS))
    ),
    "a compressed block of 2**62": blocks(
        block(_varint.write(2**62) + b"\0\0", b"\1"), handles(1, 0, 11)
    ),
    "long keys that share": blocks(
        block(NOTHING) * 1000,
        entries(
            (0, b"k" * 100_000, _varint.write(0) + b"\x08"),
            *((100_000, b"", _varint.write(13 * i) + b"\x08") for i in range(1, 1000)),
        ),
    ),
    "long names that share": named_alike(),
    "2**31 restart points": blocks(block(struct.pack("<I", 2**31)), handles(1, 0, 4)),
}


@pytest.mark.parametrize("kind", INDEXES)
@pytest.mark.parametrize("name", ["tf1_checkpoint", "tf2_checkpoint"])
def test_indexes(name, kind, tmp_path):
    (tmp_path / "m.index").write_bytes(INDEXES[kind])
    (tmp_path / "m.data-00000-of-00001").write_bytes(RAW)
    refusal(FORMATS[name], tmp_path / "m")


STATES = [
    'model_checkpoint_path: "../../model"',
    'model_checkpoint_path: "/etc/passwd"',
    'model_checkpoint_path: "..\\\\..\\\\model"',
    'model_checkpoint_path: ".."',
    'model_checkpoint_path: ""',
    'model_checkpoint_path: "' + "x" * 100_000,
    "model_checkpoint_path:" + " " * 500_000,
    "\n" * 500_000,
    " \n" * 500_000,
    "\0" * 500_000,
]


@pytest.mark.parametrize("state", STATES, ids=range(len(STATES)))
def test_which_checkpoint_of_a_folder(state, tmp_path):
    """The text file beside the checkpoints names one of this folder, or none."""
    for folder, value in (("", 1), ("train", 2), ("train/deeper", 3)):
        (tmp_path / folder).mkdir(exist_ok=True)
        tf1_checkpoint.write(tmp_path / folder / "model", {"w": np.array(value)})
        tf1_checkpoint.write(tmp_path / folder / "other", {"w": np.array(-value)})
    (tmp_path / "train" / "checkpoint").write_text(state)
    if state.split('"')[1:2] == ["../../model"] or "\\model" in state:
        assert tf1_checkpoint.read(tmp_path / "train")["w"] == 2
    else:
        assert "holds several checkpoints" in refusal(tf1_checkpoint, tmp_path / "train")
