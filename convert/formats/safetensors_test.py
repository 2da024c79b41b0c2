"""safetensors files: what the package does not do, and headers that lie."""

import json
import struct
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from safetensors import numpy as official

from common.io import CheckpointError
from convert.formats import safetensors
from convert.formats._mapped_file import crc32c

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def save(path, header, data=bytes(8)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_official_package_opens_what_is_written(tmp_path, arrays):
    safetensors.write(tmp_path / "m.safetensors", arrays)
    got = official.load_file(tmp_path / "m.safetensors")
    assert sorted(got) == sorted(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(got[name], array)


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


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ({"w": F32 | {"data_offsets": [0, 9]}}, "offset"),
        ({"w": F32 | {"shape": [2] + [1] * 32}}, "33 dimensions"),
        ({"w": F32 | {"dtype": "F8_E4M3", "shape": [8]}}, "F8_E4M3; expected one of BF16, BOOL"),
        ({"v": F32, "w": F32}, "invalid offset"),
        (b'{"w":' + json.dumps(F32).encode() + b',"w":' + json.dumps(F32).encode() + b"}", "twice"),
        (b"[1]", "invalid JSON"),
        ({"__metadata__": {"crc32c": "[1]"}, "w": F32}, "w has checksum .*, expected None"),
        ({"__metadata__": {"crc32c": "{}"}, "w": F32}, "w has checksum .*, expected None"),
        ({}, "not fully covered"),
    ],
)
def test_headers_that_lie(header, text, tmp_path):
    path = save(tmp_path / "m", header)
    with pytest.raises(CheckpointError, match=text) as caught:
        safetensors.read(path)
    assert str(caught.value).startswith(f"{path}: ") and str(caught.value).isprintable()


def test_nothing_to_read_or_write(tmp_path):
    with pytest.raises(CheckpointError, match=rf"^{tmp_path / 'm'}: holds no array"):
        safetensors.read(save(tmp_path / "m", {"__metadata__": {"format": "pt"}}, b""))
    with pytest.raises(CheckpointError, match="__metadata__"):
        safetensors.write(tmp_path / "m", {"__metadata__": np.zeros(1)})


def test_a_full_disk_is_reported(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with mock.patch("convert.formats.safetensors.replacing") as replacing:
        replacing.return_value.__enter__.return_value = Path("/dev/full")
        replacing.return_value.__exit__.return_value = False
        with pytest.raises(OSError, match="No space left"):
            safetensors.write(tmp_path / "m", {"w": np.zeros(10**5)})
