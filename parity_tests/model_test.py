"""Models as a program meets them: initial values, refusals, weights in and out; both backends."""

import importlib

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from convert import hub
from parity_tests import randomise
from parity_tests.conftest import NEEDS

NET = arch.narrow(arch.inception_i3d(51), 8)
FLOW_NET = arch.inception_i3d(7, 2)


@pytest.fixture(params=list(NEEDS))
def package(request):
    """`i3d_tf`, then `i3d_torch`."""
    pytest.importorskip(NEEDS[request.param], reason=f"needs the extra {request.param!r}")
    return importlib.import_module(f"i3d_{request.param}")


def test_initial_values_are_the_releases(package):
    model = package.inception_i3d()
    state = package.arrays(model)
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


def test_an_unknown_architecture_is_named(package):
    with pytest.raises(ValueError, match=r"Expected one of.*r2plus1d_18.*Received: 'i3d_resnet'"):
        package.create("i3d_resnet")


@pytest.mark.parametrize(
    ("shape", "endpoint", "message"),
    [
        ((1, 9, 193, 193), None, r"wrong rank. Expected \[B, .*\] with 3 channels"),
        ((1, 9, 193, 193, 4), None, "wrong number of channels"),
        ((1, 0, 224, 224, 3), None, "at least 9x193x193.*Received: 0x224x224"),
        ((1, 9, 0, 224, 3), None, "at least 9x193x193.*Received: 9x0x224"),
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("Mixed_4b.Branch_0.Conv3d_0a_1x1.norm.bias"), r"missing: Mixed_4b\.Br"),
        (lambda a: a.update(extra=np.zeros(1, np.float32)), "not in the network: extra"),
        (
            lambda a: a.update({"Conv3d_1a_7x7.norm.bias": np.zeros(3, np.float32)}),
            r"Conv3d_1a_7x7\.norm\.bias expected \[8\], received \[3\]",
        ),
    ],
)
def test_arrays_that_do_not_fit_change_nothing(package, change, message):
    model, arrays = package.VideoModel(NET), randomise.arrays(NET)
    before = package.arrays(model)
    change(arrays)
    with pytest.raises(CheckpointError, match=message):
        package.assign(model, arrays)
    after = package.arrays(model)
    assert all(np.array_equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.safetensors", "model.pkl"])
def test_every_format_is_loaded(package, tmp_path, name):
    expected = randomise.arrays(FLOW_NET)
    hub.write(hub.Weights(FLOW_NET, expected), tmp_path / name)
    model = package.load(tmp_path / name)
    assert model.net == FLOW_NET
    assert not getattr(model, "training", False)
    for key, array in package.arrays(model).items():
        np.testing.assert_array_equal(array, expected[key], err_msg=key)


def test_a_saved_model_is_loaded(package, tmp_path):
    model = package.inception_i3d(num_classes=7, in_channels=2)
    package.save(model, tmp_path / "model.ckpt")
    expected = package.arrays(model)
    for name, array in package.arrays(package.load(tmp_path / "model.ckpt")).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    with pytest.raises(FileExistsError, match="--overwrite"):
        package.save(model, tmp_path / "model.ckpt")
    with pytest.raises(FileNotFoundError, match=r"rgb_scratch.*no_such_file"):
        package.load("no_such_file.pt")
