"""Damage on purpose: random changes of bytes, also behind the checksums of a container.

Where everything is checksummed, damage dies at the checksum and what stands behind it is never
reached. Such files are opened, one part is damaged, and they are closed with new checksums.
"""

import contextlib
import io
import pickletools
import random
import struct
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np

from convert.formats import _leveldb_table, _varint
from convert.formats._crc32c import masked

_INTERESTING = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, -1, 0x7F, 0x80, 0xFF, 2**62)
_LONGEST_PIECE = 40  # bytes
_LARGEST = 2**16  # bytes: what grows further is cut, so that inputs stay small and quick

_PICKLE = (
    *(opcode.code.encode("latin1") for opcode in pickletools.opcodes),
    *(b"cos\nsystem\n", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"ccollections\nOrderedDict\n"),
    *(b"c_codecs\nencode\n", b"cnumpy.core.multiarray\nscalar\n", b"}q\0h\0h\0s", b"h\0", b"\x85R"),
    *(b"cnumpy.core.multiarray\n_reconstruct\n", b"N}b", b"(t", b"(l", b"(d", b")R", b"\x94h\0"),
    *(b"X\1\0\0\0a", b"X\3\0\0\0\xed\xa0\x80", b"I9999999999999999999\n", b"\x80\5", b"\x95"),
)
_PROTOBUF = (
    *(bytes([number << 3 | kind]) for number in range(1, 15) for kind in (0, 1, 2, 5)),
    *(_varint.write(value) for value in (2**31, 2**32, 2**62, 2**63 - 1, 2**64 - 1)),
    *(b"\x80" * 9 + b"\1", b"\xff" * 10, b"\x80\0"),
)

