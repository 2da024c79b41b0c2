"""What a file holds is found out: networks of the same names, wrappers, and what fits none."""

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from convert import formats, hub
from convert.conftest import assert_equal, make_weights
from convert.dialects import DIALECTS, to_native

NET = arch.inception_i3d(7, 3)

thin = pytest.mark.usefixtures("thin")


@pytest.fixture(scope="module")
def weights():
    return make_weights("inception_i3d")


def _foreign(path, dialect, weights):
    """Writes a file as its owner does, who does not say which architecture it is."""
    native = dict(to_native(DIALECTS[dialect], weights.net, weights.arrays))
    native.pop("architecture", None)
    formats.for_output(path).write(path, native)


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
    _foreign(tmp_path / file_name, "nonlocal_net", make_weights(architecture))
    assert hub.read(tmp_path / file_name).net.name == architecture


@thin
@pytest.mark.parametrize(
    "file_name",
    ["weights.pkl", "my_128x128.pkl", "i3d_baseline_8x8_from_32x2.pkl", "run18x8.pkl", "8x8.pkl"],
)
def test_a_file_that_fits_several_networks_asks_which(tmp_path, file_name):
    path = tmp_path / file_name
    _foreign(path, "nonlocal_net", make_weights("i3d_resnet50_8x8"))
    expected = r"\.pkl: .*i3d_resnet50_8x8, i3d_resnet50_32x2, i3d_resnet50_8x8_padded.*--arch"
    with pytest.raises(CheckpointError, match=expected):
        hub.read(path)
    read = hub.read(path, hub.ConversionOptions(architecture="i3d_resnet50_32x2"))
    assert read.net.name == "i3d_resnet50_32x2"
    with pytest.raises(CheckpointError, match=r"no dialect of r2plus1d_18 has these names"):
        hub.read(path, hub.ConversionOptions(architecture="r2plus1d_18"))
    with pytest.raises(ValueError, match="no such architecture"):
        hub.read(path, hub.ConversionOptions(architecture="resnet"))


@thin
def test_our_own_files_say_what_they_are(tmp_path):
    weights = make_weights("i3d_resnet50_32x2_padded")
    for name in ("a.pt", "a.ckpt", "a.pkl", "a.msgpack", "a.tf2.ckpt"):
        hub.write(weights, tmp_path / name)
        assert hub.read(tmp_path / name).net == weights.net
    with pytest.raises(CheckpointError, match=r"of i3d_resnet50_32x2_padded. Received: --arch"):
        hub.read(tmp_path / "a.pt", hub.ConversionOptions(architecture="i3d_resnet50_32x2"))
    native = dict(to_native(DIALECTS["canonical"], weights.net, weights.arrays))
    native["architecture"] = np.frombuffer(b"i3d_resnet50_9x9", np.uint8)
    formats.FORMATS["torch_pt"].write(tmp_path / "b.pt", native)
    with pytest.raises(CheckpointError, match="'i3d_resnet50_9x9', which is not known"):
        hub.read(tmp_path / "b.pt")


@thin
def test_a_file_in_which_an_array_is_there_twice(tmp_path):
    """GluonCV saves a block under each name it is registered by."""
    weights = make_weights("i3d_resnet50_32x2_padded")
    net = weights.net
    native = dict(to_native(DIALECTS["gluoncv_resnet"], net, weights.arrays))
    natives = DIALECTS["gluoncv_resnet"].natives(net)
    again = {alias: native[n.name] for n in natives for alias in n.aliases}
    assert "res_layers.0.0.bottleneck.0.weight" in again
    formats.FORMATS["safetensors"].write(tmp_path / "a.safetensors", native | again)
    read = hub.read(tmp_path / "a.safetensors")
    assert read.dialect == "gluoncv_resnet"
    assert_equal(read.arrays, weights.arrays)
    wrong = dict(again)
    wrong["head.1.bias"] = again["head.1.bias"] + 1
    formats.FORMATS["safetensors"].write(tmp_path / "b.safetensors", native | wrong)
    with pytest.raises(CheckpointError, match=r"same twice: head\.1\.bias is not fc\.bias"):
        hub.read(tmp_path / "b.safetensors")


def test_slots_of_an_optimiser_are_passed_over_and_counted(tmp_path, weights):
    native = dict(to_native(DIALECTS["kinetics_i3d_600"], NET, weights.arrays))
    slots = {f"{name}/Momentum": array for name, array in native.items() if "moving" not in name}
    formats.FORMATS["tf1_checkpoint"].write(tmp_path / "model.ckpt", native | slots)
    read = hub.read(tmp_path / "model.ckpt")
    assert len(read.ignored) == len(slots) == 116
    assert read.dialect == "kinetics_i3d_600"
    assert_equal(read.arrays, weights.arrays)


