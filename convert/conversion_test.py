"""What a conversion can change on the way: classifier, form, eps, averages, inflation."""

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from convert import affine, changes, classifier, conversion, formats, hub, inflation, verify
from convert.dialects import DIALECTS, to_native
from parity_tests import randomise

thin = pytest.mark.usefixtures("thin")


def _weights(architecture, num_classes=7, seed=0):
    net = arch.make(architecture, num_classes)
    return hub.Weights(net, randomise.arrays(net, seed))


def _foreign(path, dialect, weights, without=()):
    """A file as its owner writes it, who does not say which architecture it is."""
    native = to_native(DIALECTS[dialect], weights.net, weights.arrays)
    native.pop("architecture", None)
    kept = {name: array for name, array in native.items() if name not in without}
    formats.for_output(path).write(path, kept)


# --- several networks of the same names ---


@thin
@pytest.mark.parametrize(
    ("file_name", "architecture"),
    [
        ("i3d_baseline_32x2_IN_pretrain_400k.pkl", "i3d_resnet50_32x2"),
        ("i3d_nonlocal_8x8_IN_pretrain_400k.pkl", "i3d_resnet50_nl_8x8"),
        ("i3d_nonlocal_32x4_I3D_pretrain_400k.pkl", "i3d_resnet50_nl_8x8_affine"),
        ("i3d_baseline_128x1_I3D_pretrain_400k.pkl", "i3d_resnet50_32x2_affine"),
        ("c2d_baseline_8x8_IN_pretrain_400k.pkl", "c2d_resnet50_8x8"),
        ("I3D_8x8_R50.pkl", "i3d_resnet50_8x8_padded"),
        ("I3D_NLN_8x8_R50.pkl", "i3d_resnet50_nl_8x8_padded"),
        ("mine_i3d_resnet50_32x2_epoch7.pkl", "i3d_resnet50_32x2"),
    ],
)
def test_a_published_files_name_says_the_timing(tmp_path, file_name, architecture):
    _foreign(tmp_path / file_name, "nonlocal_net", _weights(architecture))
    assert hub.read(tmp_path / file_name).net.name == architecture


@thin
@pytest.mark.parametrize(
    "file_name",
    ["weights.pkl", "my_128x128.pkl", "i3d_baseline_8x8_from_32x2.pkl", "run18x8.pkl", "8x8.pkl"],
)
def test_a_file_that_fits_several_networks_asks_which(tmp_path, file_name):
    path = tmp_path / file_name
    _foreign(path, "nonlocal_net", _weights("i3d_resnet50_8x8"))
    expected = r"\.pkl: .*i3d_resnet50_8x8, i3d_resnet50_32x2, i3d_resnet50_8x8_padded.*--arch"
    with pytest.raises(CheckpointError, match=expected):
        hub.read(path)
    read = hub.read(path, hub.Terms(architecture="i3d_resnet50_32x2"))
    assert read.net.name == "i3d_resnet50_32x2"
    with pytest.raises(CheckpointError, match=r"no dialect of r2plus1d_18 has these names"):
        hub.read(path, hub.Terms(architecture="r2plus1d_18"))
    with pytest.raises(ValueError, match="no such architecture"):
        hub.read(path, hub.Terms(architecture="resnet"))


@thin
def test_our_own_files_say_what_they_are(tmp_path):
    weights = _weights("i3d_resnet50_32x2_padded")
    for name in ("a.pt", "a.ckpt", "a.pkl", "a.msgpack", "a.tf2.ckpt"):
        hub.write(weights, tmp_path / name)
        assert hub.read(tmp_path / name).net == weights.net
    with pytest.raises(CheckpointError, match=r"of i3d_resnet50_32x2_padded. Received: --arch"):
        hub.read(tmp_path / "a.pt", hub.Terms(architecture="i3d_resnet50_32x2"))
    native = to_native(DIALECTS["canonical"], weights.net, weights.arrays)
    native["architecture"] = np.frombuffer(b"i3d_resnet50_9x9", np.uint8)
    formats.FORMATS["torch_pt"].write(tmp_path / "b.pt", native)
    with pytest.raises(CheckpointError, match="'i3d_resnet50_9x9', which is not known"):
        hub.read(tmp_path / "b.pt")


