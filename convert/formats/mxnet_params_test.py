"""MXNet's parameter files: known bytes, and files that lie."""

import struct
import tracemalloc

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import mxnet_params

CODES = {name: code for code, name in enumerate(mxnet_params._DTYPES)}


def start(count):
    return struct.pack("<QQQ", 0x112, 0, count)


def stored(array, *, magic=0xF993FACA, storage=0, shape=None, ndim=None, code=None):
    """One array."""
    shape = array.shape if shape is None else shape
    return (
        struct.pack("<Iii", magic, storage, len(shape) if ndim is None else ndim)
        + struct.pack(f"<{len(shape)}q", *shape)
        + struct.pack("<iii", 1, 0, CODES[array.dtype.name] if code is None else code)
        + np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    )


def named(*names):
    """The list of names."""
    pieces = [struct.pack("<Q", len(name)) + name for name in map(str.encode, names)]
    return struct.pack("<Q", len(names)) + b"".join(pieces)


def save(path, data):
    path.write_bytes(data)
    return path


W = np.arange(6, dtype=np.float32).reshape(2, 3)
FILE = start(1) + stored(W) + named("w")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is cut off or damaged: its start needs 16 bytes, 0 are left"),
        (b"\x13" + FILE[1:], "does not start like"),
        (start(2**64 - 1) + bytes(100), "18446744073709551615 arrays cannot be 100 bytes"),
        (start(1) + stored(W, magic=0xF993FAC8) + named("w"), "magic 0xf993fac8.* before 1.0"),
        (start(1) + stored(W, storage=1) + named("w"), "array 0 of 1 has storage type row_sparse"),
        (start(1) + stored(W, storage=2) + named("w"), "storage type csr; only dense"),
        (start(1) + stored(W, shape=(), magic=0xF993FAC9) + named("w"), "was never filled"),
        (start(1) + stored(W, ndim=2**31 - 1) + named("w"), "has 2147483647 dimensions"),
        (start(1) + stored(W, code=8) + named("w"), "has type code 8; expected 0 to 7"),
        (start(1) + stored(W, shape=(-2, -3)) + named("w"), "a dimension of -2"),
        (start(1) + stored(W, shape=(2**61, 2**61)) + named("w"), "needs 2126764793255865396646"),
        (start(1) + stored(W, shape=(2, 300)) + named("w"), "array 0 of 1 needs 2400 bytes"),
        (start(1) + stored(W) + named(), "has 0 names for 1 arrays; save a dictionary"),
        (start(2) + stored(W) * 2 + named("arg:w", "aux:w"), "w is in the file twice"),
        (FILE[:-9] + struct.pack("<Q", 2**63) + b"w", "name 0 needs 9223372036854775808 bytes"),
        (FILE[:-1] + b"\xff", "utf-8"),
        (FILE + b"\0", "1 bytes follow its last name"),
        (start(0) + named() + bytes(0), "holds no array"),
    ],
)
def test_files_that_lie(data, text, tmp_path):
    path = save(tmp_path / "m.params", data)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=text) as caught:
        mxnet_params.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
    assert str(caught.value).startswith(f"{path}: ") and len(str(caught.value)) < 1000
