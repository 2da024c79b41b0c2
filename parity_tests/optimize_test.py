"""Models sped up for inference compute what the plain ones do, at every endpoint."""

from dataclasses import replace

import numpy as np
import pytest

from common import arch, hardware, models
from parity_tests import randomise
from parity_tests.compare import assert_all_close, relative_error

# One of each structure; odd and even sizes, on which the padding depends.
SIZES = {
    "inception_i3d": (10, 200, 195),
    "inception_i3d_symmetric": (9, 33, 47),
    "i3d_resnet50_32x2": (16, 48, 48),
    "i3d_resnet50_8x8_padded": (9, 33, 47),
    "i3d_resnet50_nl_8x8_affine": (16, 33, 47),
    "c2d_resnet50_nl_8x8": (9, 33, 47),
    "r2plus1d_18": (9, 33, 47),
    "r2plus1d_50_vmz": (16, 48, 48),
}
NET = arch.narrow(arch.make("i3d_resnet50_8x8", 5), 16)


def assert_alike(backend, net, size):
    """Every endpoint of the fast model is that of the plain one."""
    arrays, clips = randomise.arrays(net), randomise.clips((1, *size, 3))
    plain, fast = (
        backend.inference(net, arrays, clips, optimized=each)[1] for each in (False, True)
    )
    assert_all_close(fast, plain)


@pytest.mark.parametrize("name", SIZES)
def test_endpoints_are_those_of_the_plain_model(backend, name):
    assert_alike(backend, arch.narrow(arch.make(name, 5), 16), SIZES[name])


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 224, 224), (23, 211, 201)])
def test_full_width(backend, size):
    assert_alike(backend, arch.inception_i3d(), size)


def test_folding_is_seen(on_torch):
    """Another eps makes a difference: the comparison can fail."""
    arrays, clips = randomise.arrays(NET), randomise.clips((1, 9, 33, 47, 3))
    without, folded = arch.folded(NET, arrays)
    assert not any(conv.norm for _, conv in arch.convolutions(without))
    wrong_net = arch.map_norms(NET, lambda norm: replace(norm, eps=100 * norm.eps))
    _, wrong = arch.folded(wrong_net, arrays)
    good, bad = (on_torch.inference(without, each, clips)[0] for each in (folded, wrong))
    assert relative_error(bad, good) > 1e-4


def model_and_inputs(package, optimized=False):
    """A framework's model, and what makes its clips of an array [B, T, H, W, C]."""
    model, inputs = package.VideoModel(NET), np.asarray
    package.assign(model, randomise.arrays(NET))
    if package.__name__ == "i3d_torch":
        import torch

        model = model.eval()
        inputs = lambda clips: torch.from_numpy(np.moveaxis(clips, -1, 1).copy())  # noqa: E731
    return package.optimize(model) if optimized else model, inputs


@pytest.mark.parametrize("has_it", [False, True])
def test_a_processor_without_float16_is_warned_of(package, has_it, monkeypatch, caplog):
    model, _ = model_and_inputs(package)
    before = package.arrays(model)
    monkeypatch.setattr(hardware, "has_float16", lambda: has_it)
    if package.__name__ == "i3d_tf":
        monkeypatch.setattr("tensorflow.config.list_logical_devices", lambda kind: [])
    package.optimize(model, "bfloat16")
    assert caplog.messages == []
    package.optimize(model, "float16")
    assert caplog.messages == ([] if has_it else [models.NO_FLOAT16])
    for name, array in package.arrays(model).items():  # the model stays as it is
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("optimized", [False, True])
def test_not_a_number_never_becomes_one(package, optimized):
    model, inputs = model_and_inputs(package, optimized)
    for place in ((0, 0, 0), (4, 16, 23), (8, 32, 46)):
        clips = randomise.clips((1, 9, 33, 47, 3))
        clips[(0, *place)] = np.nan
        if optimized or package.__name__ == "i3d_tf":
            with pytest.raises(ValueError, match=r"of finite numbers\. Received: NaN"):
                model(inputs(clips))
        else:
            assert np.isnan(model(inputs(clips))[0].detach().numpy()).all()


@pytest.mark.parametrize("optimized", [False, True])
def test_clips_of_another_type_and_none_at_all_are_refused(package, optimized):
    model, inputs = model_and_inputs(package, optimized)
    for dtype in (np.uint8, np.float64, np.int64):
        text = rf"Expected float32 or .*usually \[-1, 1\]\. Received: {np.dtype(dtype)}\."
        with pytest.raises(ValueError, match=text):
            model(inputs(np.zeros((1, 9, 33, 47, 3), dtype)))
    with pytest.raises(ValueError, match=r"at least one clip\. Received: \[0, "):
        model(inputs(np.zeros((0, 9, 33, 47, 3), np.float32)))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("conv1.conv.weight", np.nan, r"finite weights.*NaN or infinity in conv1\.conv\.weight"),
        ("conv1.norm.running_var", -9, r"conv1: expected variances above -1e-05"),
    ],
)
def test_weights_that_cannot_be_folded_are_refused(package, name, value, text):
    model, _ = model_and_inputs(package)
    arrays = package.arrays(model)
    arrays[name].flat[0] = value
    package.assign(model, arrays)
    with pytest.raises(ValueError, match=text):
        package.optimize(model)
