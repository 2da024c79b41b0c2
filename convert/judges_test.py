"""Networks as they are written for people, opened by the software that those people use."""

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
