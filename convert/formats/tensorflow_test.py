"""TensorFlow's checkpoints: byte-exact against published files and TensorFlow itself, both ways."""

import sys

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import _wire, tf1_checkpoint, tf2_checkpoint
from convert.formats._raw import masked_crc32c
from convert.formats.contract_test import FOLDER
from convert.formats.tf1_checkpoint import HEADER, Entry, read_index, serialise

V1 = FOLDER / "tf1_v1_checkpoint.ckpt"
PUBLISHED = {
    "checkpoints/rgb_scratch": ("RGB/inception_i3d/", 230, 0x3C1E560E),
    "checkpoint_indexes/rgb_imagenet": ("RGB/inception_i3d/", 230, 0x4D9701F3),
    "checkpoint_indexes/flow_imagenet": ("Flow/inception_i3d/", 230, 0x3B88BD5E),
    "checkpoint_indexes/flow_scratch": ("Flow/inception_i3d/", 230, 0x94BCF526),
    "checkpoint_indexes/rgb_scratch_kin600": ("", 346, 0x3C4907EB),
}


@pytest.fixture
def tf():
    return pytest.importorskip("tensorflow", reason="it is the judge")


def table(entries, header=HEADER):
    items = [(name.encode(), serialise(entry)) for name, entry in entries.items()]
    return _wire.write_table([(b"", header), *items])


@pytest.mark.parametrize("folder", PUBLISHED)
def test_published_indexes(folder, real_data):
    scope, count, stem = PUBLISHED[folder]
    index = real_data(f"{folder}/model.ckpt.index")
    _, entries = read_index(index)
    assert len(entries) == count
    assert entries[f"{scope}Conv3d_1a_7x7/conv_3d/w"].crc32c == stem
    assert table(entries) == index.read_bytes()


@pytest.mark.parametrize("count", [1500, 6000])  # of which the index has one block, or several
def test_tensorflow_writes_and_reads_the_same(count, tmp_path, tf, same):
    random = np.random.default_rng(1)
    arrays = {f"block_{i:04d}/{'y' * (i % 90)}/w": random.normal(size=i % 7) for i in range(count)}
    names = sorted(arrays)
    tensors = [arrays[name] for name in names]
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "theirs"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=tensors,
    )
    same(tf1_checkpoint.read(tmp_path / "theirs"), arrays)
    tf1_checkpoint.write(tmp_path / "ours", arrays)
    for ending in (".index", ".data-00000-of-00001")[count > 1500 :]:
        theirs = (tmp_path / f"theirs{ending}").read_bytes()
        assert (tmp_path / f"ours{ending}").read_bytes() == theirs
    got = tf.raw_ops.RestoreV2(
        prefix=str(tmp_path / "ours"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        dtypes=[tf.float64] * len(names),
    )
    assert all((g.numpy() == t).all() for g, t in zip(got, tensors, strict=True))


def test_any_name_of_the_checkpoint_will_do(tmp_path, arrays, same):
    prefix = tmp_path / "a" / "model.ckpt-7"
    tf1_checkpoint.write(prefix, arrays)
    data, index = tf1_checkpoint.files(prefix)
    assert data.name == "model.ckpt-7.data-00000-of-00001" and index.name == "model.ckpt-7.index"
    for path in (prefix, index, data, prefix.parent):
        assert tf1_checkpoint.recognises(path)
        assert tf1_checkpoint.files(path) == [data, index]
        same(tf1_checkpoint.read(path), arrays)


def test_folders(tmp_path):
    with pytest.raises(CheckpointError, match=r"no \*\.index file"):
        tf1_checkpoint.read(tmp_path)
    for name in ("model.ckpt-1", "model.ckpt-2"):
        tf1_checkpoint.write(tmp_path / name, {"step": np.array(int(name[-1]))})
    with pytest.raises(CheckpointError, match=r"several checkpoints: model.ckpt-1, model.ckpt-2"):
        tf1_checkpoint.read(tmp_path)


def test_several_shards(tmp_path):
    first, second = np.arange(3.0), np.arange(4)
    entries = {
        "a": Entry("float64", (3,), 0, 0, 24, masked_crc32c(first.tobytes())),
        "b": Entry("int64", (4,), 1, 8, 32, masked_crc32c(second.tobytes())),
    }
    (tmp_path / "m.index").write_bytes(table(entries, bytes.fromhex("08021a020801")))
    (tmp_path / "m.data-00000-of-00002").write_bytes(first.tobytes())
    with pytest.raises(CheckpointError, match=r"m\.data-00001-of-00002: this data file is missing"):
        tf1_checkpoint.read(tmp_path / "m")
    (tmp_path / "m.data-00001-of-00002").write_bytes(bytes(8) + second.tobytes())
    got = tf1_checkpoint.read(tmp_path / "m")
    assert got["a"].tolist() == [0, 1, 2] and got["b"].tolist() == [0, 1, 2, 3]
    assert len(tf1_checkpoint.files(tmp_path / "m")) == 3


GOOD = Entry("float32", (2,), 0, 0, 8, masked_crc32c(bytes(8)))
TWO = {"x": GOOD, "y": GOOD}


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (table({"x": GOOD._replace(shape=(3,))}), r"float32 \[3\] needs 12 bytes, not 8"),
        (table({"x": GOOD._replace(shape=(2**61, 2**61))}), "needs 2126764793255865396646"),
        (table({"x": GOOD._replace(offset=2**60)}), "x is cut off"),
        (table({"x": GOOD._replace(shard=1)}), "data file 1, of 1"),
        (table({"x": GOOD._replace(crc32c=5)}), "its checksum does not match"),
        (table(TWO), "data files are smaller than its tensors"),
        (table({}, b"\x08\x01\x10\x01"), "header of a little-endian bundle"),
        (table({}, b"\x08\x00"), "header of a little-endian bundle"),
        (_wire.write_table([(b"", HEADER), (b"x", b"\x08\x63")]), "TensorFlow's number 99"),
        (
            _wire.write_table([(b"", HEADER), (b"x", b"\x08\x01\x12\x00\x3a\x00")]),
            "stored in slices",
        ),
        (_wire.write_table([(b"", HEADER), (b"b", b""), (b"a", b"")]), "b'a' is out of order"),
        (_wire.write_table([(b"", HEADER), (b"x", b"\x0a\xff\xff\xff\xff\x0f")]), "cut off"),
    ],
)
def test_indexes_that_lie(index, text, tmp_path):
    (tmp_path / "m.index").write_bytes(index)
    (tmp_path / "m.data-00000-of-00001").write_bytes(bytes(8))
    with pytest.raises(CheckpointError, match=rf"^{tmp_path / 'm'}.*{text}"):
        tf1_checkpoint.read(tmp_path / "m")