@thin
def test_a_file_in_which_an_array_is_there_twice(tmp_path):
    """GluonCV saves a block under each name it is registered by."""
    net = arch.make("i3d_resnet50_32x2_padded")
    weights = hub.Weights(net, randomise.arrays(net))
    native = to_native(DIALECTS["gluoncv_resnet"], net, weights.arrays)
    natives = DIALECTS["gluoncv_resnet"].natives(net)
    again = {alias: native[n.name] for n in natives for alias in n.aliases}
    assert "res_layers.0.0.bottleneck.0.weight" in again
    formats.FORMATS["safetensors"].write(tmp_path / "a.safetensors", native | again)
    read = hub.read(tmp_path / "a.safetensors")
    assert read.dialect == "gluoncv_resnet"
    for name, array in weights.arrays.items():
        np.testing.assert_array_equal(read.arrays[name], array)
    wrong = dict(again)
    wrong["head.1.bias"] = again["head.1.bias"] + 1
    formats.FORMATS["safetensors"].write(tmp_path / "b.safetensors", native | wrong)
    with pytest.raises(CheckpointError, match=r"same twice: head\.1\.bias is not fc\.bias"):
        hub.read(tmp_path / "b.safetensors")


# --- classifier ---


@thin
def test_a_new_classifier_leaves_all_else_as_it_was(tmp_path):
    weights = _weights("r2plus1d_18")
    hub.write(weights, tmp_path / "a.pt")
    read = hub.read(tmp_path / "a.pt", hub.Terms(num_classes=101))
    assert read.net == arch.make("r2plus1d_18", 101)
    assert read.notes == ("a new classifier of 101 classes",)
    arch.check_arrays(read.net, read.arrays)
    for name, array in weights.arrays.items():
        if not name.startswith("Logits"):
            np.testing.assert_array_equal(read.arrays[name], array)
    again = hub.read(tmp_path / "a.pt", hub.Terms(num_classes=101))
    np.testing.assert_array_equal(
        again.arrays["Logits.fc.conv.weight"], read.arrays["Logits.fc.conv.weight"]
    )
    kept = hub.read(tmp_path / "a.pt", hub.Terms(num_classes=7))
    np.testing.assert_array_equal(
        kept.arrays["Logits.fc.conv.weight"], weights.arrays["Logits.fc.conv.weight"]
    )


@thin
@pytest.mark.parametrize("num_classes", [101, 400])
def test_a_file_without_its_classifier_is_the_start_of_a_fine_tuning(tmp_path, num_classes):
    """As video-nonlocal-net's own scripts leave it."""
    weights, path = _weights("i3d_resnet50_8x8"), tmp_path / "start_8x8.pkl"
    _foreign(path, "nonlocal_net", weights, without=("pred_w", "pred_b"))
    with pytest.raises(CheckpointError, match="missing pred_b, pred_w"):
        hub.read(path)
    terms = hub.Terms(architecture="i3d_resnet50_8x8", num_classes=num_classes)
    read = hub.read(path, terms)
    assert read.net == arch.make("i3d_resnet50_8x8", num_classes)
    assert read.notes == (f"a new classifier of {num_classes} classes; the file has none",)
    arch.check_arrays(read.net, read.arrays)
    np.testing.assert_array_equal(
        read.arrays["conv1.conv.weight"], weights.arrays["conv1.conv.weight"]
    )


@thin
def test_what_is_read_is_not_written_over(tmp_path):
    path = str(tmp_path / "a.pt")
    hub.write(_weights("r2plus1d_18"), path)
    before = (tmp_path / "a.pt").read_bytes()
    again = f"{tmp_path}/../{tmp_path.name}/a.pt"
    with pytest.raises(ValueError, match="is what is read"):
        conversion.run(conversion.Options((path,), again, overwrite=True))
    assert (tmp_path / "a.pt").read_bytes() == before


@thin
def test_narrower_numbers_are_pointed_out(tmp_path):
    weights = _weights("r2plus1d_18")
    halves = {name: array.astype(np.float16) for name, array in weights.arrays.items()}
    formats.FORMATS["torch_pt"].write(tmp_path / "a.pt", halves)
    options = conversion.Options((str(tmp_path / "a.pt"),), str(tmp_path / "b.safetensors"))
    assert "widened to float32: 187 of 187 arrays" in conversion.run(options)


def test_a_fresh_classifier_is_a_truncated_normal():
    fresh = classifier.fresh(arch.inception_i3d(400))
    kernel, bias = (
        fresh["Logits.Conv3d_0c_1x1.conv.weight"],
        fresh["Logits.Conv3d_0c_1x1.conv.bias"],
    )
    deviation = 1024**-0.5
    assert kernel.dtype == bias.dtype == np.float32
    assert np.abs(kernel).max() <= 2 * deviation
    assert kernel.std() == pytest.approx(0.8796 * deviation, rel=0.01)
    assert not bias.any()


