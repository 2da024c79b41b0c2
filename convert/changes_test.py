"""Changes to weights: classifier, affine form, eps, inflation; and which need to be allowed."""

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from convert import changes, formats, hub
from convert.conftest import make_weights
from convert.dialects import DIALECTS, to_native
from parity_tests import randomise

thin = pytest.mark.usefixtures("thin")


@thin
def test_a_new_classifier_leaves_all_else_as_it_was(tmp_path):
    weights = make_weights("r2plus1d_18")
    hub.write(weights, tmp_path / "a.pt")
    read = hub.read(tmp_path / "a.pt", hub.ConversionOptions(num_classes=101))
    assert read.net == arch.make("r2plus1d_18", 101)
    assert read.notes == ("a new classifier of 101 classes",)
    arch.check_arrays(read.net, read.arrays)
    for name, array in weights.arrays.items():
        if not name.startswith("Logits"):
            np.testing.assert_array_equal(read.arrays[name], array)
    again = hub.read(tmp_path / "a.pt", hub.ConversionOptions(num_classes=101))
    np.testing.assert_array_equal(
        again.arrays["Logits.fc.conv.weight"], read.arrays["Logits.fc.conv.weight"]
    )
    kept = hub.read(tmp_path / "a.pt", hub.ConversionOptions(num_classes=7))
    np.testing.assert_array_equal(
        kept.arrays["Logits.fc.conv.weight"], weights.arrays["Logits.fc.conv.weight"]
    )


@thin
@pytest.mark.parametrize("num_classes", [101, 400])
def test_a_file_without_its_classifier_is_the_start_of_a_fine_tuning(tmp_path, num_classes):
    """As video-nonlocal-net's own scripts leave it."""
    weights, path = make_weights("i3d_resnet50_8x8"), tmp_path / "start_8x8.pkl"
    native = dict(to_native(DIALECTS["nonlocal_net"], weights.net, weights.arrays))
    for name in ("architecture", "pred_w", "pred_b"):
        del native[name]
    formats.for_output(path).write(path, native)
    with pytest.raises(CheckpointError, match="missing pred_b, pred_w"):
        hub.read(path)
    options = hub.ConversionOptions(architecture="i3d_resnet50_8x8", num_classes=num_classes)
    read = hub.read(path, options)
    assert read.net == arch.make("i3d_resnet50_8x8", num_classes)
    assert read.notes == (f"a new classifier of {num_classes} classes; the file has none",)
    arch.check_arrays(read.net, read.arrays)
    np.testing.assert_array_equal(
        read.arrays["conv1.conv.weight"], weights.arrays["conv1.conv.weight"]
    )


def _forward(net, arrays):
    """Every normalised convolution as one kernel and offset, for a comparison by function."""
    result = {}
    for unit, conv in arch.convolutions(net):
        name = ".".join(unit)
        scale, offset = np.ones(conv.out_channels), np.zeros(conv.out_channels)
        if conv.norm is not None:
            scale = arrays[f"{name}.norm.weight"].astype(np.float64)
            offset = arrays[f"{name}.norm.bias"].astype(np.float64)
        if isinstance(conv.norm, arch.Norm):
            scale = scale / np.sqrt(arrays[f"{name}.norm.running_var"] + conv.norm.eps)
            offset = offset - scale * arrays[f"{name}.norm.running_mean"]
        if conv.bias:
            offset = offset + scale * arrays[f"{name}.conv.bias"]
        kernel = arrays[f"{name}.conv.weight"] * scale[:, None, None, None, None]
        result[name] = kernel, offset
    return result


@thin
@pytest.mark.parametrize("name", ["i3d_resnet50_8x8", "i3d_resnet50_nl_32x2"])
def test_the_affine_form_computes_the_same_convolutions(name):
    weights = make_weights(name)
    net, arrays = changes.to_affine(weights.net, weights.arrays, ["nonlocal_groups"])
    assert net.name == f"{name}_affine"
    arch.check_arrays(net, arrays)
    expected, actual = _forward(weights.net, weights.arrays), _forward(net, arrays)
    for unit, (kernel, offset) in expected.items():
        np.testing.assert_allclose(actual[unit][0], kernel, rtol=1e-6, atol=1e-8, err_msg=unit)
        np.testing.assert_allclose(actual[unit][1], offset, rtol=1e-5, atol=1e-6, err_msg=unit)


