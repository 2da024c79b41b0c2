"""TensorFlow bundles: byte-exact against published files, TensorFlow itself, and made-up damage."""

import dataclasses
import hashlib

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import _bundle_entry, _leveldb_table, tf1_checkpoint
from convert.formats._mapped_file import masked_crc32c

PUBLISHED = {
    "checkpoints/rgb_scratch": ("RGB/inception_i3d/", 230, 0x3C1E560E, 0xB0F13614, 0x936B6D3C),
    "checkpoint_indexes/rgb_imagenet": (
        *("RGB/inception_i3d/", 230, 0x4D9701F3, 0x74E908C8, 0xD25645B5),
    ),
    "checkpoint_indexes/flow_imagenet": (
        *("Flow/inception_i3d/", 230, 0x3B88BD5E, 0xFB252D01, 0x6DDE0C64),
    ),
    "checkpoint_indexes/flow_scratch": (
        *("Flow/inception_i3d/", 230, 0x94BCF526, 0x515AC1CC, 0x380507C7),
    ),
    "checkpoint_indexes/rgb_scratch_kin600": ("", 346, 0x3C4907EB, 0xDF52D759, 0xB0B32F9C),
}


@pytest.mark.parametrize("folder", PUBLISHED)
def test_published_indexes(folder, real_data):
    scope, count, stem, logits, quirk = PUBLISHED[folder]
    index = real_data(f"{folder}/model.ckpt.index")
    entries = tf1_checkpoint.read_index(index)
    assert len(entries) == count
    assert entries[f"{scope}Conv3d_1a_7x7/conv_3d/w"].crc32c == stem
    assert entries[f"{scope}Logits/Conv3d_0c_1x1/conv_3d/w"].crc32c == logits
    assert entries[f"{scope}Mixed_5b/Branch_2/Conv3d_0a_3x3/conv_3d/w"].crc32c == quirk
    # Written again, table and entries are the published bytes.
    items = [(name.encode(), _bundle_entry.serialise(entry)) for name, entry in entries.items()]
    assert _leveldb_table.write([(b"", _bundle_entry.HEADER), *items]) == index.read_bytes()


def test_published_checkpoint_is_reproduced(real_data, tmp_path):
    prefix = real_data("checkpoints/rgb_scratch/model.ckpt.index").with_name("model.ckpt")
    arrays = tf1_checkpoint.read(prefix)
    stem = arrays["RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w"]
    assert stem.shape == (7, 7, 7, 3, 64) and stem.dtype == np.float32
    assert not stem.flags.owndata and not stem.flags.writeable
    tf1_checkpoint.write(tmp_path / "model.ckpt", arrays)
    data = (tmp_path / "model.ckpt.data-00000-of-00001").read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    assert blob == "fa7df95674dbf3579e7fccd954e51e706b4734c1"
    index = (tmp_path / "model.ckpt.index").read_bytes()
    assert index == prefix.with_name("model.ckpt.index").read_bytes()


def test_tensorflow_writes_the_same_bytes(tmp_path):
    tf = pytest.importorskip("tensorflow")
    random = np.random.default_rng(1)
    arrays = {f"block_{i:04d}/{'y' * (i % 90)}/w": random.normal(size=i % 7) for i in range(6000)}
    names = sorted(arrays)
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "theirs"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[arrays[name] for name in names],
    )
    tf1_checkpoint.write(tmp_path / "ours", arrays)
    for ending in (".index", ".data-00000-of-00001"):
        theirs = (tmp_path / f"theirs{ending}").read_bytes()
        assert (tmp_path / f"ours{ending}").read_bytes() == theirs


def test_any_name_of_the_checkpoint_will_do(tmp_path, arrays, same):
    prefix = tmp_path / "a" / "model.ckpt-7"
    tf1_checkpoint.write(prefix, arrays)
    data, index = tf1_checkpoint.files(prefix)
    assert data.name == "model.ckpt-7.data-00000-of-00001" and index.name == "model.ckpt-7.index"
    for path in (prefix, index, data, prefix.parent):
        assert tf1_checkpoint.recognises(path)
        assert tf1_checkpoint.files(path) == [data, index]
        same(tf1_checkpoint.read(path), arrays)


