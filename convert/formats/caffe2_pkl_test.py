"""Caffe2's pickled blobs: what Python 2 and 3 write, what both read, and what is refused."""

import pickle

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import caffe2_pkl

# What a damaged protocol-0 string makes Python's parser say.
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")

KERNEL = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)
MEAN = np.arange(200, dtype=np.float32)  # 800 bytes: a long string; KERNEL has a short one
BLOBS = {"conv1_w": KERNEL, "conv1_w_momentum": 2 * KERNEL, "gpu_0/bn_rm": MEAN}


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
