"""Pickled nested dictionaries of NumPy arrays."""

import collections
import pickle

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import caffe2_pkl, flax_pickle

# What a damaged protocol-0 string makes Python's parser say.
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")

TREE = {
    "params": {"Mixed_3b": {"Branch_0/Conv3d_0a_1x1": {"kernel": np.ones((1, 2), np.float32)}}},
    "batch_stats": {"mean": np.arange(3, dtype=np.float32)},
}
NAMES = ["params:Mixed_3b:Branch_0/Conv3d_0a_1x1:kernel", "batch_stats:mean"]


def test_python_opens_what_is_written(tmp_path, arrays):
    path = tmp_path / "m.pickle"
    flax_pickle.write(path, {f"params:{name}": array for name, array in arrays.items()})
    data = path.read_bytes()
    assert data[:2] == b"\x80\x04"
    assert b"numpy.core.multiarray" in data and b"numpy._core" not in data  # NumPy 1 opens it
    got = pickle.loads(data)  # noqa: S301
    assert list(got) == ["params"] and list(got["params"]) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(got["params"][name], array)
        assert got["params"][name].shape == array.shape


ARRAY = np.ones(2, np.float32)
ORDERED = collections.OrderedDict


@pytest.mark.parametrize(
    ("tree", "module"),
    [
        (TREE, flax_pickle),
        ({"batch_stats": {"a": {"mean": ARRAY}}, "params": {}}, flax_pickle),
        ({"anything": {"w": ARRAY}}, flax_pickle),
        ({"step": np.int64(3), "params": {"w": ARRAY}}, flax_pickle),
        (ORDERED(params=ORDERED(Conv=ORDERED(kernel=ARRAY))), flax_pickle),
        ({"params": {}}, flax_pickle),
        ({"w": ARRAY, "params": {"w": ARRAY}}, caffe2_pkl),
        ({"params": ARRAY}, caffe2_pkl),
        ({"blobs": {"w": ARRAY}}, caffe2_pkl),
        ({"lr": np.float32(0.5), "blobs": {"w": ARRAY}}, caffe2_pkl),
        ({"model_iter": 3, "name": "x", "w": ARRAY}, caffe2_pkl),
        (ORDERED(blobs=ORDERED(w=ARRAY)), caffe2_pkl),
        ({}, caffe2_pkl),
    ],
)
@pytest.mark.parametrize("protocol", range(6))
def test_one_format_claims_a_pickle(tree, module, protocol, tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(tree, protocol))
    assert [m for m in (flax_pickle, caffe2_pkl) if m.recognises(path)] == [module]


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"a": {"b:c": np.zeros(1)}}, "'a:b:c': a key is no string or contains ':'"),
        ({3: np.zeros(1)}, "a key is no string"),
        ({"a": 5}, "a is a int; expected an array"),
        ({"a": [np.zeros(1)]}, "a is a list"),
        ([np.zeros(1)], "holds a list"),
        ({"a": {}}, "holds no array"),
        ({"a": np.array([None])}, "expected plain numbers"),
    ],
)
def test_what_is_refused(tree, text, tmp_path):
    path = tmp_path / "m.pickle"
    path.write_bytes(pickle.dumps(tree, 4))
    with pytest.raises(CheckpointError, match=text) as caught:
        flax_pickle.read(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"a": np.zeros(1), "a:b": np.zeros(1)}, "a:b: a is an array and a group"),
        ({"a:b": np.zeros(1), "a": np.zeros(1)}, "a is an array and a group"),
        ({"a": [1.0]}, "a is a list; expected a NumPy array"),
    ],
)
def test_what_cannot_be_written(arrays, text, tmp_path):
    with pytest.raises(CheckpointError, match=text):
        flax_pickle.write(tmp_path / "m.pickle", arrays)
    assert list(tmp_path.iterdir()) == []