def test_folder_with_several(tmp_path):
    for name in ("model.ckpt-1", "model.ckpt-2"):
        tf1_checkpoint.write(tmp_path / name, {"step": np.array(int(name[-1]))})
    with pytest.raises(CheckpointError, match=r"several checkpoints: model.ckpt-1, model.ckpt-2"):
        tf1_checkpoint.read(tmp_path)
    state = 'model_checkpoint_path: "/cns/far/away/model.ckpt-2"\n'
    (tmp_path / "checkpoint").write_text(state + 'all_model_checkpoint_paths: "model.ckpt-1"\n')
    assert tf1_checkpoint.read(tmp_path)["step"] == 2


def test_folder_with_none(tmp_path):
    assert not tf1_checkpoint.recognises(tmp_path)
    with pytest.raises(CheckpointError, match=r"no \*\.index file"):
        tf1_checkpoint.read(tmp_path)


def test_several_shards(tmp_path):
    first, second = np.arange(3.0), np.arange(4)
    entries = {
        "a": _bundle_entry.Entry("float64", (3,), 0, 0, 24, masked_crc32c(first.tobytes())),
        "b": _bundle_entry.Entry("int64", (4,), 1, 8, 32, masked_crc32c(second.tobytes())),
    }
    items = [(name.encode(), _bundle_entry.serialise(entry)) for name, entry in entries.items()]
    table = _leveldb_table.write([(b"", bytes.fromhex("08021a020801")), *items])
    (tmp_path / "m.index").write_bytes(table)
    (tmp_path / "m.data-00000-of-00002").write_bytes(first.tobytes())
    with pytest.raises(CheckpointError, match=r"m\.data-00001-of-00002: this data file is missing"):
        tf1_checkpoint.read(tmp_path / "m")
    (tmp_path / "m.data-00001-of-00002").write_bytes(bytes(8) + second.tobytes())
    got = tf1_checkpoint.read(tmp_path / "m")
    assert got["a"].tolist() == [0, 1, 2] and got["b"].tolist() == [0, 1, 2, 3]
    assert len(tf1_checkpoint.files(tmp_path / "m")) == 3


GOOD = _bundle_entry.Entry("float32", (2,), 0, 0, 8, masked_crc32c(bytes(8)))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"shape": (3,)}, r"float32 \[3\] cannot be 8 bytes"),
        ({"shape": (2**61, 2**61)}, "cannot be 8 bytes"),
        ({"offset": 1}, r"at bytes 1\.\.9, but the file has 8"),
        ({"offset": 2**60}, "but the file has 8"),
        ({"shard": 1}, "data file 1; the index declares 1"),
        ({"crc32c": 5}, "x has checksum"),
    ],
)
def test_contradictions(changes, text, tmp_path):
    _bundle(tmp_path / "m", bytes(8), {"x": dataclasses.replace(GOOD, **changes)})
    with pytest.raises(CheckpointError, match=text) as caught:
        tf1_checkpoint.read(tmp_path / "m")
    assert str(caught.value).startswith(str(tmp_path / "m"))


@pytest.mark.parametrize(
    ("header", "entry", "text"),
    [
        (b"\x0a\x00", b"", "V1 checkpoint"),
        (b"\x08\x01\x10\x01", b"", "big-endian"),
        (b"\x08\x00", b"", "declares 0 data files"),
        (b"", b"\x08\x63", "unsupported TensorFlow data type 99"),
        (b"", b"\x08\x01\x12\x00\x3a\x00", "stored in slices"),
        (b"", b"\x08", "past the end"),
        (b"", b"\x0a\xff\xff\xff\xff\x0f", "cut off"),
    ],
)
def test_messages_that_cannot_be_read(header, entry, text, tmp_path):
    items = [(b"", header or _bundle_entry.HEADER), (b"x", entry)]
    (tmp_path / "m.index").write_bytes(_leveldb_table.write(items))
    with pytest.raises(CheckpointError, match=text) as caught:
        tf1_checkpoint.read(tmp_path / "m")
    assert str(caught.value).startswith(f"{tmp_path / 'm'}.index: ")


def test_index_without_its_ending(tmp_path, arrays):
    tf1_checkpoint.write(tmp_path / "m", arrays)
    path = (tmp_path / "m.index").rename(tmp_path / "model.ckpt")
    assert tf1_checkpoint.recognises(path)
    with pytest.raises(CheckpointError, match=rf"^{path}: is the index of a bundle; rename it"):
        tf1_checkpoint.read(path)


def _bundle(prefix, data, entries):
    items = [(name.encode(), _bundle_entry.serialise(entry)) for name, entry in entries.items()]
    table = _leveldb_table.write([(b"", _bundle_entry.HEADER), *items])
    prefix.with_name(prefix.name + ".index").write_bytes(table)
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)
