"""Everything that the registries know, out and back: generated, so that nothing is left out."""

import itertools

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from convert import changes, hub
from convert.conftest import assert_equal, make_weights
from convert.dialects import DIALECTS
from convert.formats import FORMATS

pytestmark = pytest.mark.usefixtures("thin")

WRITTEN = {name: module for name, module in FORMATS.items() if module.SUFFIXES}
# One of each family, with all that makes it different.
FAMILIES = ("inception_i3d", "i3d_resnet50_nl_8x8", "i3d_resnet50_nl_32x2_affine", "r2plus1d_18")
# Our own dialects have names for every architecture by the same rule; the rest name by name.
OWN = ("canonical", "sonnet", "linen", "caffe2")
SERVED = [
    (dialect.name, architecture)
    for dialect in DIALECTS.values()
    for architecture in (FAMILIES if dialect.name in OWN else dialect.architectures)
    if dialect.writable
]
EXACT = [pair for pair in SERVED if pair[1] not in DIALECTS[pair[0]].change]
CHANGING = [pair for pair in SERVED if pair not in EXACT]


@pytest.mark.parametrize(("dialect", "architecture"), EXACT)
def test_dialects(tmp_path, dialect, architecture):
    weights = make_weights(architecture)
    report = hub.write(weights, tmp_path / "model.safetensors", to=dialect)
    assert report.notes == ()
    read = hub.read(report.path, hub.ConversionOptions(architecture=architecture))
    assert read.dialect == dialect
    assert read.net == weights.net
    assert_equal(read.arrays, weights.arrays)


@pytest.mark.parametrize(("dialect", "architecture"), CHANGING)
def test_what_cannot_be_kept_is_refused_until_it_is_allowed(tmp_path, dialect, architecture):
    weights, path = make_weights(architecture), tmp_path / "model.pt"
    change = DIALECTS[dialect].change[architecture]
    with pytest.raises(CheckpointError, match=f"--allow={change}"):
        hub.write(weights, path, to=dialect)
    assert list(tmp_path.iterdir()) == []
    allowed = hub.ConversionOptions(allow=(change,))
    report = hub.write(weights, path, to=dialect, options=allowed)
    assert changes.CHANGES[change].about in report.notes
    with pytest.raises(CheckpointError, match=f"--allow={change}"):
        hub.read(path)
    read = hub.read(path, allowed)
    # Once more: what the change absorbs is the same again, to a rounding.
    hub.write(read, tmp_path / "again.pt", to=dialect, options=allowed)
    again = hub.read(tmp_path / "again.pt", allowed)
    for name, array in read.arrays.items():
        np.testing.assert_allclose(again.arrays[name], array, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(
    ("architecture", "container"),
    list(zip(arch.ARCHITECTURES, itertools.cycle(WRITTEN), strict=False)),
)
def test_architectures(tmp_path, container, architecture):
    """Each says itself what it is, in one format or another."""
    weights = make_weights(architecture)
    target = tmp_path / f"model{WRITTEN[container].SUFFIXES[0]}"
    assert hub.write(weights, target).target.format == container
    read = hub.read(target)
    assert read.format == container
    assert read.net == weights.net
    assert_equal(read.arrays, weights.arrays)


@pytest.mark.parametrize("architecture", FAMILIES)
@pytest.mark.parametrize(
    ("source", "target"), list(zip(WRITTEN, [*list(WRITTEN)[1:], *list(WRITTEN)[:1]], strict=True))
)
def test_formats(tmp_path, source, target, architecture):
    """Each is written once and read once, of every family; classes and channels are found out."""
    weights = make_weights(architecture, 5, 2)
    first = tmp_path / f"{architecture}{WRITTEN[source].SUFFIXES[0]}"
    last = tmp_path / f"last{WRITTEN[target].SUFFIXES[0]}"
    hub.write(weights, first)
    report = hub.convert(first, last)
    assert (report.source.format, report.target.format) == (source, target)
    assert report.target.stream == "flow"
    assert report.target.net == weights.net
    assert_equal(report.target.arrays, weights.arrays)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_onnx(tmp_path, architecture):
    weights = make_weights(architecture)
    hub.write(weights, tmp_path / "a.safetensors")
    report = hub.convert(tmp_path / "a.safetensors", tmp_path / "a.onnx")
    assert report.target.net == weights.net
    assert_equal(report.target.arrays, weights.arrays)


@pytest.mark.slow
def test_saved_model(tmp_path):
    pytest.importorskip("sonnet", reason="a SavedModel is written by TensorFlow")
    weights, target = make_weights("inception_i3d"), tmp_path / "a.savedmodel"
    hub.write(make_weights("r2plus1d_18"), target)
    with pytest.raises(OSError, match="a folder"):
        hub.write(weights, target)
    report = hub.write(weights, target, overwrite=True)
    assert report.target.net == weights.net
    assert_equal(report.target.arrays, weights.arrays)
    assert_equal(hub.read(target).arrays, weights.arrays)
    assert list(tmp_path.iterdir()) == [target]
