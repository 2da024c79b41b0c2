"""What only PyTorch's fast models do; `parity_tests/optimize_test.py` has what both do."""

import copy
import importlib
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from common import arch  # noqa: E402
from common.preprocessing import contracts  # noqa: E402
from common.testing import learner as checks  # noqa: E402
from i3d_torch import extractor, learner, optimize, scorer, weights  # noqa: E402
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


def packed(model):
    return {m.packed for m in model.modules() if isinstance(m, module._FoldedConv)}


@pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN"
)
def test_kernels_are_packed_once(model):
    fast = optimize(model)
    assert packed(fast) == {False}
    assert_same(fast, model)
    assert packed(fast) == {True}
    kernels = [m.kernel for m in fast.modules() if isinstance(m, module._FoldedConv)]
    assert_same(fast, model)
    after = [m.kernel for m in fast.modules() if isinstance(m, module._FoldedConv)]
    assert all(a is b for a, b in zip(after, kernels, strict=True))


def test_without_onednn_it_is_the_same(model, monkeypatch):
    monkeypatch.setattr(module, "_onednn", lambda x: False)
    fast = optimize(model)
    assert_same(fast, model)
    assert packed(fast) == {False}


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


@pytest.fixture
def uncompilable(monkeypatch):
    def broken(*_, **options):
        def run(*_, **arguments):
            raise RuntimeError("no compiler\nand much more")

        return run

    monkeypatch.setattr(torch, "compile", broken)


@pytest.mark.usefixtures("uncompilable")
def test_what_cannot_be_compiled_runs_as_it_is(model, caplog):
    fast = optimize(model, compiled=True)
    for _ in range(2):
        assert_same(fast, model)
    assert caplog.messages == ["It runs uncompiled, and slower: no compiler"]
    assert packed(fast) == {module._onednn(CLIPS)}


@pytest.mark.usefixtures("uncompilable")
def test_what_cannot_be_compiled_trains_as_it_is(caplog):
    usual, own = (step(compiled) for compiled in (False, True))
    assert caplog.messages == ["It runs uncompiled, and slower: no compiler"]
    for name, array in own.items():
        np.testing.assert_array_equal(array, usual[name], err_msg=name)


@pytest.fixture
def traced(monkeypatch):
    """Compiled code is traced, and run without a compiler of C++."""
    monkeypatch.setattr(torch, "compile", traced_by(torch.compile))
    yield
    torch.compiler.reset()


def traced_by(compile_):
    return lambda function, **options: compile_(
        function, backend="eager", dynamic=options["dynamic"]
    )


def compiled_models():
    own = VideoModel(NET).eval()
    weights.assign(own, randomise.arrays(NET))
    trained = module.training_model(NET, compiled=True).eval()
    weights.assign(trained, randomise.arrays(NET))
    return optimize(own, compiled=True), trained


@pytest.mark.usefixtures("traced")
def test_a_compiled_model_raises_what_the_plain_one_does(caplog):
    for fast in compiled_models():
        with pytest.raises(ValueError, match="clips"):
            fast(CLIPS[:, :2])
        assert fast.forward.call is not fast.forward.plain
    assert "uncompiled" not in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_a_copy_of_a_compiled_model_has_weights_of_its_own():
    for fast in compiled_models():
        expected = fast(CLIPS)[0]
        other = copy.deepcopy(fast)
        for parameter in other.parameters():
            torch.nn.init.zeros_(parameter)
        for layer in other.modules():
            if isinstance(layer, module._FoldedConv):
                layer.kernel.zero_()
        assert other(CLIPS)[0].abs().max() == 0
        torch.testing.assert_close(fast(CLIPS)[0], expected)


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_more_sizes_than_torch_compiles(model, caplog):
    _, fast = compiled_models()
    for frames in range(7, 11):
        clips = CLIPS[:1, :, :1, :21, :21].repeat(1, 1, frames, 1, 1)
        with torch.no_grad(), torch._dynamo.config.patch(recompile_limit=2):
            torch.testing.assert_close(fast(clips)[0], model(clips)[0], rtol=1e-4, atol=1e-5)
    assert "uncompiled" not in caplog.text


def test_what_is_compiled_cannot_recompute():
    with pytest.raises(ValueError, match="cannot recompute"):
        module.training_model(NET, recompute=True, compiled=True)


@pytest.mark.usefixtures("uncompilable")
@pytest.mark.parametrize("package", [extractor, scorer])
def test_what_commands_run_is_compiled_when_they_say_so(package, caplog):
    endpoint = ["res3_1"] if package is extractor else []
    arrays = randomise.arrays(NET)
    made = package.create(NET, arrays, contracts.usual(NET.name), *endpoint, compiled=True)
    run = made.rows if package is extractor else made.scores
    run(np.zeros((1, 9, 33, 47, 3), np.uint8))
    assert caplog.messages == ["It runs uncompiled, and slower: no compiler"]


def step(compiled, mode="train", precision="float32"):
    """The state of a learner after two steps, with scores between them."""
    changes = {"batch_norm": mode, "precision": precision, "compiled": compiled}
    own = checks.make_learner(learner.create, **changes)
    for count in range(2):
        own.step([checks.make_batch(count)], checks.RATE)
        own.scores(checks.make_batch(9).clips)
    return own.state()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_compiled_it_is_the_same():
    net = arch.narrow(arch.make("r2plus1d_18", 5), 16)
    own = VideoModel(net).eval()
    weights.assign(own, randomise.arrays(net))
    fast = optimize(own, compiled=True)
    assert_same(fast, own)
    assert fast.forward.call is not fast.forward.plain


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
@pytest.mark.parametrize("mode", ["train", "freeze"])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_compiled_it_trains_the_same(mode, precision, tolerance, caplog):
    torch._dynamo.utils.counters.clear()
    usual, own = (step(compiled, mode, precision) for compiled in (False, True))
    assert "uncompiled" not in caplog.text
    assert not torch._dynamo.utils.counters["graph_break"]
    for name, array in own.items():
        error = np.abs(array - usual[name]).max()
        assert error <= tolerance * max(1, np.abs(usual[name]).max()), name
