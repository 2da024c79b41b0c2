"""Weights in and out of the torch model; the twin of `i3d_tf/weights_test.py`."""

import numpy as np
import pytest
import torch

import i3d_torch
from common import arch
from common.io import CheckpointError
from convert import hub
from parity_tests import randomise

NET = arch.narrow(arch.inception_i3d(51), 8)


@pytest.fixture
def model():
    return i3d_torch.VideoModel(NET)


def test_what_is_assigned_comes_back(model):
    expected = randomise.arrays(NET)
    i3d_torch.assign(model, expected)
    actual = i3d_torch.arrays(model)
    assert list(actual) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)
        assert actual[name].flags.c_contiguous


def test_arrays_are_copies(model):
    before = i3d_torch.arrays(model)
    i3d_torch.assign(model, {name: array + 1 for name, array in before.items()})
    after = i3d_torch.arrays(model)
    name = "Conv3d_1a_7x7.conv.weight"
    np.testing.assert_array_equal(after[name], before[name] + 1)


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
def test_arrays_that_do_not_fit_change_nothing(model, change, message):
    before = i3d_torch.arrays(model)
    arrays = randomise.arrays(NET)
    change(arrays)
    with pytest.raises(CheckpointError, match=message):
        i3d_torch.assign(model, arrays)
    after = i3d_torch.arrays(model)
    assert all(np.array_equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.safetensors", "model.pkl"])
def test_load_takes_every_format(tmp_path, name):
    net = arch.inception_i3d(7, 2)
    expected = randomise.arrays(net)
    hub.write(hub.Weights(net, expected), tmp_path / name)
    model = i3d_torch.load(tmp_path / name)
    assert model.net == net
    for key, array in i3d_torch.arrays(model).items():
        np.testing.assert_array_equal(array, expected[key], err_msg=key)


def test_what_is_saved_is_loaded(tmp_path):
    model = i3d_torch.inception_i3d(num_classes=7, in_channels=2)
    i3d_torch.save(model, tmp_path / "model.ckpt")
    loaded = i3d_torch.load(tmp_path / "model.ckpt")
    expected = i3d_torch.arrays(model)
    for name, array in i3d_torch.arrays(loaded).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    with pytest.raises(FileExistsError, match="--overwrite"):
        i3d_torch.save(model, tmp_path / "model.ckpt")


def test_load_names_what_it_cannot_find():
    with pytest.raises(FileNotFoundError, match=r"rgb_scratch.*no_such_file"):
        i3d_torch.load("no_such_file.pt")


def test_a_loaded_model_is_in_inference_mode(tmp_path):
    net = arch.inception_i3d(7, 2)
    weights = hub.Weights(net, randomise.arrays(net))
    hub.write(weights, tmp_path / "model.pt")
    assert not i3d_torch.load(tmp_path / "model.pt").training


def test_torch_itself_opens_what_is_written(tmp_path):
    net = arch.inception_i3d(7, 2)
    weights = hub.Weights(net, randomise.arrays(net))
    hub.write(weights, tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    i3d_torch.VideoModel(net).load_state_dict(state, strict=True)
    assert bytes(state.pop("architecture").tolist()) == b"inception_i3d"
    for name, tensor in state.items():
        np.testing.assert_array_equal(tensor.numpy(), weights.arrays[name], err_msg=name)


def test_a_checkpoint_of_somebodys_training_is_loaded(tmp_path):
    trained = torch.nn.DataParallel(i3d_torch.inception_i3d(num_classes=7, in_channels=2))
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1, momentum=0.9)
    optimizer.zero_grad()
    trained(torch.rand(1, 2, 9, 193, 193))[0].sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 3,
        "state_dict": trained.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(checkpoint, tmp_path / "checkpoint.pth")
    loaded = i3d_torch.load(tmp_path / "checkpoint.pth")
    for name, tensor in trained.module.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
