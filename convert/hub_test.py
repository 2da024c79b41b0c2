"""Everything that the registries know, out and back to the bit; and what is refused."""

import itertools

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from convert import changes, formats, hub
from convert.conftest import assert_equal, make_weights
from convert.dialects import DIALECTS
from parity_tests import randomise

WRITTEN = {name: hub.SUFFIXES[name][0] for name in formats.FORMATS if name in hub.SUFFIXES}
# One of each family, with all that makes it different.
FAMILIES = ("inception_i3d", "i3d_resnet50_nl_8x8", "i3d_resnet50_nl_32x2_affine", "r2plus1d_18")
# Deeper networks have more of the same blocks.
SHALLOW = [name for name in arch.ARCHITECTURES if "101" not in name and "152" not in name]
# Our own dialects have names for every architecture by the same rule.
OWN = ("canonical", "sonnet", "linen", "caffe2")
SERVED = [
    (dialect.name, architecture)
    for dialect in DIALECTS.values()
    for architecture in (FAMILIES if dialect.name in OWN else SHALLOW)
    if dialect.writable and architecture in dialect.architectures
]
EXACT = [pair for pair in SERVED if pair[1] not in DIALECTS[pair[0]].change]

thin = pytest.mark.usefixtures("thin")


@pytest.fixture(scope="module")
def scaled():
    net = arch.narrow(arch.inception_i3d(7, 3, scale=True), 16)
    return hub.Weights(net, randomise.arrays(net))


@thin
@pytest.mark.parametrize(("dialect", "architecture"), EXACT)
def test_dialects(tmp_path, dialect, architecture):
    weights = make_weights(architecture)
    written = hub.write(weights, tmp_path / "model.safetensors", to=dialect)
    assert written.notes == ()
    read = hub.read(written.path, hub.ConversionOptions(architecture=architecture))
    assert (read.dialect, read.net) == (dialect, weights.net)
    assert_equal(read.arrays, weights.arrays)


@thin
def test_what_cannot_be_kept_is_refused_until_it_is_allowed(tmp_path):
    weights, path = make_weights("i3d_resnet50_nl_32x2_padded"), tmp_path / "model.pt"
    change = "mmaction2_nonlocal"
    with pytest.raises(CheckpointError, match=f"--allow={change}"):
        hub.write(weights, path, to="mmaction2")
    assert list(tmp_path.iterdir()) == []
    allowed = hub.ConversionOptions(allow=(change,))
    written = hub.write(weights, path, to="mmaction2", options=allowed)
    assert changes.CHANGES[change].about in written.notes
    with pytest.raises(CheckpointError, match=f"--allow={change}"):
        hub.read(path)
    read = hub.read(path, allowed)
    # Once more: what the change absorbs is the same again, to a rounding.
    hub.write(read, tmp_path / "again.pt", to="mmaction2", options=allowed)
    again = hub.read(tmp_path / "again.pt", allowed)
    for name, array in read.arrays.items():
        np.testing.assert_allclose(again.arrays[name], array, rtol=1e-6, atol=1e-7, err_msg=name)


@thin
@pytest.mark.parametrize(
    ("architecture", "container"),
    list(zip(SHALLOW, itertools.cycle(WRITTEN))),
)
def test_architectures(tmp_path, container, architecture):
    """Each says itself what it is, in one format or another."""
    weights = make_weights(architecture)
    hub.write(weights, tmp_path / f"model{WRITTEN[container]}")
    read = hub.read(tmp_path / f"model{WRITTEN[container]}")
    assert (read.format, read.net) == (container, weights.net)
    assert_equal(read.arrays, weights.arrays)


@thin
@pytest.mark.parametrize(
    ("source", "target", "architecture"),
    list(zip(WRITTEN, [*WRITTEN][1:] + [*WRITTEN][:1], itertools.cycle(FAMILIES))),
)
def test_formats(tmp_path, source, target, architecture):
    """Each is written once and read once; classes and channels are found out."""
    weights = make_weights(architecture, 5, 2)
    first = tmp_path / f"{architecture}{WRITTEN[source]}"
    hub.write(weights, first)
    written = hub.convert(first, tmp_path / f"last{WRITTEN[target]}")
    assert (written.format, written.stream, written.net) == (target, "flow", weights.net)
    assert_equal(written.arrays, weights.arrays)


