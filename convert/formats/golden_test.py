"""Golden files: what others wrote is read as it was, and what we write has not changed by a byte.

`golden/` holds tiny checkpoints of every format in its main variants. They are data: a reader that
no longer takes one of them is broken, and is not to be fixed by a new file. What made them:

    tf1_checkpoint.ckpt.*           TensorFlow 2.21, tf.compat.v1.train.Saver (V2)
    tf1_v1_checkpoint.ckpt          the same with write_version=V1
    tf1_v1_checkpoint_snappy.ckpt   such a file whose blocks Google's snappy has compressed as in
                                    LevelDB, where that saves an eighth; TensorFlow 2.21 reads it
    tf2_checkpoint.ckpt.*           TensorFlow 2.21, tf.train.Checkpoint.save
    torch_pt.pt                     torch 2.13, torch.save
    torch_pt_legacy.pt              the same with _use_new_zipfile_serialization=False
    safetensors.safetensors         safetensors 0.8, safetensors.torch.save_file
    caffe2_pkl.pkl                  Python 2.7 with NumPy 1.16, cPickle, protocol 2; the names are
                                    partly bytes and partly unicode, as in video-nonlocal-net
    caffe2_pkl_flat.pkl             the same without {"blobs": ...}
    flax_pickle.pickle              Python 3.11 with NumPy 1.23, pickle, protocol 4
    flax_pickle_numpy2.pickle       Python 3.11 with NumPy 2.4, pickle, protocol 5
    flax_msgpack.msgpack            Flax 0.12, flax.serialization.to_bytes
    flax_msgpack_state.msgpack      the same of a training state, arrays in pieces of 16 bytes
    mindspore_ckpt.ckpt             MindSpore 2.10, mindspore.save_checkpoint
    mindspore_ckpt_crc.ckpt         the same with crc_check=True
    mxnet_params.params             MXNet 1.9, mx.nd.save
    mxnet_params_numpy.params       the same with NumPy's shapes in force
    *_written.*                     our own writers

Our writers also make tf1_checkpoint.ckpt, flax_msgpack.msgpack and mindspore_ckpt_crc.ckpt.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from convert.formats import FORMATS, detect, torch_pt

FOLDER = Path(__file__).with_name("golden")

WEIGHT = np.array([[0.1, -2.0, 3.5], [1e-30, 5.0, -6.25]], np.float32)
HALF = np.array([1.5, -2.0, 65504.0], np.float16)
BFLOAT = np.array([1.5, -2.0, 3.140625], np.float32)  # bfloat16 in the files
MASK = np.array([True, False, True])
STEP = np.array(12345, np.int64)
MEAN = np.array([0.5, -1.0], np.float32)

TENSORFLOW = {"conv/b": HALF, "conv/w": WEIGHT, "mask": MASK, "step": STEP}
TORCH = {
    **{"conv.weight": WEIGHT, "turned": WEIGHT.T, "conv.bias": HALF},
    **{"half": BFLOAT, "mask": MASK, "step": STEP},
}
CAFFE2 = {
    "model_iter": np.array(400001, np.int64),
    "conv1_w_momentum": np.array([[-0.2, 4.0, -7.0], [-2e-30, -10.0, 12.5]], np.float32),
    "lr": np.array(0.00125, np.float32),
    "conv1_w": WEIGHT,
    "res_conv1_bn_rm": MEAN,
}
FLAX = {
    "params:Conv3d_1a_7x7:Conv_0:kernel": WEIGHT,
    "params:Mixed_3b:Branch_0/Conv3d_0a_1x1:BatchNorm_0:bias": HALF,
    "batch_stats:mean": MEAN.astype(np.float64),
}
MINDSPORE = {"conv.weight": WEIGHT, "conv.bias": HALF, "mask": MASK, "step": STEP}


@dataclasses.dataclass(frozen=True)
class Golden:
    """One checkpoint in `golden/`.

    Attributes:
        format: Its format.
        arrays: What it holds, in stored order.
        write: The writer of ours that makes it, if one does.
    """

    format: str
    arrays: Mapping[str, np.ndarray]
    write: Callable[[Path, Mapping[str, np.ndarray]], None] | None = None


def _written(format_name, arrays, write=None):
    return Golden(format_name, arrays, write or FORMATS[format_name].write)


# By the path to read.
GOLDEN = {
    "tf1_checkpoint.ckpt": _written("tf1_checkpoint", TENSORFLOW),
    "tf2_checkpoint.ckpt": Golden(
        "tf2_checkpoint",
        {"conv/b": HALF, "conv/w": WEIGHT, "half": BFLOAT, "mask": MASK, "step": STEP},
    ),
    "tf2_checkpoint_written.ckpt": _written("tf2_checkpoint", TENSORFLOW),
    "tf1_v1_checkpoint.ckpt": Golden("tf1_v1_checkpoint", TENSORFLOW),
    "tf1_v1_checkpoint_snappy.ckpt": Golden(
        "tf1_v1_checkpoint", {"conv/w": np.tile(WEIGHT, (4, 1)), "step": STEP}
    ),
    "torch_pt.pt": Golden("torch_pt", TORCH),
    "torch_pt_legacy.pt": Golden("torch_pt", TORCH),
    "torch_pt_written.pt": _written("torch_pt", TORCH),
    "torch_pt_legacy_written.pt": _written("torch_pt", TORCH, torch_pt.write_legacy),
    "safetensors.safetensors": Golden(
        "safetensors",
        {"step": STEP, "conv.weight": WEIGHT, "half": BFLOAT, "conv.bias": HALF, "mask": MASK},
    ),
    "safetensors_written.safetensors": _written("safetensors", TORCH),
    "caffe2_pkl.pkl": Golden("caffe2_pkl", CAFFE2),
    "caffe2_pkl_flat.pkl": Golden(
        "caffe2_pkl",
        {
            "model_iter": np.array(400001, np.int64),
            "lr": np.array(0.01, np.float64),
            "res_conv1_bn_rm": MEAN,
            "conv1_w": WEIGHT,
        },
    ),
    "caffe2_pkl_written.pkl": _written("caffe2_pkl", CAFFE2),
    "flax_pickle.pickle": Golden("flax_pickle", FLAX),
    "flax_pickle_numpy2.pickle": Golden("flax_pickle", FLAX),
    "flax_pickle_written.pickle": _written("flax_pickle", FLAX),
    "flax_msgpack.msgpack": _written(
        "flax_msgpack",
        {"params:conv:kernel": WEIGHT, "params:conv:bias": HALF, "mask": MASK, "step": STEP},
    ),
    "flax_msgpack_state.msgpack": Golden(
        "flax_msgpack",
        {
            "step": STEP,
            "params:kernel": WEIGHT,
            "params:half": BFLOAT,
            "opt_state:0:count": np.array(3, np.int32),
            "lr": np.array(0.1),
            "z": np.array(1 - 2j),
        },
    ),
    "mindspore_ckpt.ckpt": Golden(
        "mindspore_ckpt", {**MINDSPORE, "half": BFLOAT, "epoch": np.array(3, np.int64)}
    ),
    "mindspore_ckpt_crc.ckpt": _written("mindspore_ckpt", MINDSPORE),
    "mxnet_params.params": Golden(
        "mxnet_params",
        {
            "features.0.weight": WEIGHT,
            "features.0.bias": HALF,
            "steps": np.array([12345], np.int64),
        },
    ),
    "mxnet_params_numpy.params": Golden(
        "mxnet_params",
        {
            "weight": WEIGHT,
            "mean": np.array([0.5, -1.0]),
            "scale": np.array(0.25, np.float32),
            "mask": MASK,
            "empty": np.zeros((0, 4), np.float32),
        },
    ),
}
WRITTEN = [name for name, golden in GOLDEN.items() if golden.write]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_golden_files(name):
    """Of others, or of our own writer; and if it can be written, one that we write."""
    assert name in {golden.format for golden in GOLDEN.values()}
    if FORMATS[name].SUFFIXES:
        assert name in {GOLDEN[path].format for path in WRITTEN}


def test_every_golden_file_is_used():
    files = [file for name in GOLDEN for file in _files(name)]
    assert sorted(files) == sorted(FOLDER.iterdir())


@pytest.mark.parametrize("name", GOLDEN)
def test_detected_as_its_format_and_no_other(name):
    path, module = FOLDER / name, FORMATS[GOLDEN[name].format]
    assert detect(path) is module
    assert [other for other in FORMATS.values() if other.recognises(path)] == [module]


@pytest.mark.parametrize("name", GOLDEN)
def test_read(name):
    golden = GOLDEN[name]
    got = FORMATS[golden.format].read(FOLDER / name)
    assert list(got) == list(golden.arrays)
    for key, array in golden.arrays.items():
        assert got[key].dtype == array.dtype, key
        np.testing.assert_array_equal(got[key], array, err_msg=key, strict=True)


@pytest.mark.parametrize("name", WRITTEN)
def test_written_today(name, tmp_path):
    golden = GOLDEN[name]
    golden.write(tmp_path / name, golden.arrays)
    ours = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert ours == {file.name: file.read_bytes() for file in _files(name)}


def _files(name):
    return FORMATS[GOLDEN[name].format].files(FOLDER / name)
