"""The published weights themselves, there and back: the git blob id must come out again."""

import hashlib

import numpy as np
import pytest

from convert import formats, hub

DATA_FILE_BLOB = "fa7df95674dbf3579e7fccd954e51e706b4734c1"

CHAIN = [
    ("rgb_scratch.pt", "piergiaj"),
    ("rgb_scratch.pth", "hassony2"),
    ("rgb_scratch.safetensors", None),
    ("rgb_scratch.pkl", None),
    ("model.ckpt", None),
]


def _blob(path):
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def test_a_chain_of_conversions_reproduces_the_published_file(tmp_path, real_data):
    published = real_data("checkpoints/rgb_scratch/model.ckpt.index")
    source = published
    for name, dialect in CHAIN:
        hub.convert(source, tmp_path / name, to=dialect)
        source = tmp_path / name
    assert _blob(tmp_path / "model.ckpt.data-00000-of-00001") == DATA_FILE_BLOB
    assert (tmp_path / "model.ckpt.index").read_bytes() == published.read_bytes()


def test_tensorflow_reads_the_end_of_the_chain(tmp_path, real_data):
    tf = pytest.importorskip("tensorflow", reason="needs the extra 'tf'")
    source = real_data("checkpoints/rgb_scratch/model.ckpt.index")
    hub.convert(source, tmp_path / "rgb_scratch.pt", to="piergiaj")
    hub.convert(tmp_path / "rgb_scratch.pt", tmp_path / "model.ckpt")
    reader = tf.train.load_checkpoint(str(tmp_path / "model.ckpt"))
    own = formats.detect(source).read(source)
    assert reader.get_variable_to_shape_map().keys() == own.keys()
    for name, array in own.items():
        np.testing.assert_array_equal(reader.get_tensor(name), array, err_msg=name)
