"""SavedModels are run by TensorFlow alone, on clips of several sizes, and read back bit by bit."""

import subprocess
import sys

import numpy as np
import pytest

from common import arch
from i3d_tf import saved_model
from parity_tests import on_tf, randomise
from parity_tests.compare import assert_close

# Networks that have every kind of node between them, and clips [B, T, H, W] for each.
CLIPS = {
    "inception_i3d": [(2, 9, 193, 193), (1, 17, 200, 195)],
    "i3d_resnet50_nl_8x8_affine": [(2, 8, 33, 40), (1, 16, 48, 33)],
}

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
        strided = {n: np.asfortranarray(array) for n, array in randomise.arrays(net).items()}
        saved_model.write(folder / name, net, strided)
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
