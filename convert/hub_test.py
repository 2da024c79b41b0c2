"""Conversions between every format and dialect, exact to the bit, and what they refuse."""

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from common.training.snapshots import RunFolder, Snapshot
from convert import changes, formats, hub
from convert.canonical_arrays import check_equal
from convert.dialects import DIALECTS, to_native
from parity_tests import randomise

NET = arch.inception_i3d(7, 3)
THIN = arch.inception_i3d(5, 2)

WRITTEN = {name: module for name, module in formats.FORMATS.items() if module.SUFFIXES}
OF_INCEPTION = [d.name for d in DIALECTS.values() if NET.name in d.architectures and d.writable]


@pytest.fixture(scope="module")
def weights():
    return hub.Weights(NET, randomise.arrays(NET))


@pytest.fixture(scope="module")
def scaled():
    net = arch.inception_i3d(7, 3, scale=True)
    return hub.Weights(net, randomise.arrays(net))


def _assert_equal(actual, expected):
    assert list(actual) == list(expected)
    for name, array in expected.items():
        assert actual[name].dtype == np.float32
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


@pytest.mark.parametrize("dialect", OF_INCEPTION)
def test_every_dialect_at_full_width(tmp_path, weights, dialect):
    target = tmp_path / "model.safetensors"
    report = hub.write(weights, target, to=dialect)
    read = hub.read(target)
    assert (read.format, read.dialect, read.net) == ("safetensors", dialect, NET)
    assert (report.target.format, report.target.dialect) == ("safetensors", dialect)
    _assert_equal(read.arrays, weights.arrays)


def test_a_chain_through_all_dialects_ends_where_it_began(tmp_path, weights):
    first = tmp_path / "first.ckpt"
    hub.write(weights, first)
    chain = [
        ("piergiaj.pt", "piergiaj"),
        ("hassony2.pth", "hassony2"),
        ("canonical.safetensors", None),
        ("flax.pickle", None),
        ("flax.msgpack", None),
        ("caffe2.pkl", None),
        ("mindspore.ms.ckpt", None),
        ("object.tf2.ckpt", None),
        ("last.ckpt", None),
    ]
    source = first
    for name, dialect in chain:
        hub.convert(source, tmp_path / name, to=dialect)
        source = tmp_path / name
    for ending in ("index", "data-00000-of-00001"):
        expected = (tmp_path / f"first.ckpt.{ending}").read_bytes()
        assert (tmp_path / f"last.ckpt.{ending}").read_bytes() == expected


def test_classes_channels_and_stream_are_found_out(tmp_path):
    weights = hub.Weights(THIN, randomise.arrays(THIN))
    hub.write(weights, tmp_path / "flow.ckpt")
    read = hub.read(tmp_path / "flow.ckpt")
    assert (read.net.num_classes, read.net.in_channels, read.stream) == (5, 2, "flow")
    names = formats.detect(tmp_path / "flow.ckpt").read(tmp_path / "flow.ckpt")
    assert all(name.startswith("Flow/inception_i3d/") for name in names)


def test_slots_of_an_optimiser_are_passed_over_and_counted(tmp_path, weights):
    native = to_native(DIALECTS["kinetics_i3d_600"], NET, weights.arrays)
    slots = {f"{name}/Momentum": array for name, array in native.items() if "moving" not in name}
    formats.FORMATS["tf1_checkpoint"].write(tmp_path / "model.ckpt", native | slots)
    read = hub.read(tmp_path / "model.ckpt")
    assert len(read.ignored) == len(slots) == 116
    assert read.dialect == "kinetics_i3d_600"
    _assert_equal(read.arrays, weights.arrays)


@pytest.mark.parametrize("name", ["inception_i3d", "i3d_resnet50_8x8", "i3d_resnet50_8x8_padded"])
def test_a_snapshot_of_a_training_run_is_read_as_its_weights(tmp_path, thin, name):
    net = arch.make(name, 5, 2)
    arrays = randomise.arrays(net)
    others = {
        f"{kind}/{p.name}": arrays[p.name] + 1
        for kind in ("momentum", "average")
        for p in arch.parameters(net)
        if p.trainable
    }
    others |= {"scaler/scale": np.array(2.0, np.float32), "scaler/good_steps": np.array(7)}
    RunFolder(tmp_path).write(Snapshot(20, name, 5, 2, arrays | others, {"seed": 0}))
    read = hub.read(tmp_path / "snapshots" / "step_000020.safetensors")
    assert (read.format, read.dialect, read.net) == ("safetensors", "canonical", net)
    assert read.ignored == (*others, "run")
    _assert_equal(read.arrays, arrays)


@pytest.mark.parametrize("dialect", ["canonical", "piergiaj", "hassony2"])
@pytest.mark.parametrize("wrapper", ["module.", "state_dict/", "model_state_dict/module."])
def test_what_training_code_puts_around_a_state_dict(tmp_path, weights, dialect, wrapper):
    native = to_native(DIALECTS[dialect], NET, weights.arrays)
    wrapped = {f"{wrapper}{name}": array for name, array in native.items()}
    others = {"optimizer/state/0/momentum_buffer": np.ones(3, np.float32)} if "/" in wrapper else {}
    formats.FORMATS["torch_pt"].write(tmp_path / "model.pt", wrapped | others)
    read = hub.read(tmp_path / "model.pt")
    assert (read.dialect, read.net, read.ignored) == (dialect, NET, tuple(others))
    _assert_equal(read.arrays, weights.arrays)


