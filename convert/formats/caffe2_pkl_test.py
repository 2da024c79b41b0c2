"""Caffe2's pickled blobs: what Python 2 and 3 write, what both read, and what is refused."""

import collections
import pickle
import struct

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import caffe2_pkl, flax_pickle

# What a damaged protocol-0 string makes Python's parser say.
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")

KERNEL = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)
MEAN = np.arange(200, dtype=np.float32)  # 800 bytes: a long string; KERNEL has a short one
BLOBS = {"conv1_w": KERNEL, "conv1_w_momentum": 2 * KERNEL, "gpu_0/bn_rm": MEAN}


def unicode_key(text):
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def byte_key(text):
    return b"U" + bytes([len(text)]) + text.encode()


# As Python 2's cPickle writes it, but for the memo.
FLOAT32 = (
    b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)


def array_of_python2(array):
    raw = array.tobytes()
    size = b"U" + bytes([len(raw)]) if len(raw) < 256 else b"T" + struct.pack("<i", len(raw))
    shape = b"(" + b"".join(b"K" + bytes([n]) for n in array.shape) + b"t"
    start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return start + b"(K\x01" + shape + FLOAT32 + b"\x89" + size + raw + b"tb"


def scalar_of_python2(value):
    raw = b"U\x04" + struct.pack("<f", value)
    return b"cnumpy.core.multiarray\nscalar\n" + FLOAT32 + raw + b"\x86R"


def file_of_python2(wrapper):
    """Protocol 2 with keys of both kinds."""
    entries = [
        unicode_key("model_iter") + b"J\x81\x1a\x06\x00",
        byte_key("lr") + scalar_of_python2(0.25),
        byte_key("conv1_w") + array_of_python2(KERNEL),
        unicode_key("conv1_w_momentum") + array_of_python2(2 * KERNEL),
        byte_key("gpu_0/bn_rm") + array_of_python2(MEAN),
        byte_key("weight_decay") + b"G" + struct.pack(">d", 1e-4),
    ]
    blobs = b"}(" + b"".join(entries) + b"u"
    return b"\x80\x02" + (b"}" + wrapper + blobs + b"s" if wrapper else blobs) + b"."


