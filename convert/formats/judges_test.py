"""Other software opens what is written here, and what it writes is read."""

import collections
import pickle
import struct

import numpy as np
import pytest
from safetensors import numpy as official

from common.io import CheckpointError
from convert.formats import (
    caffe2_pkl,
    flax_msgpack,
    flax_pickle,
    mindspore_ckpt,
    pickles,
    safetensors,
)

# What a damaged protocol-0 string makes Python's parser say.
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_safetensors(tmp_path, arrays, same):
    path = tmp_path / "m"
    safetensors.write(path, arrays)
    same(official.load_file(path), arrays)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"does not have the checksum"):
        safetensors.read(path)


@pytest.mark.parametrize("encoding", ["latin1", "bytes"])
def test_caffe2(encoding, tmp_path, arrays, same):
    arrays["long"] = np.arange(200, dtype=np.float32)
    arrays["all"] = np.arange(256, dtype=np.uint8)
    caffe2_pkl.write(tmp_path / "m", arrays)
    got = pickle.loads((tmp_path / "m").read_bytes(), encoding=encoding)  # noqa: S301
    assert list(got) == ["blobs"]
    same(got["blobs"], arrays)


def test_settings_of_caffe2_are_left_out(tmp_path):
    path = tmp_path / "m"
    settings = {"name": "r50", "none": None, "on": True}
    path.write_bytes(pickle.dumps({"w": ARRAY} | settings, 2))
    assert list(caffe2_pkl.read(path)) == ["w"]
    beside = {"cfg": "text", "w": ARRAY, "more": {"v": ARRAY}, b"blobs": {b"b": ARRAY, b"n": b"t"}}
    path.write_bytes(pickle.dumps(beside, 2))
    assert list(caffe2_pkl.read(path)) == ["b"]


def test_flax_pickle(tmp_path, arrays, same):
    flax_pickle.write(tmp_path / "m", {f"params:{name}": array for name, array in arrays.items()})
    data = (tmp_path / "m").read_bytes()
    assert b"numpy.core.multiarray" in data and b"numpy._core" not in data  # NumPy 1 opens it
    got = pickle.loads(data)  # noqa: S301
    assert list(got) == ["params"]
    same(got["params"], arrays)


@pytest.mark.parametrize("protocol", range(6))
def test_what_numpy_pickles(protocol, tmp_path):
    turned = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    tree = collections.OrderedDict(
        c=ARRAY, f=np.asfortranarray(ARRAY), big=ARRAY.astype(">f8"), turned=turned,
        mask=ARRAY > 2, s=np.float64(2.5), n=3, rows=[ARRAY[1], (ARRAY[0], None)],
    )  # fmt: skip
    tree[np.int64(5)] = {"a": 0.5}
    (tmp_path / "m").write_bytes(pickle.dumps(tree, protocol))
    got = {}
    for path, value in pickles.leaves(pickles.load(tmp_path / "m"), (dict, list, tuple)):
        keys = [pickles.array(key).item() if pickles.is_array(key) else key for key in path]
        array = pickles.array(value) if pickles.is_array(value) else value
        got[pickles.shown((*keys,), "/")] = array
    assert [*got] == [*list(tree)[:7], "rows/0", "rows/1/0", "rows/1/1", "5/a"]
    for key in list(tree)[:6]:
        np.testing.assert_array_equal(got[key], tree[key], err_msg=key)
        assert got[key].dtype == tree[key].dtype
    assert (got["n"], got["rows/1/1"], got["5/a"]) == (3, None, 0.5)
    assert got["rows/1/0"].tolist() == [0, 1, 2]


ORDERED = collections.OrderedDict


@pytest.mark.parametrize(
    ("tree", "module"),
    [
        ({"batch_stats": {"a": {"mean": ARRAY}}, "params": {}}, flax_pickle),
        ({"step": np.int64(3), "params": {"w": ARRAY}}, flax_pickle),
        (ORDERED(params=ORDERED(Conv=ORDERED(kernel=ARRAY))), flax_pickle),
        ({"params": {}}, flax_pickle),
        ({"w": ARRAY, "params": {"w": ARRAY}}, caffe2_pkl),
        ({"blobs": {"w": ARRAY}}, caffe2_pkl),
        ({"lr": np.float32(0.5), "blobs": {"w": ARRAY}}, caffe2_pkl),
        ({"model_iter": 3, "name": "x", "w": ARRAY}, caffe2_pkl),
        (ORDERED(blobs=ORDERED(w=ARRAY)), caffe2_pkl),
        ({}, caffe2_pkl),
    ],
)
def test_one_format_claims_a_pickle(tree, module, tmp_path):
    path = tmp_path / "m.pkl"
    for protocol in range(6):
        path.write_bytes(pickle.dumps(tree, protocol))
        assert [m for m in (flax_pickle, caffe2_pkl) if m.recognises(path)] == [module], protocol


def text(value):
    return bytes([0xA0 + len(value)]) + value.encode()


def test_plain_values_of_flax(tmp_path):
    """A step or a learning rate beside the weights, as in a training state."""
    path = tmp_path / "m.msgpack"
    array = b"\xc7\x10\x03\x93\x90\xa7float32\xc4\x04" + struct.pack("<f", 2.5)
    path.write_bytes(
        b"\x88" + text("step") + b"\xcd\x01\x00" + text("minus") + b"\xd0\x85"
        + text("rate") + b"\xcb" + struct.pack(">d", 0.1)
        + text("complex") + b"\xc7\x13\x02\x92\xcb" + struct.pack(">d", 1)
        + b"\xcb" + struct.pack(">d", -2) + text("none") + b"\xc0" + text("name") + b"\xa1x"
        + text("number") + array + text("list") + b"\x92\xc3\x81\xa1q\x07"
    )  # fmt: skip
    got = flax_msgpack.read(path)
    assert {name: (array.dtype.name, array.tolist()) for name, array in got.items()} == {
        "step": ("int64", 256),
        "minus": ("int64", -123),
        "rate": ("float64", 0.1),
        "complex": ("complex128", 1 - 2j),
        "number": ("float32", 2.5),
        "list:1:q": ("int64", 7),
    }


def test_flax_msgpack(tmp_path, arrays, same, judge):
    """The judge: the bytes of `to_bytes`, and `msgpack_restore` of ours."""
    serialization = judge("flax.serialization")
    flax_msgpack.write(tmp_path / "m", {f"params:{name}": a for name, a in arrays.items()})
    data = (tmp_path / "m").read_bytes()
    same(serialization.msgpack_restore(data)["params"], arrays)
    little = {name: a.astype(a.dtype.newbyteorder("<")) for name, a in arrays.items()}
    assert serialization.to_bytes({"params": little}) == data


def test_mindspore(tmp_path, arrays, same, judge):
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
