"""V1 checkpoints, through TensorFlow."""

import sys

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import detect, tf1_checkpoint, tf1_v1_checkpoint
from convert.formats.contract_test import FOLDER

GOLDEN = FOLDER / "tf1_v1_checkpoint.ckpt"


@pytest.fixture
def v1():
    pytest.importorskip("sonnet", reason="i3d_tf needs it, and TensorFlow")
    return pytest.importorskip("tensorflow").compat.v1


def _save(tf, path, make):
    with tf.Graph().as_default(), tf.Session() as session:
        variables = make()
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver(write_version=tf.train.SaverDef.V1)
        saver.save(session, str(path), write_meta_graph=False)
        return session.run(variables)


def test_every_type(tmp_path, v1, same):
    values = {
        **{name: np.array([0, 1, 100], name) for name in ("int8", "int32", "uint8", "float64")},
        "int64": np.array([[-(2**63)], [2**63 - 1]]),
        "empty": np.zeros((0, 4), np.float32),
        "scalar": np.array(-7, np.int32),
        "complex64": np.array([1 + 2j], np.complex64),
    }
    words = {"words": np.array(["ab", "c"])}  # left out
    make = lambda: [v1.Variable(v, name=n, use_resource=False) for n, v in (values | words).items()]  # noqa: E731
    _save(v1, tmp_path / "m", make)
    same(tf1_v1_checkpoint.read(tmp_path / "m"), values)


def test_partitioned_variables_are_joined(tmp_path, v1):
    def make():
        parts = v1.fixed_size_partitioner(3)
        start = v1.random_normal_initializer()
        variable = v1.get_variable("w", (7, 5), None, start, partitioner=parts, use_resource=False)
        return v1.convert_to_tensor(variable)

    expected = _save(v1, tmp_path / "m", make)
    assert detect(tmp_path / "m") is tf1_v1_checkpoint
    np.testing.assert_array_equal(tf1_v1_checkpoint.read(tmp_path / "m")["w"], expected)


def test_one_of_several_files(tmp_path):
    path = tmp_path / "m-00000-of-00002"
    path.write_bytes(GOLDEN.read_bytes())
    with pytest.raises(CheckpointError, match="one of the 2 files of a V1 checkpoint"):
        tf1_v1_checkpoint.read(path)


def test_the_reader_of_bundles_says_what_it_is():
    assert not tf1_checkpoint.recognises(GOLDEN)
    with pytest.raises(CheckpointError, match=rf"^{GOLDEN}: a TensorFlow V1 .*itself as"):
        tf1_checkpoint.read(GOLDEN)


def test_without_tensorflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.delitem(sys.modules, "i3d_tf", raising=False)
    with pytest.raises(CheckpointError, match=rf"^{GOLDEN}: .* needs TensorFlow.*pip install"):
        tf1_v1_checkpoint.read(GOLDEN)