@thin
def test_the_affine_form_is_refused_where_it_is_another_function_or_does_not_exist():
    weights = make_weights("i3d_resnet50_nl_8x8")
    with pytest.raises(CheckpointError, match="--allow=nonlocal_groups"):
        changes.to_affine(weights.net, weights.arrays)
    other = make_weights("r2plus1d_18")
    with pytest.raises(CheckpointError, match="r2plus1d_18 has no affine form"):
        changes.to_affine(other.net, other.arrays)


@thin
@pytest.mark.parametrize(
    ("dialect", "architecture", "ours", "theirs"),
    [
        ("mindspore", "inception_i3d", 1e-3, 1e-5),
        ("caoliangjie_r2plus1d", "r2plus1d_34_vmz", 1e-3, 1e-5),
    ],
)
def test_eps_is_taken_into_the_variance_when_asked(tmp_path, dialect, architecture, ours, theirs):
    weights, options = make_weights(architecture), hub.ConversionOptions(adjust_eps=True)
    hub.write(weights, tmp_path / "a.pt", to=dialect, options=options)
    stored = hub.read(tmp_path / "a.pt").arrays
    read = hub.read(tmp_path / "a.pt", options).arrays
    for name, array in weights.arrays.items():
        if name.endswith("running_var"):
            # What the owner's code adds its eps to, and what ours does.
            np.testing.assert_allclose(stored[name] + theirs, array + ours, rtol=1e-6)
            np.testing.assert_allclose(read[name], array, rtol=1e-6)
        else:
            np.testing.assert_array_equal(stored[name], array)


INFLATED = {
    "slim_inception_v1": "inception_i3d",
    "googlenet": "inception_i3d",
    "resnet_2d": "i3d_resnet50_8x8",
}
OTHERS = {
    "slim_inception_v1": "InceptionV1/Logits/Conv2d_0c_1x1/weights",
    "googlenet": "aux1.fc1.weight",
    "resnet_2d": "fc.weight",
}


def _image_file(tmp_path, dialect, architecture):
    """A file of a 2-D network, made of the frames' sums of a 3-D one's kernels."""
    net = arch.make(architecture, 7)
    if DIALECTS[dialect].has_scale:
        net = arch.scaled(net)
    flat = {
        name: array.sum(axis=2, keepdims=True) if array.ndim == 5 else array
        for name, array in randomise.arrays(net).items()
    }
    native = dict(to_native(DIALECTS[dialect], net, flat))
    native[OTHERS[dialect]] = np.ones((3, 4), np.float32)
    formats.FORMATS["safetensors"].write(tmp_path / "image.safetensors", native)
    return net, flat, tmp_path / "image.safetensors"


@thin
@pytest.mark.parametrize("how", changes.INFLATIONS)
@pytest.mark.parametrize("dialect", INFLATED)
def test_an_image_network_is_inflated(tmp_path, dialect, how):
    architecture = INFLATED[dialect]
    net, flat, path = _image_file(tmp_path, dialect, architecture)
    options = hub.ConversionOptions(architecture=architecture, inflate=how, num_classes=11)
    read = hub.read(path, options)
    assert (read.dialect, read.net) == (dialect, arch.with_classes(net, 11))
    assert read.ignored == (OTHERS[dialect],)
    arch.check_arrays(read.net, read.arrays)
    kernels = 0
    for name, array in read.arrays.items():
        if name.startswith("Logits"):
            continue
        if array.ndim < 5:
            np.testing.assert_array_equal(array, flat[name])
            continue
        # A still video gives what the image gives.
        np.testing.assert_allclose(array.sum(axis=2, keepdims=True), flat[name], rtol=1e-5)
        frames, middle = array.shape[2], array.shape[2] // 2
        kernels += frames > 1
        if how == "repeat":
            np.testing.assert_allclose(array, flat[name].repeat(frames, 2) / frames, rtol=1e-6)
        else:
            assert not np.delete(array, middle, axis=2).any()
    assert kernels >= 10