@thin
@pytest.mark.parametrize("name", ["inception_i3d", "i3d_resnet50_8x8_padded"])
def test_a_snapshot_of_a_training_run_is_read_as_its_weights(tmp_path, name):
    weights = make_weights(name, 5, 2)
    net, arrays = weights.net, weights.arrays
    others = {
        f"{kind}/{p.name}": arrays[p.name] + 1
        for kind in ("momentum", "average")
        for p in arch.parameters(net)
        if p.trainable
    }
    others |= {"scaler/scale": np.array(2.0, np.float32), "run": np.frombuffer(b"{}", np.uint8)}
    native = dict(to_native(DIALECTS["canonical"], net, arrays)) | others
    formats.FORMATS["safetensors"].write(tmp_path / "step_000020.safetensors", native)
    read = hub.read(tmp_path / "step_000020.safetensors")
    assert (read.format, read.dialect, read.net) == ("safetensors", "canonical", net)
    assert set(read.ignored) == set(others)
    assert_equal(read.arrays, arrays)


@pytest.mark.parametrize(
    ("dialect", "wrapper"),
    [
        ("canonical", "module."),
        ("piergiaj", "state_dict/"),
        ("hassony2", "model_state_dict/module."),
    ],
)
def test_what_training_code_puts_around_a_state_dict(tmp_path, weights, dialect, wrapper):
    native = dict(to_native(DIALECTS[dialect], NET, weights.arrays))
    wrapped = {f"{wrapper}{name}": array for name, array in native.items()}
    others = {"optimizer/state/0/momentum_buffer": np.ones(3, np.float32)} if "/" in wrapper else {}
    formats.FORMATS["torch_pt"].write(tmp_path / "model.pt", wrapped | others)
    read = hub.read(tmp_path / "model.pt")
    assert (read.dialect, read.net, read.ignored) == (dialect, NET, tuple(others))
    assert_equal(read.arrays, weights.arrays)


def test_a_stray_name_beside_a_wrapper_is_refused(tmp_path, weights):
    wrapped = {f"module.{name}": array for name, array in weights.arrays.items()}
    stray = {"stray": np.ones(3, np.float32)}
    formats.FORMATS["torch_pt"].write(tmp_path / "model.pt", wrapped | stray)
    with pytest.raises(CheckpointError, match="not in the network: stray"):
        hub.read(tmp_path / "model.pt")


def test_either_shape_of_the_statistics_is_read(tmp_path, weights):
    native = dict(to_native(DIALECTS["kinetics_i3d"], NET, weights.arrays))
    for name in native:
        if "moving" in name:
            native[name] = native[name].reshape(1, 1, 1, 1, -1)
    formats.FORMATS["tf1_checkpoint"].write(tmp_path / "model.ckpt", native)
    assert_equal(hub.read(tmp_path / "model.ckpt").arrays, weights.arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("Mixed_4b.b2a.bn.bias"), r"missing Mixed_4b\.b2a\.bn\.bias"),
        (lambda a: a.update(extra=np.zeros(3, np.float32)), "not in the network: extra"),
        (
            lambda a: a.update({"Mixed_4b.b2a.bn.bias": np.zeros(3, np.float32)}),
            r"Mixed_4b\.b2a\.bn\.bias \(expected \[16\], received \[3\]\)",
        ),
        (
            lambda a: a.update({"logits.conv3d.bias": np.full(7, np.nan, np.float32)}),
            "not finite in Logits",
        ),
        (
            lambda a: a.update({"logits.conv3d.bias": np.zeros(7, np.int64)}),
            "no floating-point array. Received: int64",
        ),
        (
            lambda a: [a.pop(f"logits.conv3d.{name}") for name in ("weight", "bias")],
            r"closest is piergiaj.*missing logits\.conv3d\.bias, logits\.conv3d\.weight",
        ),
        (
            lambda a: [a.pop(name) for name in list(a) if "7x7" in name or "logits" in name],
            "no dialect of a known network has these names",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, weights, change, message):
    native = dict(to_native(DIALECTS["piergiaj"], NET, weights.arrays))
    change(native)
    formats.FORMATS["torch_pt"].write(tmp_path / "model.pt", native)
    with pytest.raises(CheckpointError, match=message) as error:
        hub.read(tmp_path / "model.pt")
    assert str(error.value).startswith(str(tmp_path / "model.pt"))