# --- affine form ---


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
    weights = _weights(name)
    net, arrays = affine.to_affine(weights.net, weights.arrays, ["nonlocal_groups"])
    assert net.name == f"{name}_affine"
    arch.check_arrays(net, arrays)
    expected, actual = _forward(weights.net, weights.arrays), _forward(net, arrays)
    for unit, (kernel, offset) in expected.items():
        np.testing.assert_allclose(actual[unit][0], kernel, rtol=1e-6, atol=1e-8, err_msg=unit)
        np.testing.assert_allclose(actual[unit][1], offset, rtol=1e-5, atol=1e-6, err_msg=unit)


@thin
def test_the_affine_form_is_refused_where_it_is_another_function_or_does_not_exist():
    weights = _weights("i3d_resnet50_nl_8x8")
    with pytest.raises(CheckpointError, match="--allow=nonlocal_groups"):
        affine.to_affine(weights.net, weights.arrays)
    other = _weights("r2plus1d_18")
    with pytest.raises(CheckpointError, match="r2plus1d_18 has no affine form"):
        affine.to_affine(other.net, other.arrays)


# --- eps ---


@thin
@pytest.mark.parametrize(
    ("dialect", "architecture", "ours", "theirs"),
    [
        ("mindspore", "inception_i3d", 1e-3, 1e-5),
        ("caoliangjie_r2plus1d", "r2plus1d_34_vmz", 1e-3, 1e-5),
    ],
)
def test_eps_is_taken_into_the_variance_when_asked(tmp_path, dialect, architecture, ours, theirs):
    weights, terms = _weights(architecture), hub.Terms(adjust_eps=True)
    hub.write(weights, tmp_path / "a.pt", to=dialect, terms=terms)
    stored = hub.read(tmp_path / "a.pt").arrays
    read = hub.read(tmp_path / "a.pt", terms).arrays
    for name, array in weights.arrays.items():
        if name.endswith("running_var"):
            # What the owner's code adds its eps to, and what ours does.
            np.testing.assert_allclose(stored[name] + theirs, array + ours, rtol=1e-6)
            np.testing.assert_allclose(read[name], array, rtol=1e-6)
        else:
            np.testing.assert_array_equal(stored[name], array)


@thin
def test_a_different_eps_is_pointed_out(tmp_path):
    weights = _weights("inception_i3d")
    hub.write(weights, tmp_path / "a.pt")
    options = conversion.Options((str(tmp_path / "a.pt"),), str(tmp_path / "b.ms.ckpt"))
    assert (
        "mindspore's own code has an eps of 1e-05 in place of 0.001; for weights that are run"
        in conversion.run(options)
    )


# --- averages ---


@thin
def test_the_average_is_that_of_every_array(tmp_path):
    checkpoints = [_weights("r2plus1d_18", seed=seed) for seed in range(3)]
    for i, weights in enumerate(checkpoints):
        hub.write(weights, tmp_path / f"{i}.pt")
    inputs = tuple(str(tmp_path / f"{i}.pt") for i in range(3))
    text = conversion.run(conversion.Options(inputs, str(tmp_path / "mean.pt")))
    assert "the mean of 3 checkpoints" in text
    read = hub.read(tmp_path / "mean.pt")
    for name, array in read.arrays.items():
        expected = np.mean([w.arrays[name].astype(np.float64) for w in checkpoints], axis=0)
        np.testing.assert_array_equal(array, expected.astype(np.float32), err_msg=name)


@thin
def test_different_networks_are_not_averaged():
    with pytest.raises(CheckpointError, match=r"7 classes .*and r2plus1d_18 of 5 classes"):
        conversion.average([_weights("r2plus1d_18"), _weights("r2plus1d_18", 5)])


# --- inflation ---

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
    native = to_native(DIALECTS[dialect], net, flat)
    native[OTHERS[dialect]] = np.ones((3, 4), np.float32)
    formats.FORMATS["safetensors"].write(tmp_path / "image.safetensors", native)
    return net, flat, tmp_path / "image.safetensors"


@thin
@pytest.mark.parametrize("how", inflation.HOW)
@pytest.mark.parametrize("dialect", INFLATED)
def test_an_image_network_is_inflated(tmp_path, dialect, how):
    architecture = INFLATED[dialect]
    net, flat, path = _image_file(tmp_path, dialect, architecture)
    terms = hub.Terms(architecture=architecture, inflate=how, num_classes=11)
    read = hub.read(path, terms)
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


