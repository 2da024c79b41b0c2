"""What only PyTorch's fast models do; `parity_tests/optimize_test.py` has what both do."""

import copy
import importlib
import pickle
from dataclasses import replace

import pytest
import torch

from common import arch
from i3d_torch import model as video_model
from i3d_torch import optimize
from i3d_torch.model import VideoModel
from parity_tests import compare, randomise

module = importlib.import_module("i3d_torch.predictor")

WHOLE = arch.narrow(arch.make("i3d_resnet50_nl_32x2", 5), 16)
KEPT = ("conv1", "pool1", "res2_0", "pool2", "res3_0", "res3_1", "nonlocal_conv3_1", "Logits")
NET = replace(WHOLE, nodes=tuple(node for node in WHOLE.nodes if node.name in KEPT))
CLIPS = torch.tensor(randomise.clips((2, 3, 9, 33, 47)))


@pytest.fixture
def model():
    own = VideoModel(NET).eval()
    video_model.assign(own, randomise.arrays(NET))
    return own


def outputs(model):
    with torch.no_grad():
        return model(CLIPS)[1]


def assert_same(fast, model):
    actual, expected = (
        {name: x.numpy() for name, x in outputs(each).items()} for each in (fast, model)
    )
    compare.assert_all_close(actual, expected)


def kernels(model):
    """The reordered kernels."""
    convs = [m for m in model.modules() if isinstance(m, module._InferenceConv)]
    return [conv._packed and conv._packed[0] for conv in convs]


@pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN"
)
@pytest.mark.parametrize("inference", [False, True])
def test_kernels_are_reordered_once_and_after_a_change(model, inference):
    with torch.inference_mode(inference):
        fast = optimize(model)
        assert set(kernels(fast)) == {None}
        assert_same(fast, model)
        before = kernels(fast)
        assert None not in before
        assert_same(fast, model)
        assert all(a is b for a, b in zip(kernels(fast), before, strict=True))
    with torch.inference_mode():
        for parameter in fast.parameters():
            parameter.zero_()
    assert outputs(fast)["Logits"].abs().max() == 0


def test_without_onednn_it_is_the_same(model, monkeypatch):
    monkeypatch.setattr(module, "_onednn", lambda x: False)
    fast = optimize(model)
    assert_same(fast, model)
    assert set(kernels(fast)) == {None}


@pytest.mark.parametrize(
    "again",
    [optimize, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],  # noqa: S301
)
def test_an_optimised_model_is_optimised_copied_and_saved(model, again):
    fast = optimize(model, endpoints=["res3_1"])
    expected = outputs(fast)
    assert list(expected) == ["res3_1"]
    torch.testing.assert_close(outputs(again(fast)), expected, rtol=0, atol=0)


def test_half_precision_is_near_and_its_logits_are_float32(model):
    fast = outputs(optimize(model, "bfloat16"))
    assert (fast["res3_1"].dtype, fast["Logits"].dtype) == (torch.bfloat16, torch.float32)
    error = (fast["Logits"] - outputs(model)["Logits"]).abs().max()
    assert 1e-6 < error < 0.05 * fast["Logits"].abs().max()
    with pytest.raises(ValueError, match=r"precision.*float32, bfloat16, float16.*'int8'"):
        optimize(model, "int8")
