"""What a file holds is found out: networks of the same names, wrappers, and what fits none."""

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from convert import formats, hub
from convert.conftest import assert_equal, make_weights
from convert.dialects import DIALECTS, to_native

pytestmark = pytest.mark.usefixtures("thin")


def native_arrays(dialect, weights, tagged=True):
    native = dict(to_native(DIALECTS[dialect], weights.net, weights.arrays))
    if not tagged:  # as its owner writes it, who does not say which architecture it is
        native.pop("architecture", None)
    return native


def write(path, native):
    formats.FORMATS[hub.format_of(path)].write(path, native)
    return path


@pytest.mark.parametrize(
    ("file_name", "architecture"),
    [
        ("i3d_baseline_32x2_IN_pretrain_400k.pkl", "i3d_resnet50_32x2"),
        ("i3d_nonlocal_32x4_I3D_pretrain_400k.pkl", "i3d_resnet50_nl_8x8_affine"),
        ("i3d_baseline_128x1_I3D_pretrain_400k.pkl", "i3d_resnet50_32x2_affine"),
        ("c2d_baseline_8x8_IN_pretrain_400k.pkl", "c2d_resnet50_8x8"),
        ("I3D_NLN_8x8_R50.pkl", "i3d_resnet50_nl_8x8_padded"),
        ("mine_i3d_resnet50_32x2_epoch7.pkl", "i3d_resnet50_32x2"),
    ],
)
def test_a_published_files_name_says_the_timing(tmp_path, file_name, architecture):
    native = native_arrays("nonlocal_net", make_weights(architecture), tagged=False)
    assert hub.read(write(tmp_path / file_name, native)).net.name == architecture


@pytest.mark.parametrize(
    "file_name", ["my_128x128.pkl", "i3d_baseline_8x8_from_32x2.pkl", "run18x8.pkl", "8x8.pkl"]
)
def test_a_file_that_fits_several_networks_asks_which(tmp_path, file_name):
    native = native_arrays("nonlocal_net", make_weights("i3d_resnet50_8x8"), tagged=False)
    path = write(tmp_path / file_name, native)
    expected = r"\.pkl: .*i3d_resnet50_8x8, i3d_resnet50_32x2, i3d_resnet50_8x8_padded.*--arch"
    with pytest.raises(CheckpointError, match=expected):
        hub.read(path)
    read = hub.read(path, hub.ConversionOptions(architecture="i3d_resnet50_32x2"))
    assert read.net.name == "i3d_resnet50_32x2"
    with pytest.raises(CheckpointError, match=r"no dialect of r2plus1d_18 has these names"):
        hub.read(path, hub.ConversionOptions(architecture="r2plus1d_18"))


def test_our_own_files_say_what_they_are(tmp_path):
    weights = make_weights("i3d_resnet50_32x2_padded")
    for name in ("a.pt", "a.ckpt", "a.pkl", "a.msgpack", "a.tf2.ckpt"):
        hub.write(weights, tmp_path / name)
        assert hub.read(tmp_path / name).net == weights.net
    with pytest.raises(
        CheckpointError, match="of i3d_resnet50_32x2_padded, not of i3d_resnet50_32x2"
    ):
        hub.read(tmp_path / "a.pt", hub.ConversionOptions(architecture="i3d_resnet50_32x2"))
    native = native_arrays("canonical", weights)
    native["architecture"] = np.frombuffer(b"i3d_resnet50_9x9", np.uint8)
    with pytest.raises(CheckpointError, match="'i3d_resnet50_9x9', which is not known"):
        hub.read(write(tmp_path / "b.pt", native))


def test_the_number_of_classes_is_found_in_the_name_of_the_classifier(tmp_path):
    weights = make_weights("r2plus1d_34_vmz", 359)
    native = native_arrays("vmz", weights, tagged=False)
    assert "last_out_L359_w" in native
    assert hub.read(write(tmp_path / "a.pkl", native)).net == weights.net