def test_a_stray_name_beside_a_wrapper_is_refused(tmp_path, weights):
    wrapped = {f"module.{name}": array for name, array in weights.arrays.items()}
    stray = {"stray": np.ones(3, np.float32)}
    formats.FORMATS["torch_pt"].write(tmp_path / "model.pt", wrapped | stray)
    with pytest.raises(CheckpointError, match="not in the network: stray"):
        hub.read(tmp_path / "model.pt")


def test_either_shape_of_the_statistics_is_read(tmp_path, weights):
    native = to_native(DIALECTS["kinetics_i3d"], NET, weights.arrays)
    for name in native:
        if "moving" in name:
            native[name] = native[name].reshape(1, 1, 1, 1, -1)
    formats.FORMATS["tf1_checkpoint"].write(tmp_path / "model.ckpt", native)
    _assert_equal(hub.read(tmp_path / "model.ckpt").arrays, weights.arrays)


@pytest.mark.parametrize("dialect", ["canonical", "piergiaj", "hassony2"])
def test_trained_scales_are_kept_where_the_dialect_has_them(tmp_path, scaled, dialect):
    report = hub.write(scaled, tmp_path / "model.pt", to=dialect)
    assert report.notes == ()
    read = hub.read(tmp_path / "model.pt")
    assert read.net == scaled.net
    _assert_equal(read.arrays, scaled.arrays)


@pytest.mark.parametrize("name", ["model.ckpt", "model.pickle"])
def test_scales_are_folded_where_the_dialect_has_none_and_it_is_allowed(tmp_path, scaled, name):
    with pytest.raises(CheckpointError, match="--allow=fold_scale"):
        hub.write(scaled, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    report = hub.write(scaled, tmp_path / name, terms=hub.Terms(allow=frozenset(["fold_scale"])))
    assert report.notes == (changes.CHANGES["fold_scale"].about,)
    read = hub.read(tmp_path / name)
    assert read.net == NET
    unit = "Mixed_4d.Branch_1.Conv3d_0b_3x3"
    gamma = scaled.arrays[f"{unit}.norm.weight"]
    kernel = scaled.arrays[f"{unit}.conv.weight"]
    np.testing.assert_array_equal(
        read.arrays[f"{unit}.conv.weight"], kernel * gamma[:, None, None, None, None]
    )


def test_wider_numbers_are_rounded_and_narrower_ones_widened(tmp_path, weights):
    native = to_native(DIALECTS["canonical"], NET, weights.arrays)
    first, second = list(native)[:2]
    native[first] = native[first].astype(np.float64) + 1e-12
    native[second] = native[second].astype(np.float16)
    formats.FORMATS["torch_pt"].write(tmp_path / "model.pt", native)
    read = hub.read(tmp_path / "model.pt")
    assert read.narrowed == (first,)
    np.testing.assert_array_equal(read.arrays[second], native[second].astype(np.float32))


def _broken(weights, change):
    native = dict(to_native(DIALECTS["piergiaj"], NET, weights.arrays))
    change(native)
    return native


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
    formats.FORMATS["torch_pt"].write(tmp_path / "model.pt", _broken(weights, change))
    with pytest.raises(CheckpointError, match=message) as error:
        hub.read(tmp_path / "model.pt")
    assert str(error.value).startswith(str(tmp_path / "model.pt"))


def test_nothing_is_overwritten_unless_asked(tmp_path, weights):
    target = tmp_path / "model.ckpt"
    hub.write(weights, target)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match=r"model\.ckpt\.data.*--overwrite"):
        hub.write(weights, target)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    other = {name: array + 1 for name, array in weights.arrays.items()}
    hub.write(hub.Weights(NET, other), target, overwrite=True)
    _assert_equal(hub.read(target).arrays, other)


def test_a_write_that_reads_back_differently_keeps_the_old_file(tmp_path, weights, monkeypatch):
    target = tmp_path / "model.pt"
    target.write_bytes(b"precious")
    module = formats.FORMATS["torch_pt"]
    honest = module.write

    def forgetful(path, arrays):
        name = next(iter(arrays))
        honest(path, {**arrays, name: arrays[name] * 2})

    monkeypatch.setattr(module, "write", forgetful)
    with pytest.raises(CheckpointError, match=r"reading back.*Conv3d_1a_7x7\.conv\.weight"):
        hub.write(weights, target, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]
    assert target.read_bytes() == b"precious"


@pytest.mark.parametrize("container", WRITTEN)
def test_a_damaged_source_leaves_the_target_as_it_was(tmp_path, weights, container):
    source = tmp_path / f"source{WRITTEN[container].SUFFIXES[0]}"
    hub.write(weights, source)
    damaged = formats.FORMATS[container].files(source)[-1]
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    target = tmp_path / "target.pt"
    target.write_bytes(b"precious")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=r"source\."):
        hub.convert(source, target, overwrite=True)
    assert target.read_bytes() == b"precious"
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_is_no_target(tmp_path, weights):
    (tmp_path / "model.pt").mkdir()
    with pytest.raises(IsADirectoryError, match=r"model\.pt is a folder"):
        hub.write(weights, tmp_path / "model.pt", overwrite=True)


def test_the_sign_of_a_zero_counts():
    zero = {"x": np.zeros(2, np.float32)}
    check_equal(zero, zero, "path")
    with pytest.raises(CheckpointError, match="other values for x"):
        check_equal(zero, {"x": -zero["x"]}, "path")


def test_unknown_dialects_and_endings_are_named(tmp_path, weights):
    with pytest.raises(ValueError, match=r"Expected one of canonical.*'theano'"):
        hub.write(weights, tmp_path / "model.pt", to="theano")
    with pytest.raises(ValueError, match=r"\.safetensors"):
        hub.write(weights, tmp_path / "model.h5")
    assert list(tmp_path.iterdir()) == []