@thin
def test_an_image_resnet_fits_many_networks(tmp_path):
    _, _, path = _image_file(tmp_path, "resnet_2d", "i3d_resnet50_8x8")
    with pytest.raises(CheckpointError, match="--architecture=NAME"):
        hub.read(path)


def test_an_unknown_inflation_is_refused():
    with pytest.raises(ValueError, match=r"repeat, centre. Received: 'mirror'"):
        inflation.inflate(np.zeros((1, 1, 1, 3, 3), np.float32), 3, "mirror")


# --- verify ---


@thin
def test_both_sides_are_run(tmp_path):
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    weights = _weights("r2plus1d_18")
    hub.write(weights, tmp_path / "a.pt")
    target = str(tmp_path / "a.pkl")
    text = conversion.run(conversion.Options((str(tmp_path / "a.pt"),), target, verify=True))
    line = text.splitlines()[-1]
    assert line.startswith("verified on a clip of 16x112x112: source in torch")
    assert float(line.split("difference ")[1].split()[0]) <= 1e-5


@thin
@pytest.mark.parametrize(
    ("architecture", "target", "options"),
    [
        ("inception_i3d", "b.ms.ckpt", {"adjust_eps": True}),
        ("i3d_resnet50_nl_32x2_padded", "b.pt", {"allow": frozenset(["mmaction2_nonlocal"])}),
    ],
)
def test_what_is_changed_for_a_dialect_is_changed_back(tmp_path, architecture, target, options):
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    hub.write(_weights(architecture), tmp_path / "a.pt")
    to = "mmaction2" if "allow" in options else None
    terms = hub.Terms(**options)
    inputs, output = (str(tmp_path / "a.pt"),), str(tmp_path / target)
    line = conversion.run(conversion.Options(inputs, output, to, terms=terms, verify=True))
    assert float(line.split("difference ")[1].split()[0]) <= 1e-4


@thin
def test_an_older_saved_model_is_replaced_when_asked(tmp_path):
    pytest.importorskip("sonnet", reason="needs the extra 'tf'")
    target = tmp_path / "a.savedmodel"
    hub.write(_weights("r2plus1d_18"), target)
    with pytest.raises(OSError, match="a folder"):
        hub.write(_weights("r2plus1d_18"), target)
    hub.write(_weights("r2plus1d_18", seed=1), target, overwrite=True)
    np.testing.assert_array_equal(
        hub.read(target).arrays["Logits.fc.conv.bias"],
        _weights("r2plus1d_18", seed=1).arrays["Logits.fc.conv.bias"],
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.savedmodel"]


def test_an_unknown_format_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no such format to write.*Received: 'mxnet_params'"):
        hub.write(_weights("inception_i3d"), tmp_path / "a.pt", container="mxnet_params")


@thin
def test_an_onnx_model_runs_in_its_own_runtime(tmp_path, judge):
    judge("onnxruntime")
    _verified(tmp_path, "a.onnx", "onnxruntime", 2)


@thin
def test_a_saved_model_runs_in_its_own_runtime(tmp_path):
    pytest.importorskip("sonnet", reason="needs the extra 'tf'")
    _verified(tmp_path, "a.savedmodel", "tensorflow", 3)


def _verified(tmp_path, name, needs, endpoints):
    hub.write(_weights("r2plus1d_18"), tmp_path / "a.pt")
    options = conversion.Options((str(tmp_path / "a.pt"),), str(tmp_path / name), verify=True)
    line = conversion.run(options).splitlines()[-1]
    assert f"target in {needs}" in line and f"of {endpoints} endpoints" in line
    assert float(line.split("difference ")[1].split()[0]) <= 1e-5


@thin
def test_a_different_side_is_seen():
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    one, other = _weights("r2plus1d_18"), _weights("r2plus1d_18", seed=1)
    broken = {
        **other.arrays,
        "conv1_spatial.conv.weight": one.arrays["conv1_spatial.conv.weight"] * np.nan,
    }
    with pytest.raises(CheckpointError, match="largest difference inf"):
        verify.verify(hub.Report(one, hub.Weights(one.net, broken), "path"))
    with pytest.raises(CheckpointError, match=r"the two sides differ .* expected at most 0\.001"):
        verify.verify(hub.Report(one, other, "path"))


def test_changes_say_what_they_change():
    for name, change in changes.CHANGES.items():
        assert len(change.about) > 40, name
        with pytest.raises(CheckpointError, match=f"model.pt: .*--allow={name}"):
            changes.require(name, [], "model.pt")
        assert changes.require(name, [name], "model.pt") is change