@thin
@pytest.mark.slow
def test_saved_model(tmp_path):
    pytest.importorskip("sonnet", reason="a SavedModel is written by TensorFlow")
    weights, target = make_weights("inception_i3d"), tmp_path / "a.savedmodel"
    hub.write(make_weights("r2plus1d_18"), target)
    with pytest.raises(OSError, match="a folder"):
        hub.write(weights, target)
    written = hub.write(weights, target, overwrite=True)
    assert written.net == weights.net
    assert_equal(written.arrays, weights.arrays)
    assert_equal(hub.read(target).arrays, weights.arrays)
    assert list(tmp_path.iterdir()) == [target]


def test_the_ending_chooses_the_format(tmp_path):
    assert hub.format_of(tmp_path / "A.TF2.CKPT") == "tf2_checkpoint"
    assert hub.format_of(tmp_path / "a.ckpt") == "tf1_checkpoint"
    assert hub.format_of(tmp_path / "a.onnx") == "onnx"
    with pytest.raises(ValueError, match=r"z\.foo: .* expected one of .*\.onnx.*\.savedmodel"):
        hub.format_of(tmp_path / "z.foo")


@thin
@pytest.mark.parametrize("dialect", ["canonical", "piergiaj"])
def test_trained_scales_are_kept_where_the_dialect_has_them(tmp_path, scaled, dialect):
    assert hub.write(scaled, tmp_path / "model.pt", to=dialect).notes == ()
    read = hub.read(tmp_path / "model.pt")
    assert read.net == scaled.net
    assert_equal(read.arrays, scaled.arrays)


@thin
@pytest.mark.parametrize("name", ["model.ckpt", "model.pickle"])
def test_scales_are_folded_where_the_dialect_has_none_and_it_is_allowed(tmp_path, scaled, name):
    with pytest.raises(CheckpointError, match="--allow=fold_scale"):
        hub.write(scaled, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    allowed = hub.ConversionOptions(allow=("fold_scale",))
    written = hub.write(scaled, tmp_path / name, options=allowed)
    assert written.notes == (changes.CHANGES["fold_scale"].about,)
    read = hub.read(tmp_path / name)
    assert read.net == arch.make("inception_i3d", 7)
    unit = "Mixed_4d.Branch_1.Conv3d_0b_3x3"
    gamma = scaled.arrays[f"{unit}.norm.weight"]
    kernel = scaled.arrays[f"{unit}.conv.weight"]
    np.testing.assert_array_equal(
        read.arrays[f"{unit}.conv.weight"], kernel * gamma[:, None, None, None, None]
    )


@thin
def test_nothing_is_overwritten_unless_asked(tmp_path):
    weights, target = make_weights("inception_i3d"), tmp_path / "model.ckpt"
    hub.write(weights, target)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match=r"model\.ckpt\.data.*--overwrite"):
        hub.write(weights, target)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    other = {name: array + 1 for name, array in weights.arrays.items()}
    hub.write(hub.Weights(weights.net, other), target, overwrite=True)
    assert_equal(hub.read(target).arrays, other)


@thin
def test_a_write_that_reads_back_differently_keeps_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "model.pt"
    target.write_bytes(b"precious")
    module = formats.FORMATS["torch_pt"]
    honest = module.write

    def forgetful(path, arrays):
        name = next(iter(arrays))
        honest(path, {**arrays, name: arrays[name] * 2})

    monkeypatch.setattr(module, "write", forgetful)
    with pytest.raises(CheckpointError, match=r"reading back.*Conv3d_1a_7x7\.conv\.weight"):
        hub.write(make_weights("inception_i3d"), target, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]
    assert target.read_bytes() == b"precious"
    zero = {"x": np.zeros(2, np.float32)}
    with pytest.raises(CheckpointError, match="other values for x"):
        hub.check_equal(zero, {"x": -zero["x"]}, "path")


@thin
@pytest.mark.parametrize("container", WRITTEN)
def test_a_damaged_source_leaves_the_target_as_it_was(tmp_path, container):
    source, target = tmp_path / f"source{WRITTEN[container]}", tmp_path / "target.pt"
    hub.write(make_weights("inception_i3d"), source)
    damaged = formats.FORMATS[container].files(source)[-1]
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    target.write_bytes(b"precious")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=r"source\."):
        hub.convert(source, target, overwrite=True)
    assert target.read_bytes() == b"precious"
    assert sorted(tmp_path.iterdir()) == before
