"""SavedModels are run by TensorFlow alone, on clips of several sizes, and read back bit by bit."""

import subprocess
import sys

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from convert.exports import EXPORTS
from convert.formats import tf2_checkpoint
from i3d_tf import saved_model
from parity_tests import on_tf, randomise
from parity_tests.compare import assert_close

# Networks that have every kind of node between them, and clips [B, T, H, W] for each.
CLIPS = {
    "inception_i3d": [(2, 9, 193, 193), (1, 17, 200, 195)],
    "inception_i3d_symmetric": [(1, 9, 32, 33), (2, 12, 40, 32)],
    "i3d_resnet50_nl_8x8_affine": [(2, 8, 33, 40), (1, 16, 48, 33)],
    "r2plus1d_18": [(2, 5, 32, 33), (1, 8, 40, 32)],
}

# [T, H, W] of clips that do not fit: too small, and 6 time steps in groups of 4.
WRONG = {"inception_i3d": (9, 192, 193), "i3d_resnet50_nl_8x8_affine": (12, 33, 33)}

# Runs without this project: TensorFlow finds all it needs in the folder.
SERVE = r"""
import sys
import numpy as np
import tensorflow as tf

tf.config.set_visible_devices([], "GPU")
for line in sys.stdin.read().splitlines():
    folder, source, target = line.split("\t")
    serve = tf.saved_model.load(folder).signatures["serving_default"]
    results = {}
    for case, clips in np.load(source).items():
        try:
            for output, x in serve(clips=tf.constant(clips)).items():
                results[f"{case} {output}"] = x.numpy()
        except tf.errors.InvalidArgumentError as error:
            results[f"{case} error"] = np.array(error.message)
    np.savez(target, **results)
assert not {"common", "convert", "i3d_tf", "sonnet"} & set(sys.modules)
"""


def network(name):
    return arch.narrow(arch.ARCHITECTURES[name](11), 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the SavedModel of each network, called like it."""
    folder = tmp_path_factory.mktemp("saved_models")
    for name in CLIPS:
        net = network(name)
        saved_model.write(folder / name, net, randomise.arrays(net))
    return folder


@pytest.fixture(scope="module")
def results(folder, tmp_path_factory):
    """What a process of TensorFlow alone returns for all clips, by network."""
    scratch = tmp_path_factory.mktemp("served")
    lines = []
    for name, shapes in CLIPS.items():
        clips = {str(shape): randomise.clips((*shape, 3)) for shape in shapes}
        clips |= {"wrong": randomise.clips((1, *WRONG[name], 3))} if name in WRONG else {}
        np.savez(scratch / f"{name}.clips.npz", **clips)
        lines.append(f"{folder / name}\t{scratch / name}.clips.npz\t{scratch / name}.npz")
    command = [sys.executable, "-c", SERVE]
    subprocess.run(command, input="\n".join(lines), text=True, check=True, cwd=scratch)
    return {name: dict(np.load(scratch / f"{name}.npz")) for name in CLIPS}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_tensorflow_alone_gets_the_same_results(results, name):
    net = network(name)
    for shape in CLIPS[name]:
        clips = randomise.clips((*shape, 3))
        logits, endpoints = on_tf.inference(net, randomise.arrays(net), clips)
        assert_close(results[name][f"{shape} logits"], logits, f"{shape} logits")
        for endpoint in ("Predictions", "Features"):
            got = results[name][f"{shape} {endpoint.lower()}"]
            assert_close(got, endpoints[endpoint], f"{shape} {endpoint}")


@pytest.mark.slow
def test_clips_that_do_not_fit_are_errors(results):
    error = str(results["inception_i3d"]["wrong error"])
    assert "inception_i3d: the clips are too small" in error
    error = str(results["i3d_resnet50_nl_8x8_affine"]["wrong error"])
    assert "Input to reshape" in error


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_reads_back_what_was_written(folder, name):
    arrays = randomise.arrays(network(name))
    got = saved_model.read_back(folder / name, network(name))
    assert got.keys() == arrays.keys()
    for key, array in arrays.items():
        assert got[key].dtype == np.float32
        np.testing.assert_array_equal(got[key], array, err_msg=key, strict=True)


@pytest.mark.slow
def test_strided_arrays_and_the_place_of_an_older_one(folder, tmp_path):
    net = network("inception_i3d")
    arrays = {name: np.asfortranarray(array) for name, array in randomise.arrays(net, 1).items()}
    for array in arrays.values():
        array.flags.writeable = False
    path = tmp_path / "new folder" / "m.savedmodel"
    saved_model.write(path, net, randomise.arrays(net))
    saved_model.write(path, net, arrays)
    got = saved_model.read_back(path, net)
    for name, array in arrays.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)
    assert list(path.parent.iterdir()) == [path]


def test_what_is_no_saved_model_is_not_replaced(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    net = network("r2plus1d_18")
    with pytest.raises(FileExistsError, match="is no SavedModel and stays as it is"):
        saved_model.write(tmp_path, net, randomise.arrays(net))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_arrays_of_another_network_are_refused_before_anything_is_written(tmp_path):
    arrays = randomise.arrays(network("r2plus1d_18"))
    with pytest.raises(CheckpointError, match="arrays do not fit the network"):
        saved_model.write(tmp_path / "m.savedmodel", network("inception_i3d"), arrays)
    assert not list(tmp_path.iterdir())


def test_names_the_extra_where_tensorflow_is_missing(monkeypatch):
    for name in list(sys.modules):
        if name.split(".")[0] == "i3d_tf":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sonnet", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[tf\]'"):
        EXPORTS["saved_model"].load()


def test_variables_of_another_maker(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    tf2_checkpoint.write(tmp_path / "variables" / "variables", {"kernel": np.ones(3, np.float32)})
    with pytest.raises(
        CheckpointError, match=r"has no variable layers/.*expected those of r2plus1d"
    ):
        saved_model.read_back(tmp_path, network("r2plus1d_18"))
