"""Networks as they are written for people, opened by the software that those people use."""

import pickle

import numpy as np
import pytest

from common import arch
from convert import hub
from convert.dialects import DIALECTS, to_native
from parity_tests import randomise


@pytest.fixture(scope="module")
def weights():
    net = arch.inception_i3d(7)
    return hub.Weights(net, randomise.arrays(net))


@pytest.fixture
def written(tmp_path, weights):
    """A function that writes a file, and returns its path and what its names should hold."""

    def write(name, dialect):
        hub.write(weights, tmp_path / name, dialect)
        return str(tmp_path / name), to_native(DIALECTS[dialect], weights.net, weights.arrays)

    return write


def assert_same(got, expected):
    assert sorted(got) == sorted(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name, strict=True)


def test_tensorflow(written):
    tf = pytest.importorskip("tensorflow", reason="needs the extra 'tf'")
    path, expected = written("model.ckpt", "kinetics_i3d")
    reader = tf.train.load_checkpoint(path)
    assert_same(
        {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}, expected
    )


def test_torch(written):
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    path, expected = written("model.pt", "piergiaj")
    state = torch.load(path, weights_only=True)
    assert_same({name: tensor.numpy() for name, tensor in state.items()}, expected)


def test_caffe2(written):
    """As Python's own pickle opens what Python 2 wrote; Caffe2 itself is gone."""
    path, expected = written("model.pkl", "caffe2")
    with open(path, "rb") as file:
        content = pickle.load(file, encoding="latin1")  # noqa: S301  (the file above)
    assert list(content) == ["blobs"]
    assert_same(content["blobs"], expected)


def test_flax(written, judge):
    serialization, traverse_util = judge("flax.serialization"), judge("flax.traverse_util")
    path, expected = written("model.msgpack", "flax")
    with open(path, "rb") as file:
        tree = serialization.msgpack_restore(file.read())
    assert_same(traverse_util.flatten_dict(tree, sep=":"), expected)


def test_mindspore(written, judge):
    path, expected = written("model.ms.ckpt", "mindspore")
    parameters = judge("mindspore").load_checkpoint(path, crc_check=True)
    assert_same({name: value.asnumpy() for name, value in parameters.items()}, expected)