@pytest.mark.parametrize("wrapper", [b"", byte_key("blobs"), unicode_key("blobs")])
def test_reads_what_python2_pickles(wrapper, tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(file_of_python2(wrapper))
    assert caffe2_pkl.recognises(path) and not flax_pickle.recognises(path)
    got = caffe2_pkl.read(path)
    assert list(got) == ["model_iter", "lr", *BLOBS, "weight_decay"]
    for name, array in BLOBS.items():
        assert got[name].dtype == np.float32
        np.testing.assert_array_equal(got[name], array, strict=True)
    for name, dtype, value in (
        ("model_iter", np.int64, 400001),
        ("lr", np.float32, 0.25),
        ("weight_decay", np.float64, 1e-4),
    ):
        assert got[name].dtype == dtype and got[name].shape == () and got[name] == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("kind", [dict, collections.OrderedDict])
def test_reads_what_python3_pickles(protocol, wrapped, kind, tmp_path):
    path = tmp_path / "m.pkl"
    blobs = kind({"model_iter": 7, "lr": np.float64(0.5), **BLOBS, "f": np.asfortranarray(KERNEL)})
    path.write_bytes(pickle.dumps(kind({"blobs": blobs}) if wrapped else blobs, protocol))
    assert caffe2_pkl.recognises(path) and not flax_pickle.recognises(path)
    got = caffe2_pkl.read(path)
    assert list(got) == list(blobs)
    for name, value in blobs.items():
        np.testing.assert_array_equal(got[name], value)


def test_reads_protocol_0_of_python2(tmp_path):
    """Its strings hold any byte but those that `repr` escapes."""
    path = tmp_path / "m.pkl"
    raw = (
        b"'" + b"".join(bytes([b]) if b >= 128 else b"\\x%02x" % b for b in KERNEL.tobytes()) + b"'"
    )
    path.write_bytes(
        b"(dp1\nS'w'\np2\ncnumpy.core.multiarray\n_reconstruct\np3\n(cnumpy\nndarray\np4\n(I0\ntS'b'\n"
        b"tRp5\n(I1\n(I2\nI3\nI4\ntcnumpy\ndtype\np6\n(S'f4'\nI0\nI1\ntRp7\n(I3\nS'<'\nNNNI-1\nI-1\nI0\n"
        b"tbI00\nS" + raw + b"\ntbs."
    )
    assert caffe2_pkl.recognises(path)
    np.testing.assert_array_equal(caffe2_pkl.read(path)["w"], KERNEL, strict=True)


@pytest.mark.parametrize("encoding", ["latin1", "bytes"])
def test_python_opens_what_is_written(encoding, tmp_path, arrays):
    path = tmp_path / "m.pkl"
    every_byte = np.arange(256, dtype=np.uint8)
    caffe2_pkl.write(path, {**arrays, **BLOBS, "all": every_byte})
    with path.open("rb") as file:
        got = pickle.load(file, encoding=encoding)  # noqa: S301  (the file above)
    assert list(got) == ["blobs"]
    assert list(got["blobs"]) == [*arrays, *BLOBS, "all"]
    for name, array in (arrays | BLOBS | {"all": every_byte}).items():
        np.testing.assert_array_equal(got["blobs"][name], array)
        assert got["blobs"][name].shape == array.shape


def test_settings_are_left_out(tmp_path):
    path = tmp_path / "m.pkl"
    settings = {"name": "r50", "none": None, "on": True, "steps": [1, (2, "x")], "more": {"a": {}}}
    path.write_bytes(pickle.dumps({"w": KERNEL} | settings, 2))
    assert list(caffe2_pkl.read(path)) == ["w"]
    path.write_bytes(pickle.dumps({b"blobs": {b"w": KERNEL, b"note": b"text"}}, 2))
    assert list(caffe2_pkl.read(path)) == ["w"]
    beside = {"cfg": "text", "w": KERNEL, "more": {"v": KERNEL}, "blobs": {"b": MEAN}}
    path.write_bytes(pickle.dumps(beside, 2))
    assert list(caffe2_pkl.read(path)) == ["b"]


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"a": {"w": KERNEL}}, "a is a dict of arrays; expected one dictionary"),
        ({"blobs": {"a": [KERNEL]}}, "a is a list of arrays"),
        ({"blobs": {"a": np.dtype("f4")}}, "a is a numpy.dtype of objects"),
        ({3: KERNEL}, "a key of type int"),
        ({"blobs": {("a",): KERNEL}}, "a key of type tuple"),
        ([KERNEL], "holds a list"),
        ({"blobs": {}}, "holds no array"),
        ({"blobs": {"name": "x"}}, "holds no array"),
        ({"model_iter": 2**63}, "model_iter is an integer of 64 bits"),
        ({"n" * 1001: KERNEL}, "a name of 1001 characters"),
        ({"a": np.array(["x"])}, "a: an array of dtype .*expected plain numbers"),
        ({"a": np.ma.zeros(1)}, "refused to load numpy.ma"),
    ],
)
def test_what_is_refused(tree, text, tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(tree, 2))
    with pytest.raises(CheckpointError, match=text) as caught:
        caffe2_pkl.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_what_cannot_be_written(tmp_path):
    huge = np.broadcast_to(np.zeros(1, np.float32), (2**29,))  # 2 GiB of one value
    with pytest.raises(CheckpointError, match="w has 2147483648 bytes; a blob that Python 2"):
        caffe2_pkl.write(tmp_path / "m.pkl", {"w": huge})
    with pytest.raises(CheckpointError, match="a is a list; expected a NumPy array"):
        caffe2_pkl.write(tmp_path / "m.pkl", {"a": [1.0]})
    with pytest.raises(CheckpointError, match="a has dtype"):
        caffe2_pkl.write(tmp_path / "m.pkl", {"a": np.array(["x"])})
    assert list(tmp_path.iterdir()) == []
