"""MindSpore checkpoints: known bytes, MindSpore itself, slices, and files that lie."""

import tracemalloc
import zlib

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import mindspore_ckpt
from convert.formats._protobuf import bytes_field, string_field, varint_field

EXAMPLE = bytes.fromhex("0a2c0a0177122708020803") + b"\x12\x07Float32\x1a\x18"
VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)
FLOATS = VALUES.tobytes()


def tensor(name, dims, kind, content):
    """The entry of one tensor."""
    parts = [varint_field(1, dim) for dim in dims]
    parts += [string_field(2, kind), bytes_field(3, content)]
    return entry(string_field(1, name), bytes_field(2, b"".join(parts)))


def entry(*parts):
    return bytes_field(1, b"".join(parts))


def map_tensor(name):
    part = varint_field(1, 2) + string_field(2, "int32") + bytes_field(3, bytes(8))
    return entry(string_field(1, name), bytes_field(3, bytes_field(1, part) * 3))


W = tensor("w", [2, 3], "Float32", FLOATS)
STRING = tensor("note", [0], "str", "hello".encode("utf-32-le"))


def save(path, *parts):
    path.write_bytes(b"".join(parts))
    return path


def read(tmp_path, *parts):
    return mindspore_ckpt.read(save(tmp_path / "m.ckpt", *parts))


def with_checksum(message):
    return message + b"crc_num" + zlib.crc32(message).to_bytes(10, "big")


def test_known_bytes(tmp_path):
    path = tmp_path / "m.ms.ckpt"
    mindspore_ckpt.write(path, {"w": VALUES})
    assert path.read_bytes() == with_checksum(EXAMPLE + FLOATS)
    assert W == EXAMPLE + FLOATS
    for data in (W, with_checksum(W)):
        got = read(tmp_path, data)
        assert list(got) == ["w"] and got["w"].dtype == np.float32
        assert got["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_mindspore_writes_the_same_bytes(tmp_path, arrays, same, judge):
    mindspore = judge("mindspore")
    del arrays["empty"]  # it writes no empty tensor
    plain = {
        name: np.ascontiguousarray(a.astype(a.dtype.newbyteorder("="))).reshape(a.shape)
        for name, a in arrays.items()
    }
    parameters = [{"name": name, "data": mindspore.Tensor(a)} for name, a in plain.items()]
    theirs, ours = tmp_path / "theirs.ckpt", tmp_path / "ours.ckpt"
    mindspore.save_checkpoint(parameters, str(theirs), crc_check=True)
    mindspore_ckpt.write(ours, arrays)
    assert ours.read_bytes() == theirs.read_bytes()
    mindspore.save_checkpoint(parameters, str(theirs), append_dict={"note": "hello", "epoch": 3})
    assert mindspore_ckpt.recognises(theirs)
    same(mindspore_ckpt.read(theirs), arrays | {"epoch": np.array(3, np.int64)})


@pytest.mark.parametrize("dims", [[], [0]])
def test_scalars_of_old_and_new_versions(dims, tmp_path):
    got = read(tmp_path, tensor("epoch", dims, "Int64", b"\7" + bytes(7)))["epoch"]
    assert got.shape == () and got == 7 and got.dtype == np.int64


def test_an_empty_vector_is_no_scalar(tmp_path):
    assert read(tmp_path, tensor("e", [0], "Int64", b""))["e"].shape == (0,)


def test_strings_and_map_tensors_are_left_out(tmp_path):
    got = read(tmp_path, STRING, map_tensor("table"), map_tensor("table"), W)
    assert list(got) == ["w"]
    assert mindspore_ckpt.recognises(tmp_path / "m.ckpt")
    for parts in ([STRING], [map_tensor("table")], [], [with_checksum(b"")]):
        with pytest.raises(CheckpointError, match=rf"^{tmp_path / 'm.ckpt'}: holds no array"):
            read(tmp_path, *parts)


HUGE = (1 << 61, 1 << 61)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (W + W, "w is in the file twice"),
        (STRING + W + STRING, "note is in the file twice"),
        (tensor("w", [2, 3], "Float32", FLOATS[:20]), "needs 24 bytes, but 20 are stored"),
        (tensor("w", [0], "Float32", FLOATS), r"w: Float32 \[0\] needs 0 bytes, but 24"),
        (tensor("w", HUGE, "Float32", FLOATS), "needs 21267647932558653966460912964485513216 b"),
        (tensor("w", [-1, 3], "Float32", FLOATS), "a dimension of 18446744073709551615"),
        (tensor("w", [1] * 33, "Float32", FLOATS), "w has .* more than 32 dimensions"),
        (tensor("w", [24], "Int4", FLOATS), "w has type 'Int4'; expected one of BFloat16, Bool"),
        (entry(string_field(1, "w")), "not a tag with one tensor"),
        (entry(string_field(1, "w"), string_field(1, "v")), "repeated field 1"),
        (entry(string_field(1, "w"), varint_field(4, 1)), "unknown or repeated field 4"),
        (entry(string_field(1, "w"), bytes_field(2, bytes_field(3, b"a"))), "lacks its type or"),
        (entry(string_field(1, "w"), bytes_field(2, bytes_field(1, b"\2\3"))), "field 1"),
        (W + varint_field(2, 1), "has an unknown field 2"),
        (W[:-1], r"no MindSpore checkpoint\) is cut off: its field 1 needs 44 bytes, 43 are left"),
        (b"\xd8\x5e\x3a\x7f" + bytes(40), "is encrypted"),
        (with_checksum(W)[:-1] + b"\0", "expected 0x.*: the file is damaged"),
    ],
)
def test_files_that_lie(data, text, tmp_path):
    path = save(tmp_path / "m.ckpt", data)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=text) as caught:
        mindspore_ckpt.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
    assert str(caught.value).startswith(f"{path}: ") and len(str(caught.value)) < 1000


def test_arrays_that_do_not_fit(tmp_path):
    for array, text in (
        (np.zeros(2, np.complex64), "cannot hold dtype complex64"),
        (np.zeros(0), r"w has shape \[0\], which means a scalar"),
    ):
        with pytest.raises(CheckpointError, match=text):
            mindspore_ckpt.write(tmp_path / "m", {"w": array})
    assert list(tmp_path.iterdir()) == []
