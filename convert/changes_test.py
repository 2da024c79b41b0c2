"""Changes to weights: classifier, affine form, eps, inflation; and which need to be allowed."""

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from convert import changes, formats, hub
from convert.conftest import make_weights
from convert.dialects import DIALECTS, to_native
from parity_tests import randomise

pytestmark = pytest.mark.usefixtures("thin")


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
    head = "Logits.fc.conv.weight"
    again = hub.read(tmp_path / "a.pt", hub.ConversionOptions(num_classes=101))
    np.testing.assert_array_equal(again.arrays[head], read.arrays[head])
    kept = hub.read(tmp_path / "a.pt", hub.ConversionOptions(num_classes=7))
    np.testing.assert_array_equal(kept.arrays[head], weights.arrays[head])


@pytest.mark.parametrize("num_classes", [101, 400])
def test_a_file_without_its_classifier_is_the_start_of_a_fine_tuning(tmp_path, num_classes):
    """As video-nonlocal-net's own scripts leave it."""
    weights, path = make_weights("i3d_resnet50_8x8"), tmp_path / "start_8x8.pkl"
    native = dict(to_native(DIALECTS["nonlocal_net"], weights.net, weights.arrays))
    for name in ("architecture", "pred_w", "pred_b"):
        del native[name]
    formats.FORMATS["caffe2_pkl"].write(path, native)
    with pytest.raises(CheckpointError, match="missing pred_b, pred_w"):
        hub.read(path)
    options = hub.ConversionOptions(architecture="i3d_resnet50_8x8", num_classes=num_classes)
    read = hub.read(path, options)
    assert read.net == arch.make("i3d_resnet50_8x8", num_classes)
    assert read.notes == (f"a new classifier of {num_classes} classes",)
    arch.check_arrays(read.net, read.arrays)
    stem = "conv1.conv.weight"
    np.testing.assert_array_equal(read.arrays[stem], weights.arrays[stem])


@pytest.mark.parametrize("name", ["i3d_resnet50_8x8", "i3d_resnet50_nl_32x2"])
def test_the_affine_form_computes_the_same_convolutions(name):
    """Both forms as kernels with offsets alone, which `arch.folded` makes of batch norm."""
    weights = make_weights(name)
    net, arrays = changes.to_affine(weights.net, weights.arrays, ["nonlocal_groups"])
    assert net.name == f"{name}_affine"
    arch.check_arrays(net, arrays)
    _, expected = arch.folded(weights.net, weights.arrays)
    _, actual = arch.folded(net, arrays)
    assert actual.keys() == expected.keys()
    for each, array in expected.items():
        np.testing.assert_allclose(actual[each], array, rtol=1e-5, atol=1e-6, err_msg=each)


def test_the_affine_form_is_refused_where_it_is_another_function_or_does_not_exist():
    weights = make_weights("i3d_resnet50_nl_8x8")
    with pytest.raises(CheckpointError, match="--allow=nonlocal_groups"):
        changes.to_affine(weights.net, weights.arrays)
    other = make_weights("r2plus1d_18")
    with pytest.raises(CheckpointError, match="r2plus1d_18 has no affine form"):
        changes.to_affine(other.net, other.arrays)


@pytest.mark.parametrize(
    ("dialect", "architecture"),
    [("mindspore", "inception_i3d"), ("caoliangjie_r2plus1d", "r2plus1d_34_vmz")],
)
def test_eps_is_taken_into_the_variance_when_asked(tmp_path, dialect, architecture):
    weights, options = make_weights(architecture), hub.ConversionOptions(adjust_eps=True)
    hub.write(weights, tmp_path / "a.pt", to=dialect, options=options)
    stored = hub.read(tmp_path / "a.pt").arrays
    read = hub.read(tmp_path / "a.pt", options).arrays
    for name, array in weights.arrays.items():
        if name.endswith("running_var"):
            # What the owner's code adds its eps to, and what ours does.
            np.testing.assert_allclose(stored[name] + 1e-5, array + 1e-3, rtol=1e-6)
            np.testing.assert_allclose(read[name], array, rtol=1e-6)
        else:
            np.testing.assert_array_equal(stored[name], array)


@pytest.mark.parametrize("how", changes.INFLATIONS)
@pytest.mark.parametrize(
    ("dialect", "architecture", "other"),
    [
        ("slim_inception_v1", "inception_i3d", "InceptionV1/Logits/Conv2d_0c_1x1/weights"),
        ("googlenet", "inception_i3d", "aux1.fc1.weight"),
        ("resnet_2d", "i3d_resnet50_8x8", "fc.weight"),
    ],
)
def test_an_image_network_is_inflated(tmp_path, dialect, architecture, other, how):
    net = arch.make(architecture, 7)
    net = arch.scaled(net) if DIALECTS[dialect].has_scale else net
    flat = {  # a 2-D network, made of the frames' sums of a 3-D one's kernels
        name: array.sum(axis=2, keepdims=True) if array.ndim == 5 else array
        for name, array in randomise.arrays(net).items()
    }
    native = dict(to_native(DIALECTS[dialect], net, flat)) | {other: np.ones((3, 4), np.float32)}
    formats.FORMATS["safetensors"].write(tmp_path / "image.safetensors", native)
    options = hub.ConversionOptions(architecture=architecture, inflate=how, num_classes=11)
    read = hub.read(tmp_path / "image.safetensors", options)
    assert (read.dialect, read.net) == (dialect, arch.with_classes(net, 11))
    assert read.ignored == (other,)
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
