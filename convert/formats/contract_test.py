"""What holds for every format: golden files, round trips and damage.

`golden/` holds tiny checkpoints of every format in its main variants. They are data: a reader that
no longer takes one of them is broken, and is not to be fixed by a new file. What made them:

    tf1_checkpoint.ckpt.*           TensorFlow 2.21, tf.compat.v1.train.Saver (V2)
    tf1_v1_checkpoint.ckpt          the same with write_version=V1
    tf1_v1_checkpoint_snappy.ckpt   such a file whose blocks Google's snappy has compressed as in
                                    LevelDB, where that saves an eighth
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
`I3D_FUZZ=5000` damages each file so often.
"""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import FORMATS, detect

# What a damaged protocol-0 string makes Python's parser say.
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")

FOLDER = Path(__file__).with_name("golden")
ROUNDS = int(os.environ.get("I3D_FUZZ", "20"))  # damaged inputs of each golden file

WEIGHT = np.array([[0.1, -2.0, 3.5], [1e-30, 5.0, -6.25]], np.float32)
STEP = np.array(12345, np.int64)
HALF = np.array([1.5, -2.0, 65504.0], np.float16)
BFLOAT = np.array([1.5, -2.0, 3.140625], np.float32)  # bfloat16 in the files
MASK = np.array([True, False, True])
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

