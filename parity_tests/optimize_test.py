"""Models sped up for inference compute what the plain ones do, at every endpoint."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from common import arch, hardware, models
from parity_tests import randomise
from parity_tests.compare import assert_close, relative_error
from parity_tests.conftest import NEEDS

# Odd and even sizes: what is padded depends on them.
SIZES = {"inception_i3d": [(9, 193, 193), (10, 200, 195)]}
USUAL = [(16, 48, 48), (9, 33, 47)]
GROUPED = {"nl_8x8_affine": [(8, 48, 48), (16, 33, 47)], "nl_32x2_affine": [(32, 48, 48)]}

STRUCTURES = (
    "inception_i3d",
    "inception_i3d_symmetric",
    "inception_i3d_global",
    "i3d_resnet50_32x2",
    "i3d_resnet50_8x8_padded",
    "i3d_resnet50_nl_8x8_affine",
    "i3d_resnet50_nl_32x2_affine",
    "c2d_resnet50_nl_8x8",
    "r2plus1d_18",
    "r2plus1d_50_vmz",
)


def sizes(name):
    grouped = next((found for end, found in GROUPED.items() if name.endswith(end)), USUAL)
    return SIZES.get(name, grouped)


def both(backend, net, clips):
    """Every endpoint of the plain model and of the fast one."""
    arrays = randomise.arrays(net)
    _, plain = backend.inference(net, arrays, clips)
    _, fast = backend.inference(net, arrays, clips, optimized=True)
    return plain, fast


@pytest.mark.parametrize("name", STRUCTURES)
def test_endpoints_are_those_of_the_plain_model(backend, name):
    net = arch.narrow(arch.make(name, 5), 16)
    for size in sizes(name):
        clips = randomise.clips((2, *size, 3))
        plain, fast = both(backend, net, clips)
        assert list(fast) == list(plain)
        for endpoint, expected in plain.items():
            assert_close(fast[endpoint], expected, f"{endpoint} of {size}")


@pytest.mark.parametrize("name", ["inception_i3d", "i3d_resnet50_nl_32x2", "r2plus1d_34"])
def test_folding_is_seen(on_torch, name):
    """Another eps makes a difference: the comparison can fail."""
    net = arch.narrow(arch.make(name, 5), 16)
    arrays = randomise.arrays(net)
    without, folded = arch.folded(net, arrays)
    assert not any(conv.norm for _, conv in arch.convolutions(without))
    wrong_net = arch.map_norms(net, lambda norm: replace(norm, eps=10 * norm.eps))
    _, wrong = arch.folded(wrong_net, arrays)
    clips = randomise.clips((1, *sizes(name)[0], 3))
    good, _ = on_torch.inference(without, folded, clips)
    bad, _ = on_torch.inference(without, wrong, clips)
    assert relative_error(bad, good) > 1e-4


def test_a_variance_that_no_factor_fits():
    net = arch.narrow(arch.make("inception_i3d", 5), 16)
    arrays = randomise.arrays(net)
    name = next(name for name in arrays if name.endswith("running_var"))
    arrays[name] = arrays[name] - 10
    with pytest.raises(ValueError, match=r"Conv3d_1a_7x7: expected variances above -0\.001"):
        arch.folded(net, arrays)


@pytest.mark.parametrize("backend_name", list(NEEDS))
def test_the_model_stays_as_it_is(backend_name):
    pytest.importorskip(NEEDS[backend_name])
    package = importlib.import_module(f"i3d_{backend_name}")
    net = arch.narrow(arch.make("r2plus1d_18", 5), 16)
    model = package.VideoModel(net)
    package.assign(model, randomise.arrays(net))
    before = package.arrays(model)
    fast = package.optimize(model)
    for name, array in package.arrays(model).items():
        np.testing.assert_array_equal(array, before[name])
    assert fast.net.name == net.name
    assert fast.net.endpoints == net.endpoints


@pytest.mark.parametrize("has_it", [False, True])
@pytest.mark.parametrize("backend_name", list(NEEDS))
def test_a_processor_without_float16_is_warned_of(backend_name, has_it, monkeypatch, caplog):
    pytest.importorskip(NEEDS[backend_name])
    package = importlib.import_module(f"i3d_{backend_name}")
    model = package.VideoModel(arch.narrow(arch.make("r2plus1d_18", 5), 16))
    monkeypatch.setattr(hardware, "has_float16", lambda: has_it)
    if backend_name == "tf":
        monkeypatch.setattr("tensorflow.config.list_logical_devices", lambda kind: [])
    package.optimize(model, "bfloat16")
    assert caplog.messages == []
    package.optimize(model, "float16")
    assert caplog.messages == ([] if has_it else [models.NO_FLOAT16])


def small(backend_name, optimized):
    """A framework's model, and what makes its clips of an array [B, T, H, W, C]."""
    pytest.importorskip(NEEDS[backend_name])
    package = importlib.import_module(f"i3d_{backend_name}")
    net = arch.narrow(arch.make("i3d_resnet50_8x8", 5), 16)
    model = package.VideoModel(net)
    package.assign(model, randomise.arrays(net))
    if backend_name == "torch":
        torch = importlib.import_module("torch")
        model = model.eval()
        inputs = lambda clips: torch.from_numpy(np.moveaxis(clips, -1, 1).copy())  # noqa: E731
    else:
        inputs = np.asarray
    return package.optimize(model) if optimized else model, inputs