# Pieces of each format that chance would hardly find.
TOKENS: dict[str, Sequence[bytes]] = {
    "tf1_checkpoint": (*_PROTOBUF, _leveldb_table.MAGIC, b'model_checkpoint_path: "../x"\n'),
    "tf2_checkpoint": (*_PROTOBUF, b"/.ATTRIBUTES/VARIABLE_VALUE", b"_CHECKPOINTABLE_OBJECT_GRAPH"),
    "tf1_v1_checkpoint": (*_PROTOBUF, _leveldb_table.MAGIC),
    "torch_pt": (
        *_PICKLE,
        *(b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"\1\0\x10\0"),
        *(
            b"ctorch\nFloatStorage\n",
            b"ctorch\nBFloat16Storage\n",
            b"ctorch\nSize\n",
            b"Q",
            b"P0\n",
        ),
        *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nfloat64\n", b"X\7\0\0\0storage"),
    ),
    "safetensors": (
        *(b'"dtype"', b'"shape"', b'"data_offsets"', b'"F64"', b'"BOOL"', b'"__metadata__"'),
        *(b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"NaN", b"1e400", b"-1", b"0.5"),
        *(b"4611686018427387903", b"9" * 30, b'"\\ud800"', b'"\\u0000\\n"', b"[" * 30, b'""'),
    ),
    "caffe2_pkl": (*_PICKLE, b"U\5blobs", b"U\1b"),
    "flax_pickle": (*_PICKLE, b"X\6\0\0\0params", b"X\1\0\0\0:"),
    "flax_msgpack": (
        *(bytes([first]) for first in (*range(0x80, 0x85), *range(0x90, 0x95), *range(0xC0, 0xE0))),
        *(b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\x7f\xff\xff\xff", b"\xa1:"),
        *(b"\xb9__msgpack_chunked_array__", b"\xa5shape", b"\xa6chunks", b"\xa7float32", b"\xa10"),
    ),
    "mindspore_ckpt": (
        *_PROTOBUF,
        b"crc_num",
        b"Float32",
        b"BFloat16",
        b"str",
        b"\xd8\x5e\x3a\x7f",
    ),
    "mxnet_params": (
        struct.pack("<I", 0xF993FAC9),
        struct.pack("<I", 0xF993FACA),
        b"arg:",
        b"aux:",
    ),
}


def damaged(data: bytes, others: Sequence[bytes], name: str, chance: random.Random) -> bytes:
    """`data` of the format `name` with one to four changes.

    Args:
        data: What is damaged, a file or a part of one.
        others: Files of the same format, which lend pieces.
        name: The format.
        chance: Where every choice comes from.
    """
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        _change(out, others, name, chance)
    return bytes(out[:_LARGEST])


def _change(out: bytearray, others: Sequence[bytes], name: str, chance: random.Random) -> None:
    size = chance.randrange(1, _LONGEST_PIECE)
    at, to = chance.randrange(len(out) + 1), chance.randrange(len(out) + 1)
    kind = chance.randrange(12)
    if kind == 0 and at < len(out):
        out[at] ^= 1 << chance.randrange(8)
    elif kind == 1 and at < len(out):
        out[at] = chance.randrange(256)
    elif kind == 2:
        out[at:at] = chance.randbytes(size)
    elif kind == 3:
        del out[at : at + size]
    elif kind == 4:
        out[at : at + size] = chance.randbytes(size)
    elif kind == 5:
        out[at : at + size], out[to : to + size] = out[to : to + size], out[at : at + size]
    elif kind == 6:
        del out[at:]
    elif kind == 7:
        out[to:to] = out[at : at + size] * chance.choice((1, 1, 2, 100))
    elif kind == 8:
        width = chance.choice((1, 2, 4, 8))
        number = (chance.choice(_INTERESTING) % 256**width).to_bytes(width, "little")
        out[at : at + width] = number if chance.random() < 0.5 else number[::-1]
    elif kind == 9:
        other = chance.choice(others)
        start = chance.randrange(len(other) + 1)
        out[at:] = (
            other[start:] if chance.random() < 0.5 else other[start : start + size] + out[at:]
        )
    elif kind == 10:
        token = chance.choice(TOKENS[name])
        out[at:at] = token
    else:
        token = chance.choice(TOKENS[name])
        out[at : at + len(token)] = token


def behind_checksums(
    data: bytes, others: Sequence[bytes], name: str, chance: random.Random
) -> bytes:
    """A container of which one part is damaged; its checksums and offsets are right again.

    What is no such container is damaged like any other file.
    """
    if data.startswith(b"PK\3\4"):
        return _in_archive(data, others, name, chance)
    if data.endswith(_leveldb_table.MAGIC):
        return (_in_table if chance.random() < 0.5 else _in_blocks)(data, others, name, chance)
    if data[-17:].startswith(b"crc_num"):
        message = damaged(data[:-17], others, name, chance)
        return message + b"crc_num" + zlib.crc32(message).to_bytes(10, "big")
    return damaged(data, others, name, chance)


def _in_archive(data: bytes, others: Sequence[bytes], name: str, chance: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    pickle = next(member for member in members if member.endswith("data.pkl"))
    # Nearly all that can go wrong is in the pickle.
    member = pickle if chance.random() < 0.8 else chance.choice(list(members))
    members[member] = damaged(members[member], others, name, chance)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member), content)
    return buffer.getvalue()


def _in_table(data: bytes, others: Sequence[bytes], name: str, chance: random.Random) -> bytes:
    """A key or value is damaged; the order of the keys may become wrong."""
    items = [list(item) for item in _leveldb_table.read(np.frombuffer(data, np.uint8))]
    item = chance.choice(items)
    part = chance.random() < 0.8  # the value rather than the key
    item[part] = damaged(item[part], others, name, chance)
    return _leveldb_table.write((key, value) for key, value in items)


def _in_blocks(data: bytes, others: Sequence[bytes], name: str, chance: random.Random) -> bytes:
    """Bytes of blocks are damaged; the checksums of those that are still found are made new."""
    bad = damaged(data, others, name, chance)
    out = bytearray(bad + data[-48:] if chance.random() < 0.3 else bad)
    with contextlib.suppress(ValueError, IndexError, struct.error):
        _, at = _leveldb_table._handle(bytes(out[-48:]), 0)
        index, _ = _leveldb_table._handle(bytes(out[-48:]), at)
        handles = [index]
        for _, value in _leveldb_table._entries(bytes(out[index[0] : index[0] + index[1]])):
            handles.append(_leveldb_table._handle(value, 0)[0])
        for offset, size in reversed(handles):
            end = offset + size + 1
            if end + 4 <= len(out) - 48:
                out[end : end + 4] = struct.pack("<I", masked(bytes(out[offset:end])))
    return bytes(out)