# By the path to read: the format, and the arrays in stored order.
GOLDEN = {
    "tf1_checkpoint.ckpt": ("tf1_checkpoint", TENSORFLOW),
    "tf2_checkpoint.ckpt": (
        "tf2_checkpoint",
        {"conv/b": HALF, "conv/w": WEIGHT, "half": BFLOAT, "mask": MASK, "step": STEP},
    ),
    "tf2_checkpoint_written.ckpt": ("tf2_checkpoint", TENSORFLOW),
    "tf1_v1_checkpoint.ckpt": ("tf1_checkpoint", TENSORFLOW),
    "tf1_v1_checkpoint_snappy.ckpt": (
        "tf1_checkpoint",
        {"conv/w": np.tile(WEIGHT, (4, 1)), "step": STEP},
    ),
    "torch_pt.pt": ("torch_pt", TORCH),
    "torch_pt_legacy.pt": ("torch_pt", TORCH),
    "torch_pt_written.pt": ("torch_pt", TORCH),
    "safetensors.safetensors": (
        "safetensors",
        {"step": STEP, "conv.weight": WEIGHT, "half": BFLOAT, "conv.bias": HALF, "mask": MASK},
    ),
    "safetensors_written.safetensors": ("safetensors", TORCH),
    "caffe2_pkl.pkl": ("caffe2_pkl", CAFFE2),
    "caffe2_pkl_flat.pkl": (
        "caffe2_pkl",
        {
            "model_iter": np.array(400001, np.int64),
            "lr": np.array(0.01, np.float64),
            "res_conv1_bn_rm": MEAN,
            "conv1_w": WEIGHT,
        },
    ),
    "caffe2_pkl_written.pkl": ("caffe2_pkl", CAFFE2),
    "flax_pickle.pickle": ("flax_pickle", FLAX),
    "flax_pickle_numpy2.pickle": ("flax_pickle", FLAX),
    "flax_pickle_written.pickle": ("flax_pickle", FLAX),
    "flax_msgpack.msgpack": (
        "flax_msgpack",
        {"params:conv:kernel": WEIGHT, "params:conv:bias": HALF, "mask": MASK, "step": STEP},
    ),
    "flax_msgpack_state.msgpack": (
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
    "mindspore_ckpt.ckpt": (
        "mindspore_ckpt",
        {**MINDSPORE, "half": BFLOAT, "epoch": np.array(3, np.int64)},
    ),
    "mindspore_ckpt_crc.ckpt": ("mindspore_ckpt", MINDSPORE),
    "mxnet_params.params": (
        "mxnet_params",
        {
            "features.0.weight": WEIGHT,
            "features.0.bias": HALF,
            "steps": np.array([12345], np.int64),
        },
    ),
    "mxnet_params_numpy.params": (
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
# Golden files that our writers make, too.
WRITTEN = [name for name in GOLDEN if "_written." in name] + [
    *("tf1_checkpoint.ckpt", "flax_msgpack.msgpack", "mindspore_ckpt_crc.ckpt")
]
OUTPUTS = {
    "tf1_checkpoint": "m.ckpt",
    "tf2_checkpoint": "m.tf2.ckpt",
    "torch_pt": "m.pt",
    "safetensors": "m.safetensors",
    "caffe2_pkl": "m.pkl",
    "flax_pickle": "m.flax.pickle",
    "flax_msgpack": "m.msgpack",
    "mindspore_ckpt": "m.ms.ckpt",
}
SORTED = ("tf1_checkpoint", "tf2_checkpoint")
# Checksums protect every value in these, so that damage never changes one unnoticed.
CHECKED = (
    *("tf1_checkpoint.ckpt", "tf2_checkpoint.ckpt", "tf2_checkpoint_written.ckpt"),
    *("torch_pt.pt", "torch_pt_written.pt", "safetensors_written.safetensors"),
    "mindspore_ckpt_crc.ckpt",
)


def golden(name):
    if "v1" in name:
        pytest.importorskip("sonnet", reason="V1 files are read by TensorFlow")
    return FOLDER / name, FORMATS[GOLDEN[name][0]], GOLDEN[name][1]


def test_the_tables_are_complete():
    assert {format_name for format_name, _ in GOLDEN.values()} == set(FORMATS)
    assert set(OUTPUTS) == {name for name, module in FORMATS.items() if module.SUFFIXES}
    assert {GOLDEN[name][0] for name in WRITTEN} == set(OUTPUTS)
    files = [
        file for path, (name, _) in GOLDEN.items() for file in FORMATS[name].files(FOLDER / path)
    ]
    assert sorted(files) == sorted(FOLDER.iterdir())


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_files_are_detected_and_read(name):
    path, module, arrays = golden(name)
    assert detect(path) is module
    assert [other for other in FORMATS.values() if other.recognises(path)] == [module]
    got = module.read(path)
    assert list(got) == list(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(got[key], array, err_msg=key, strict=True)


@pytest.mark.parametrize("name", WRITTEN)
def test_golden_files_are_written(name, tmp_path):
    path, module, arrays = golden(name)
    module.write(tmp_path / name, arrays)
    expected = {file.name: file.read_bytes() for file in module.files(path)}
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == expected


@pytest.mark.parametrize("name", OUTPUTS)
def test_round_trip(name, tmp_path, arrays, same):
    if name == "flax_pickle":  # its names are nested
        arrays = {f"params:{key}": array for key, array in arrays.items()}
    path = tmp_path / OUTPUTS[name]
    module = FORMATS[name]
    module.write(path, arrays)
    assert [m.NAME for m in FORMATS.values() if m.recognises(path)] == [name]
    got = module.read(path)
    same(got, arrays)
    assert list(got) == (sorted(arrays) if name in SORTED else list(arrays))
    files = module.files(path)
    before = [file.read_bytes() for file in files]
    module.write(path, got)  # over the file that its arrays may be views of
    same(got, arrays)
    with pytest.raises(CheckpointError, match=r"words.* has dtype"):
        module.write(path, {**arrays, "words": np.array(["a"])})
    assert [file.read_bytes() for file in files] == before
    assert sorted(files) == sorted(tmp_path.iterdir())  # and no temporary file


def outcome(module, path):
    """The arrays, or None if the file is refused; fails on anything else."""
    module.recognises(path)  # never raises
    tracemalloc.start()
    try:
        got = module.read(path)
        return {name: np.array(array) for name, array in got.items()}
    except CheckpointError as error:
        text = str(error)
        assert text.startswith(str(path)) and text.isprintable(), text
        assert len(text) - len(str(path)) < 2000
        return None
    finally:
        assert tracemalloc.get_traced_memory()[1] < 3_000_000  # every length in a file may lie
        tracemalloc.stop()


def damage(data, random):
    at, size = int(random.integers(len(data))), int(random.integers(1, 40))
    lie = (b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\xff" * 8)[random.integers(3)]
    return (
        data[:at] + lie + data[at + 4 :],
        data[:at] + random.bytes(size) + data[at:],
        data[:at] + data[at + size :],
        data[:at] + data[at // 2 : at // 2 + size] + data[at + size :],
    )[random.integers(4)]


@pytest.mark.parametrize("path", [name for name in GOLDEN if "v1" not in name])
def test_damage(path, tmp_path):
    """Truncations, single bits and random damage: refused, or arrays; never a wrong checked one."""
    source, module, arrays = golden(path)
    random = np.random.default_rng([*source.name.encode()])
    contents = {file.name: file.read_bytes() for file in module.files(source)}
    for name, data in contents.items():
        for other, content in contents.items():
            (tmp_path / other).write_bytes(content)

        def read(bad, name=name):
            (tmp_path / name).write_bytes(bad)
            got = outcome(module, tmp_path / source.name)
            for key, array in (got or {}).items() if path in CHECKED else ():
                np.testing.assert_array_equal(array, arrays.get(key, array), err_msg=key)
            return got

        for size in {*range(0, len(data), max(1, len(data) // 25)), len(data) - 1}:
            got = read(data[:size])
            assert got is None or set(got) <= set(arrays), size  # MindSpore counts no entries
        for bit in random.choice(8 * len(data), 2 * ROUNDS):
            read(data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :])
        refused = sum(read(damage(data, random)) is None for _ in range(ROUNDS))
        assert refused > ROUNDS // 10
