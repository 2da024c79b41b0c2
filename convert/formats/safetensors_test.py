"""safetensors files against the official package, and headers that lie."""

import json
import struct

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import safetensors
from convert.formats._crc32c import crc32c

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def save(path, header, data=bytes(8)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_official_package_opens_what_is_written(tmp_path, arrays):
    official = pytest.importorskip("safetensors.numpy")
    safetensors.write(tmp_path / "m.safetensors", arrays)
    got = official.load_file(tmp_path / "m.safetensors")
    assert sorted(got) == sorted(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(got[name], array)


def test_reads_what_the_official_package_writes(tmp_path, arrays, same):
    official = pytest.importorskip("safetensors.numpy")
    plain = {
        name: np.ascontiguousarray(a.astype(a.dtype.newbyteorder("<")))
        for name, a in arrays.items()
    }
    plain |= {name: a.reshape(arrays[name].shape) for name, a in plain.items()}
    official.save_file(plain, tmp_path / "m.safetensors", metadata={"format": "np"})
    same(safetensors.read(tmp_path / "m.safetensors"), arrays)


def test_transposed_arrays_keep_their_values(tmp_path):
    """The official writer stores these bytes in the wrong order."""
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    safetensors.write(tmp_path / "m.safetensors", {"w": array})
    np.testing.assert_array_equal(safetensors.read(tmp_path / "m.safetensors")["w"], array)


def test_stamp(tmp_path):
    array = np.arange(3, dtype=np.float32)
    safetensors.write(tmp_path / "m.safetensors", {"w": array})
    data = (tmp_path / "m.safetensors").read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    assert size % 8 == 0 and data[8 + size :] == array.tobytes()
    checksums = {"w": f"{crc32c(array.tobytes()):08x}"}
    assert header["__metadata__"]["format"] == "pt"
    assert json.loads(header["__metadata__"]["crc32c"]) == checksums
    (tmp_path / "m.safetensors").write_bytes(data[:-1] + b"\x41")
    with pytest.raises(CheckpointError, match=r"w has checksum .*: the file is damaged"):
        safetensors.read(tmp_path / "m.safetensors")


def test_bfloat16_is_widened_exactly(tmp_path):
    bits = np.array([0x3FC0, 0xC010, 0x7F80, 0x0001], np.uint16)
    entry = {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}
    got = safetensors.read(save(tmp_path / "m", {"w": entry}, bits.tobytes()))["w"]
    assert got.dtype == np.float32
    assert got.tolist() == [[1.5, -2.25], [np.inf, 2.0**-133]]


def test_data_is_a_view(tmp_path):
    got = safetensors.read(save(tmp_path / "m", {"w": F32}))["w"]
    assert not got.flags.owndata and not got.flags.writeable


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ({"w": F32 | {"data_offsets": [0, 9]}}, r"bytes 0\.\.9 of 8"),
        ({"w": F32 | {"data_offsets": [4, 12]}}, r"bytes 4\.\.12 of 8"),
        ({"w": F32 | {"data_offsets": [8, 0]}}, "needs 8"),
        ({"w": F32 | {"data_offsets": [-8, 0]}}, "a dimension of -8"),
        ({"w": F32 | {"data_offsets": [0]}}, "malformed shape or offsets"),
        ({"w": F32 | {"shape": [3]}}, "needs 12"),
        ({"w": F32 | {"shape": [-2, -1]}}, "a dimension of -2"),
        ({"w": F32 | {"shape": [2.0]}}, r"a dimension of 2\.0"),
        ({"w": F32 | {"shape": [True, 2]}}, "a dimension of True"),
        ({"w": F32 | {"shape": [2**62]}}, "a dimension of 46116"),
        ({"w": F32 | {"dtype": "F8_E4M3"}}, "has dtype 'F8_E4M3'; expected one of BF16, BOOL"),
        ({"w": F32 | {"dtype": []}}, "has dtype"),
        ({"w": 5}, "lacks dtype"),
        ({"w": {"dtype": "F32"}}, "lacks dtype"),
        ({"v": F32, "w": F32}, "w at bytes 0..8 overlaps"),
        ({"w": F32 | {"shape": [1], "data_offsets": [4, 8]}}, "leaves a gap"),
        ({"w": F32 | {"shape": [1], "data_offsets": [0, 4]}}, "4 bytes follow its last tensor"),
        (b'{"w":' + json.dumps(F32).encode() + b',"w":5}', "has the key 'w' twice"),
        (b'{"w": NaN}', "holds NaN"),
        (b"[1]", "its header is a list"),
        (b'{"w": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
        (b"{" + b'"a":{' * 100_000, "malformed|recursion|Recursion"),
        (b"{\xff}", "utf-8"),
        (b"{", "Expecting property name"),
        ({"__metadata__": 5}, "__metadata__ is a int"),
        ({"__metadata__": {"crc32c": "[]"}, "w": F32}, "checksums is malformed"),
        ({"__metadata__": {"crc32c": "{}"}, "w": F32}, "w has no checksum"),
    ],
)
def test_headers_that_lie(header, text, tmp_path):
    path = save(tmp_path / "m", header)
    with pytest.raises(CheckpointError, match=text) as caught:
        safetensors.read(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("data", [b"", b"\1", struct.pack("<Q", 2**63) + b"{}", bytes(7)])
def test_cut_off(data, tmp_path):
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(CheckpointError, match="declares a header of"):
        safetensors.read(tmp_path / "m")


@pytest.mark.parametrize("header", [{}, {"__metadata__": {"format": "pt"}}])
def test_no_tensor(header, tmp_path):
    path = save(tmp_path / "m", header, b"")
    with pytest.raises(CheckpointError, match=rf"^{path}: holds no array"):
        safetensors.read(path)


def test_reserved_name(tmp_path):
    with pytest.raises(CheckpointError, match="__metadata__"):
        safetensors.write(tmp_path / "m", {"__metadata__": np.zeros(1)})
