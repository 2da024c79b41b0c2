"""Everything that the registries know, out and back: generated, so that nothing is left out."""

import itertools

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from convert import changes, hub
from convert.dialects import DIALECTS
from convert.exports import EXPORTS
from convert.formats import FORMATS
from parity_tests import randomise

pytestmark = pytest.mark.usefixtures("thin")

WRITTEN = {name: module for name, module in FORMATS.items() if module.SUFFIXES}
# One of each family, with all that makes it different.
FAMILIES = ("inception_i3d", "i3d_resnet50_nl_8x8", "i3d_resnet50_nl_32x2_affine", "r2plus1d_18")
SERVED = [
    (dialect.name, architecture)
    for dialect in DIALECTS.values()
    for architecture in dialect.architectures
    if dialect.writable
]
EXACT = [pair for pair in SERVED if pair[1] not in DIALECTS[pair[0]].change]
CHANGING = [pair for pair in SERVED if pair not in EXACT]


def _weights(architecture, num_classes=7):
    net = arch.make(architecture, num_classes)
    return hub.Weights(net, randomise.arrays(net))


def _assert_equal(actual, expected):
    assert actual.net == expected.net
    assert list(actual.arrays) == list(expected.arrays)
    for name, array in expected.arrays.items():
        assert actual.arrays[name].dtype == np.float32
        np.testing.assert_array_equal(actual.arrays[name], array, err_msg=name)


@pytest.mark.parametrize(("dialect", "architecture"), EXACT)
def test_every_dialect_of_every_architecture(tmp_path, dialect, architecture):
    weights = _weights(architecture)
    report = hub.write(weights, tmp_path / "model.safetensors", to=dialect)
    assert report.notes == ()
    read = hub.read(report.path, hub.Terms(architecture=architecture))
    assert read.dialect == dialect
    _assert_equal(read, weights)


@pytest.mark.parametrize(("dialect", "architecture"), CHANGING)
def test_what_cannot_be_kept_is_refused_until_it_is_allowed(tmp_path, dialect, architecture):
    weights, path = _weights(architecture), tmp_path / "model.pt"
    change = DIALECTS[dialect].change[architecture]
    with pytest.raises(CheckpointError, match=f"--allow={change}"):
        hub.write(weights, path, to=dialect)
    assert list(tmp_path.iterdir()) == []
    allowed = hub.Terms(allow=frozenset([change]))
    report = hub.write(weights, path, to=dialect, terms=allowed)
    assert changes.CHANGES[change].about in report.notes
    with pytest.raises(CheckpointError, match=f"--allow={change}"):
        hub.read(path)
    read = hub.read(path, allowed)
    # Again the other way: what the change makes good for is the same, to a rounding.
    hub.write(read, tmp_path / "again.pt", to=dialect, terms=allowed)
    again = hub.read(tmp_path / "again.pt", allowed)
    for name, array in read.arrays.items():
        np.testing.assert_allclose(again.arrays[name], array, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("architecture", arch.ARCHITECTURES)
@pytest.mark.parametrize("container", WRITTEN)
def test_every_format_of_every_architecture(tmp_path, container, architecture):
    weights = _weights(architecture)
    target = tmp_path / f"{architecture}{WRITTEN[container].SUFFIXES[0]}"
    report = hub.write(weights, target)
    assert report.target.format == container
    # Nothing is said but the file's name.
    read = hub.read(target)
    assert read.format == container
    _assert_equal(read, weights)


@pytest.mark.parametrize("architecture", FAMILIES)
@pytest.mark.parametrize(("source", "target"), list(itertools.product(WRITTEN, [*WRITTEN, "onnx"])))
def test_every_ordered_pair_of_formats(tmp_path, source, target, architecture):
    _convert(tmp_path, source, target, architecture)


@pytest.mark.slow
@pytest.mark.parametrize("source", WRITTEN)
def test_every_format_to_a_saved_model(tmp_path, source):
    pytest.importorskip("sonnet", reason="a SavedModel is written by TensorFlow")
    _convert(tmp_path, source, "saved_model", "inception_i3d")


def test_every_export_is_a_target_of_these_tests():
    assert set(EXPORTS) == {"onnx", "saved_model"}


def _convert(tmp_path, source, target, architecture):
    weights, terms = _weights(architecture), hub.Terms(architecture=architecture)
    first = tmp_path / f"first{WRITTEN[source].SUFFIXES[0]}"
    last = tmp_path / f"last{(WRITTEN | EXPORTS)[target].SUFFIXES[0]}"
    hub.write(weights, first)
    report = hub.convert(first, last, terms=terms)
    assert (report.source.format, report.target.format) == (source, target)
    _assert_equal(report.target, weights)


@pytest.mark.parametrize("container", ["safetensors", "caffe2_pkl", "tf1_checkpoint"])
@pytest.mark.parametrize("architecture", FAMILIES)
def test_classes_and_channels_are_found_out(tmp_path, architecture, container):
    net = arch.make(architecture, 5, 2)
    weights = hub.Weights(net, randomise.arrays(net))
    target = tmp_path / f"{architecture}{WRITTEN[container].SUFFIXES[0]}"
    hub.write(weights, target)
    read = hub.read(target)
    assert (read.net.num_classes, read.net.in_channels, read.stream) == (5, 2, "flow")
    _assert_equal(read, weights)
