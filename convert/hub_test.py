"""Conversions between every format and dialect, exact to the bit, and what they refuse."""

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from convert import changes, formats, hub
from convert.conftest import assert_equal, make_weights
from parity_tests import randomise

NET = arch.inception_i3d(7, 3)

WRITTEN = {name: module for name, module in formats.FORMATS.items() if module.SUFFIXES}


@pytest.fixture(scope="module")
def weights():
    return make_weights("inception_i3d")


@pytest.fixture(scope="module")
def scaled():
    net = arch.inception_i3d(7, 3, scale=True)
    return hub.Weights(net, randomise.arrays(net))


@pytest.mark.parametrize("dialect", ["canonical", "piergiaj", "hassony2"])
def test_trained_scales_are_kept_where_the_dialect_has_them(tmp_path, scaled, dialect):
    report = hub.write(scaled, tmp_path / "model.pt", to=dialect)
    assert report.notes == ()
    read = hub.read(tmp_path / "model.pt")
    assert read.net == scaled.net
    assert_equal(read.arrays, scaled.arrays)


@pytest.mark.parametrize("name", ["model.ckpt", "model.pickle"])
def test_scales_are_folded_where_the_dialect_has_none_and_it_is_allowed(tmp_path, scaled, name):
    with pytest.raises(CheckpointError, match="--allow=fold_scale"):
        hub.write(scaled, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    report = hub.write(
        scaled, tmp_path / name, options=hub.ConversionOptions(allow=("fold_scale",))
    )
    assert report.notes == (changes.CHANGES["fold_scale"].about,)
    read = hub.read(tmp_path / name)
    assert read.net == NET
    unit = "Mixed_4d.Branch_1.Conv3d_0b_3x3"
    gamma = scaled.arrays[f"{unit}.norm.weight"]
    kernel = scaled.arrays[f"{unit}.conv.weight"]
    np.testing.assert_array_equal(
        read.arrays[f"{unit}.conv.weight"], kernel * gamma[:, None, None, None, None]
    )


def test_nothing_is_overwritten_unless_asked(tmp_path, weights):
    target = tmp_path / "model.ckpt"
    hub.write(weights, target)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match=r"model\.ckpt\.data.*--overwrite"):
        hub.write(weights, target)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    other = {name: array + 1 for name, array in weights.arrays.items()}
    hub.write(hub.Weights(NET, other), target, overwrite=True)
    assert_equal(hub.read(target).arrays, other)


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


def test_the_sign_of_a_zero_counts():
    zero = {"x": np.zeros(2, np.float32)}
    hub.check_equal(zero, zero, "path")
    with pytest.raises(CheckpointError, match="other values for x"):
        hub.check_equal(zero, {"x": -zero["x"]}, "path")