def test_v1_without_tensorflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.delitem(sys.modules, "i3d_tf", raising=False)
    with pytest.raises(CheckpointError, match=rf"^{V1}: a TensorFlow V1 .*pip install"):
        tf1_checkpoint.read(V1)


# Objects

# Paths of objects, with what TensorFlow escapes.
ARRAYS = {
    "layers/Conv3d_1a_7x7/conv/w": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "layers/Conv3d_1a_7x7/norm/moving_mean": np.array([0.5, -1.0], np.float32),
    "layers/Mixed_3b..Branch_0.Sconv/w": np.array([[7.0]]),
    "layers/Mixed_3b..Branch_0.Sconv/..S": np.array([8, 9]),
    "steps/0": np.array(3, np.int64),
    "steps/1": np.array(4, np.int32),
}


@pytest.fixture
def model(tf):
    """A module with the variables of ARRAYS, all of them zero, and these by name."""
    zeros = {name: tf.Variable(array * 0) for name, array in ARRAYS.items()}
    conv, mean, w, dots, first, second = zeros.values()
    module = tf.Module()
    module.layers = {
        "Conv3d_1a_7x7": {"conv": {"w": conv}, "norm": tf.Module()},
        "Mixed_3b.Branch_0/conv": {"w": w, ".S": dots},
    }
    module.layers["Conv3d_1a_7x7"]["norm"].moving_mean = mean
    module.steps = [first, second]
    return module, zeros


def test_tensorflow_restores_what_is_written(tmp_path, tf, model):
    module, variables = model
    tf2_checkpoint.write(tmp_path / "m", ARRAYS)
    tf.train.Checkpoint(module).restore(str(tmp_path / "m")).assert_consumed()
    for name, variable in variables.items():
        np.testing.assert_array_equal(variable.numpy(), ARRAYS[name], err_msg=name)


@pytest.mark.parametrize("how", ["write", "save"])
def test_what_tensorflow_saves(tmp_path, tf, model, same, how):
    module, variables = model
    for name, variable in variables.items():
        variable.assign(ARRAYS[name])
    module.names = tf.Variable(["left", "out"])
    prefix = getattr(tf.train.Checkpoint(module), how)(str(tmp_path / "m"))
    for path in (prefix, tmp_path):
        same(tf2_checkpoint.read(path), ARRAYS)
        assert tf2_checkpoint.recognises(path) and not tf1_checkpoint.recognises(path)


def test_saved_model_folder_without_tensorflow(tmp_path, same):
    folder = tmp_path / "saved"
    tf2_checkpoint.write(folder / "variables" / "variables", ARRAYS)
    assert not tf2_checkpoint.recognises(folder)
    (folder / "saved_model.pb").touch()
    assert tf2_checkpoint.recognises(folder)
    same(tf2_checkpoint.read(folder), ARRAYS)
    (folder / "variables" / "variables.index").unlink()
    assert not tf2_checkpoint.recognises(folder)
