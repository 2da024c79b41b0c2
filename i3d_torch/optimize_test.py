"""What only PyTorch's fast models do; `parity_tests/optimize_test.py` has what both do."""

import copy
import importlib
import pickle

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from common import arch  # noqa: E402
from i3d_torch import optimize, weights  # noqa: E402
from i3d_torch.model import VideoModel  # noqa: E402
from parity_tests import randomise  # noqa: E402

module = importlib.import_module("i3d_torch.optimize")  # the package has its function by the name

NET = arch.narrow(arch.make("i3d_resnet50_nl_32x2", 5), 16)
CLIPS = torch.tensor(randomise.clips((2, 3, 9, 33, 47)))


@pytest.fixture(scope="module")
def model():
    own = VideoModel(NET).eval()
    weights.assign(own, randomise.arrays(NET))
    return own


def outputs(model):
    with torch.no_grad():
        return model(CLIPS)[1]


def assert_same(fast, model, tolerance=1e-5):
    expected = outputs(model)
    actual = outputs(fast)
    assert list(actual) == list(expected)
    for name, tensor in expected.items():
        error = (actual[name].float() - tensor).abs().max() / tensor.abs().max()
        assert error <= tolerance, (name, error)


def kernels(model):
    """The reordered kernels."""
    convs = [m for m in model.modules() if isinstance(m, module._InferenceConv)]
    return [conv._packed and conv._packed[0] for conv in convs]


@pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN"
)
def test_kernels_are_reordered_once_and_after_a_change(model):
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


@torch.inference_mode()
def test_it_may_be_made_in_inference_mode():
    own = VideoModel(NET).eval()
    weights.assign(own, randomise.arrays(NET))
    fast = optimize(own)
    assert_same(fast, own)
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
    fast = optimize(model)
    expected = outputs(fast)
    for name, value in outputs(again(fast)).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_only_the_endpoints_that_are_asked_for(model):
    expected, _ = model(CLIPS)
    logits, endpoints = optimize(model, endpoints=["res3_1"])(CLIPS)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert list(endpoints) == ["res3_1"]


def test_half_precision_is_near_and_its_logits_are_float32(model):
    fast = optimize(model, "bfloat16")
    assert_same(fast, model, 0.05)
    assert outputs(fast)["res3_1"].dtype == torch.bfloat16
    assert outputs(fast)["Logits"].dtype == torch.float32
    error = (outputs(fast)["Logits"] - outputs(model)["Logits"]).abs().max()
    assert error > 1e-6  # else it was not half
    with pytest.raises(ValueError, match=r"precision.*float32, bfloat16, float16.*'int8'"):
        optimize(model, "int8")
