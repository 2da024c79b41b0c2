"""Models as a program meets them: initial values, refusals, weights in and out; both backends."""

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from convert import hub
from parity_tests import randomise

NET = arch.narrow(arch.inception_i3d(51), 8)
FLOW_NET = arch.inception_i3d(7, 2)


def test_initial_values_are_the_releases(package):
    state = package.arrays(package.create("inception_i3d"))
    expected = {p.name: p.shape for p in arch.parameters(arch.inception_i3d())}
    assert {name: array.shape for name, array in state.items()} == expected
    kernel = state["Conv3d_2c_3x3.conv.weight"]
    std = (64 * 27) ** -0.5
    assert np.abs(kernel).max() <= 2 * std
    # A normal cut at two deviations keeps 0.8796 of its deviation.
    assert kernel.std() == pytest.approx(0.8796 * std, rel=0.02)
    assert np.abs(state["Conv3d_2c_3x3.norm.bias"]).max() == 0
    assert np.abs(state["Conv3d_2c_3x3.norm.running_mean"]).max() == 0
    assert (state["Conv3d_2c_3x3.norm.running_var"] == 1).all()
    assert np.abs(state["Logits.Conv3d_0c_1x1.conv.bias"]).max() == 0


@pytest.mark.parametrize(
    ("shape", "endpoint", "message"),
    [
        ((1, 9, 193, 193), None, r"wrong rank. Expected \[B, .*\] with 3 channels"),
        ((1, 9, 193, 193, 4), None, "wrong number of channels"),
        ((1, 8, 224, 224, 3), None, "at least 9x193x193.*Received: 8x224x224"),
        ((1, 9, 193, 193, 3), "Mixed_6a", "Expected one of Conv3d_1a_7x7.*Received: 'Mixed_6a'"),
    ],
)
def test_clips_and_endpoints_that_do_not_fit_are_refused(backend, shape, endpoint, message):
    with pytest.raises(ValueError, match=message):
        backend.inference(NET, randomise.arrays(NET), np.zeros(shape, np.float32), endpoint)


def test_assigned_arrays_come_back_as_copies(package):
    model, expected = package.VideoModel(NET), randomise.arrays(NET)
    package.assign(model, expected)
    before = package.arrays(model)
    package.assign(model, {name: array + 1 for name, array in before.items()})
    after = package.arrays(model)
    assert list(before) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(before[name], array, err_msg=name)
        np.testing.assert_array_equal(after[name], array + 1, err_msg=name)
        assert before[name].flags.c_contiguous
    # Arrays that do not fit change nothing.
    wrong = {**expected, "extra": np.zeros(1), "Conv3d_1a_7x7.norm.bias": np.zeros(3)}
    del wrong["Mixed_4b.Branch_0.Conv3d_0a_1x1.norm.bias"]
    text = r"missing: Mixed_4b.*the network: extra.*7x7\.norm\.bias expected \[8\], received \[3\]"
    with pytest.raises(CheckpointError, match=text):
        package.assign(model, wrong)
    for name, array in package.arrays(model).items():
        np.testing.assert_array_equal(array, after[name], err_msg=name)


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.safetensors", "model.pkl"])
def test_every_format_is_saved_and_loaded(package, tmp_path, name):
    model, expected = package.VideoModel(FLOW_NET), randomise.arrays(FLOW_NET)
    package.assign(model, expected)
    package.save(model, tmp_path / name)
    loaded = package.load(tmp_path / name)
    assert loaded.net == FLOW_NET
    assert not getattr(loaded, "training", False)
    for found in (package.arrays(loaded), hub.load(tmp_path / name).arrays):
        for key, array in found.items():
            np.testing.assert_array_equal(array, expected[key], err_msg=key)


def test_what_cannot_be_made_saved_or_loaded_is_named(package, tmp_path):
    with pytest.raises(ValueError, match=r"Expected one of.*r2plus1d_18.*Received: 'i3d_resnet'"):
        package.create("i3d_resnet")
    (tmp_path / "model.pt").touch()
    with pytest.raises(FileExistsError, match="--overwrite"):
        package.save(package.VideoModel(NET), tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError, match=r"rgb_scratch.*no_such_file"):
        package.load("no_such_file.pt")
