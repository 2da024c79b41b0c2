"""Pickled nested dictionaries of NumPy arrays."""

import pickle

import numpy as np
import pytest

from common.errors import CheckpointError
from convert.formats import flax_pickle, torch_pt

TREE = {
    "params": {"Mixed_3b": {"Branch_0/Conv3d_0a_1x1": {"kernel": np.ones((1, 2), np.float32)}}},
    "batch_stats": {"mean": np.arange(3, dtype=np.float32)},
}
NAMES = ["params:Mixed_3b:Branch_0/Conv3d_0a_1x1:kernel", "batch_stats:mean"]


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_reads_what_python_pickles(protocol, tmp_path):
    path = tmp_path / "m.pickle"
    path.write_bytes(pickle.dumps(TREE, protocol))
    assert flax_pickle.recognises(path)
    got = flax_pickle.read(path)
    assert list(got) == NAMES
    np.testing.assert_array_equal(got[NAMES[0]], [[1, 1]], strict=False)
    assert got[NAMES[1]].tolist() == [0, 1, 2]


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


def test_not_torch(tmp_path, arrays):
    torch_pt.write_legacy(tmp_path / "m.pt", arrays)
    assert not flax_pickle.recognises(tmp_path / "m.pt")


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
        ({"a": np.array(["x"])}, "expected plain numbers"),
        ({"a": np.zeros(1, "M8[s]")}, "expected plain numbers"),
        ({"a": np.zeros(1, [("x", "f4")])}, "expected plain numbers"),
        ({"a": np.ma.zeros(1)}, "refused to load numpy.ma"),
    ],
)
def test_what_is_refused(tree, text, tmp_path):
    path = tmp_path / "m.pickle"
    path.write_bytes(pickle.dumps(tree, 4))
    with pytest.raises(CheckpointError, match=text) as caught:
        flax_pickle.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_bytes_behind_the_end(tmp_path):
    path = tmp_path / "m.pickle"
    path.write_bytes(pickle.dumps(TREE, 4) + b"x")
    with pytest.raises(CheckpointError, match="1 bytes follow"):
        flax_pickle.read(path)


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
