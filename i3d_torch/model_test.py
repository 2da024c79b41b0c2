"""The torch model as a program meets it; the twin of `i3d_tf/model_test.py`."""

import pytest
import torch

import i3d_torch
from common import arch

NET = arch.narrow(arch.make("i3d_resnet50_nl_8x8", 5), 16)
NAMES = ("inception_i3d", "i3d_resnet50_nl_8x8_affine", "r2plus1d_18")


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_has_the_canonical_names(name):
    net = arch.narrow(arch.make(name, 5, 2), 16)
    state = i3d_torch.VideoModel(net).state_dict()
    expected = {p.name: p.shape for p in arch.parameters(net)}
    assert bytes(state.pop("architecture").tolist()).decode() == name
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected


def test_dropout_only_in_training():
    head = i3d_torch.VideoModel(NET).eval().Logits
    features = torch.ones(1, 128, 1, 1, 1)
    assert torch.equal(head(features), head(features))
    head.train()
    torch.manual_seed(0)
    assert not torch.equal(head(features), head(features))