@pytest.mark.parametrize("place", [(0, 0, 0), (4, 16, 23), (8, 32, 46)])
@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("backend_name", list(NEEDS))
def test_not_a_number_never_becomes_one(backend_name, optimized, place):
    model, inputs = small(backend_name, optimized)
    clips = randomise.clips((1, 9, 33, 47, 3))
    clips[(0, *place)] = np.nan
    try:
        logits, _ = model(inputs(clips))
    except ValueError as error:
        assert "expected clips of finite numbers. Received: NaN or infinity" in str(error)
        assert optimized or backend_name == "tf"
    else:
        assert np.isnan(logits.detach().numpy()).all()


@pytest.mark.parametrize("backend_name", list(NEEDS))
def test_weights_that_are_not_finite_are_refused(backend_name):
    model, _ = small(backend_name, optimized=False)
    package = importlib.import_module(f"i3d_{backend_name}")
    arrays = package.arrays(model)
    arrays["conv1.conv.weight"][0, 0, 0, 0, 0] = np.nan
    package.assign(model, arrays)
    with pytest.raises(ValueError, match=r"finite weights.*NaN or infinity in conv1\.conv\.weight"):
        package.optimize(model)


@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("backend_name", list(NEEDS))
def test_clips_of_another_type_and_none_at_all_are_refused(backend_name, optimized):
    model, inputs = small(backend_name, optimized)
    for dtype in (np.uint8, np.float64, np.int64):
        text = rf"Expected float32 or .*usually \[-1, 1\]\. Received: {np.dtype(dtype)}\."
        with pytest.raises(ValueError, match=text):
            model(inputs(np.zeros((1, 9, 33, 47, 3), dtype)))
    with pytest.raises(ValueError, match=r"at least one clip\. Received: \[0, "):
        model(inputs(np.zeros((0, 9, 33, 47, 3), np.float32)))


@pytest.mark.parametrize("backend_name", list(NEEDS))
def test_an_optimised_model_is_optimised_again(backend_name):
    model, inputs = small(backend_name, optimized=True)
    again = importlib.import_module(f"i3d_{backend_name}").optimize(model)
    clips = inputs(randomise.clips((1, 9, 33, 47, 3)))
    np.testing.assert_array_equal(again(clips)[0].numpy(), model(clips)[0].numpy())


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 224, 224), (23, 211, 201)])
@pytest.mark.parametrize("name", ["inception_i3d"])
def test_full_width(backend, name, size):
    net = arch.make(name)
    clips = randomise.clips((1, *size, 3))
    plain, fast = both(backend, net, clips)
    for endpoint, expected in plain.items():
        assert_close(fast[endpoint], expected, endpoint)