def test_a_file_in_which_an_array_is_there_twice(tmp_path):
    """GluonCV saves a block under each name it is registered by."""
    weights = make_weights("i3d_resnet50_32x2_padded")
    native = native_arrays("gluoncv_resnet", weights)
    natives = DIALECTS["gluoncv_resnet"].natives(weights.net)
    again = {alias: native[n.name] for n in natives for alias in n.aliases}
    assert "res_layers.0.0.bottleneck.0.weight" in again
    read = hub.read(write(tmp_path / "a.safetensors", native | again))
    assert read.dialect == "gluoncv_resnet"
    assert_equal(read.arrays, weights.arrays)
    wrong = {**again, "head.1.bias": again["head.1.bias"] + 1}
    with pytest.raises(CheckpointError, match=r"same twice: head\.1\.bias is not fc\.bias"):
        hub.read(write(tmp_path / "b.safetensors", native | wrong))


@pytest.mark.parametrize("name", ["inception_i3d", "i3d_resnet50_8x8_padded"])
def test_a_snapshot_of_a_training_run_is_read_as_its_weights(tmp_path, name):
    weights = make_weights(name, 5, 2)
    others = {
        f"{kind}/{p.name}": weights.arrays[p.name] + 1
        for kind in ("momentum", "average")
        for p in arch.parameters(weights.net)
        if p.trainable
    }
    others |= {"scaler/scale": np.array(2.0, np.float32), "run": np.frombuffer(b"{}", np.uint8)}
    native = native_arrays("canonical", weights) | others
    read = hub.read(write(tmp_path / "step_000020.safetensors", native))
    assert (read.format, read.dialect, read.net) == ("safetensors", "canonical", weights.net)
    assert set(read.ignored) == set(others)
    assert_equal(read.arrays, weights.arrays)


@pytest.mark.parametrize(
    ("dialect", "wrapper"),
    [
        ("canonical", "module."),
        ("piergiaj", "state_dict/"),
        ("hassony2", "model_state_dict/module."),
    ],
)
def test_what_training_code_puts_around_a_state_dict(tmp_path, dialect, wrapper):
    weights = make_weights("inception_i3d")
    native = native_arrays(dialect, weights)
    wrapped = {f"{wrapper}{name}": array for name, array in native.items()}
    others = {"optimizer/state/0/momentum_buffer": np.ones(3, np.float32)} if "/" in wrapper else {}
    read = hub.read(write(tmp_path / "model.pt", wrapped | others))
    assert (read.dialect, read.net, read.ignored) == (dialect, weights.net, tuple(others))
    assert_equal(read.arrays, weights.arrays)
    stray = {"module.stray" if "/" not in wrapper else f"{wrapper}stray": np.ones(3, np.float32)}
    with pytest.raises(CheckpointError, match=r"not in the network: .*stray"):
        hub.read(write(tmp_path / "other.pt", wrapped | stray))


def test_either_shape_of_the_statistics_is_read_and_slots_are_counted(tmp_path):
    weights = make_weights("inception_i3d")
    native = native_arrays("kinetics_i3d", weights)
    slots = {f"{name}/Momentum": array for name, array in native.items() if "moving" not in name}
    for name in native:
        if "moving" in name:
            native[name] = native[name].reshape(1, 1, 1, 1, -1)
    read = hub.read(write(tmp_path / "model.ckpt", native | slots))
    assert len(read.ignored) == len(slots) == 116
    assert_equal(read.arrays, weights.arrays)


BIAS = "Mixed_4b.b2a.bn.bias"


@pytest.mark.parametrize(
    ("changed", "lost", "message"),
    [
        ({}, BIAS, rf"closest is piergiaj.*missing {BIAS}"),
        ({"extra": np.zeros(3, np.float32)}, None, "not in the network: extra"),
        ({BIAS: np.zeros(3, np.float32)}, None, rf"{BIAS} \(expected \[1\], received \[3\]\)"),
        ({"logits.conv3d.bias": np.full(7, np.nan, np.float16)}, None, "not finite in Logits"),
        ({"logits.conv3d.bias": np.full(7, 1e300)}, None, "not finite in Logits"),
        ({"logits.conv3d.bias": np.zeros(7, np.int64)}, None, "is int64, not floating"),
        ({}, "logits.conv3d.", r"missing logits\.conv3d\.bias, logits\.conv3d\.weight"),
        ({}, "conv3d.", "no dialect of a known network has these names"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, changed, lost, message):
    native = native_arrays("piergiaj", make_weights("inception_i3d")) | changed
    native = {name: array for name, array in native.items() if not lost or lost not in name}
    with pytest.raises(CheckpointError, match=message) as error:
        hub.read(write(tmp_path / "model.pt", native))
    assert str(error.value).startswith(str(tmp_path / "model.pt"))
