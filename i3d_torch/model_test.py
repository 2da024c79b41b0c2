"""The torch model as a program meets it; the twin of `i3d_tf/model_test.py`."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import i3d_torch
from common import arch

NET = arch.narrow(arch.inception_i3d(51), 8)


@pytest.fixture(scope="module")
def model():
    return i3d_torch.VideoModel(NET).eval()


def test_inception_i3d_is_ready_for_inference():
    model = i3d_torch.inception_i3d(num_classes=12, in_channels=2)
    assert not model.training
    clips = torch.zeros(1, 2, 9, 193, 193)
    with torch.inference_mode():
        first, endpoints = model(clips)
        second, _ = model(clips)
    assert first.shape == endpoints["Predictions"].shape == (1, 12)
    assert torch.equal(first, second)
    assert endpoints["Mixed_5c"].shape == (1, 1024, 2, 7, 7)


@pytest.mark.parametrize("name", arch.ARCHITECTURES)
def test_every_architecture_has_the_canonical_names(name):
    net = arch.narrow(arch.make(name, 5, 2), 16)
    state = i3d_torch.VideoModel(net).state_dict()
    expected = {p.name: p.shape for p in arch.parameters(net)}
    assert bytes(state.pop("architecture").tolist()).decode() == name
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected


def test_dropout_only_in_training(model):
    features = torch.ones(1, 128, 2, 1, 1)
    head = i3d_torch.VideoModel(NET).Logits
    head.eval()
    assert torch.equal(head(features), head(features))
    head.train()
    torch.manual_seed(0)
    assert not torch.equal(head(features), head(features))


def test_gradients_reach_every_parameter():
    model = i3d_torch.VideoModel(NET).train()
    logits, _ = model(torch.from_numpy(np.random.default_rng(0).random((2, 3, 9, 193, 193), "f")))
    logits.square().sum().backward()
    dead = [name for name, p in model.named_parameters() if not p.grad.abs().max() > 0]
    assert dead == []


def test_a_blank_model_is_at_hand_at_once():
    """What torch needs to trace models takes it half a second to import."""
    code = (
        "import sys, i3d_torch; from common import arch\n"
        "net = arch.make('r2plus1d_18')\n"
        "model = i3d_torch.model.blank(lambda: i3d_torch.VideoModel(net))\n"
        "assert not any(each.is_meta for each in model.state_dict().values())\n"
        "sys.exit(', '.join({'sympy', 'torch._dynamo'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
