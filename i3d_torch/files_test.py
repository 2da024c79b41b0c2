"""Files that PyTorch reads and writes itself; `parity_tests/model_test.py` has the rest."""

import numpy as np
import torch

import i3d_torch
from common import arch
from convert import hub
from parity_tests import randomise


def test_torch_itself_opens_what_is_written(tmp_path):
    net = arch.inception_i3d(7, 2)
    weights = hub.Weights(net, randomise.arrays(net))
    hub.write(weights, tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    i3d_torch.VideoModel(net).load_state_dict(state, strict=True)
    assert bytes(state.pop("architecture").tolist()) == b"inception_i3d"
    for name, tensor in state.items():
        np.testing.assert_array_equal(tensor.numpy(), weights.arrays[name], err_msg=name)
